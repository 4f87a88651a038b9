"""What is known of a tensor before any number is looked at: shape, layer kind, first use."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from parity.weights.plan import Shape, Transfer


class Use(NamedTuple):
    """A tensor's first use in the computation.

    Attributes:
        position: its place in the order of computation.
        operation: "matmul", "conv", "add", "mul", "gather" or "other".
        contracted: for products, which of the tensor's own axes are summed over: (1,) for a PyTorch linear
            weight (out, in), (0,) for a Flax kernel (in, out).
    """

    position: int
    operation: str = "other"
    contracted: tuple[int, ...] = ()


class Signature(NamedTuple):
    """One PyTorch tensor as the matcher sees it.

    Attributes:
        shape: its shape.
        layer: class name of the module that owns it ("Linear", "Conv2d", ...), "" for a bare tensor.
        use: its first use, if known.
        tied: the other names of the same tensor, which may be leaves of their own on the JAX side.
    """

    shape: Shape
    layer: str = ""
    use: Use | None = None
    tied: tuple[str, ...] = ()


class Leaf(NamedTuple):
    """One JAX leaf as the matcher sees it: its shape and, if known, its first use."""

    shape: Shape
    use: Use | None = None


Tensors = Mapping[str, Signature]
Leaves = Mapping[str, Leaf]
Pin = str | tuple[str, tuple[int, ...]] | Transfer
Pins = Mapping[str, Pin | Sequence[Pin]]
"""What the user knows of the plan: PyTorch name -> JAX path, (JAX path, permutation) or Transfer, or several
of these."""
