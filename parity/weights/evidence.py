"""What is known of an array before any number is looked at: shape, layer kind, first use.

The same is known of both sides, whichever framework they are of.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from parity.weights.transfer import Shape, Transfer

OPERATIONS = ("matmul", "conv", "add", "mul", "gather", "other")
"""What a weight can first be used by, in the same words for both frameworks."""


class Use(NamedTuple):
    """An array's first use in the computation.

    Attributes:
        position: its place in the order of computation.
        operation: one of `OPERATIONS`.
        contracted: for products, which of the array's own axes are summed over: (1,) for a PyTorch linear
            weight (out, in), (0,) for a Flax kernel (in, out).
        at_once: whether all entries along its first axis are used at once: of a stack, all layers.
        until: the place of its last use, of a stack that a loop reads layer by layer the end of the loop; -1
            if unknown.
    """

    position: int
    operation: str = "other"
    contracted: tuple[int, ...] = ()
    at_once: bool = False
    until: int = -1


class Signature(NamedTuple):
    """One array, a tensor or a leaf, as the planner sees it.

    Attributes:
        shape: its shape.
        layer: class name of the module of PyTorch that owns it ("Linear", "Conv2d", ...), "" for a bare
            array and for every array of JAX.
        use: its first use, if known.
        tied: the other names of the same array, which may be arrays of their own on the other side.
    """

    shape: Shape
    layer: str = ""
    use: Use | None = None
    tied: tuple[str, ...] = ()


Known = Mapping[str, Signature]
"""The arrays of one side by name."""

Given = Mapping[str, Shape | Signature]
"""The same, or their shapes alone."""

Pin = str | tuple[str, tuple[int, ...]] | Transfer
Pins = Mapping[str, Pin | Sequence[Pin]]
"""What the user knows of the plan: tensor name -> leaf path, (leaf path, permutation) or Transfer, or several
of these."""


def signatures(arrays: Given) -> dict[str, Signature]:
    """The arrays of a side with what is known of them.

    >>> signatures({"w": (3, 2)})
    {'w': Signature(shape=(3, 2), layer='', use=None, tied=())}

    Args:
        arrays: signatures or shapes by name.

    Returns:
        Signatures by name.
    """
    return {
        name: one if isinstance(one, Signature) else Signature(tuple(one)) for name, one in arrays.items()
    }
