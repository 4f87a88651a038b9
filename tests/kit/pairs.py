"""What a pair is: a PyTorch model, the JAX model that should compute the same, and what their author knows.

A right port is a pair. A seeded fault is a function of `faulty` that returns the right pair or its faulty
twin, together with what must be said of the twin.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import nnx
from torch import nn

from tests.kit.weights import shapes


class Pair(NamedTuple):
    """A PyTorch model and its port to JAX.

    Attributes:
        reference: the PyTorch module, its weights set, mostly in eval mode.
        candidate: the JAX model: a module, a pair of functions, or a function of `params` and the inputs.
        inputs: arrays by argument name, or in order, in PyTorch's layout.
        params: the candidate's leaves, converted by hand: a tree, or leaves by path.
        template: shapes of the leaves of a candidate that does not say them itself.
        layout: input or output name -> permutation from PyTorch's axes to JAX's.
        outputs: which outputs to compare, where the two sides return different structures.
        targets: what the losses compare the outputs with.
        loss: (PyTorch's loss, JAX's loss).
        pins: PyTorch name -> JAX path, where the names leave it open.
        single: whether the candidate cannot run in float64, because it says float32 by name.
    """

    reference: nn.Module
    candidate: Any
    inputs: Any
    params: Any = None
    template: Any = None
    layout: dict[str, tuple[int, ...]] | None = None
    outputs: Any = None
    targets: Any = None
    loss: tuple[Any, Any] | None = None
    pins: dict[str, Any] | None = None
    single: bool = False

    def unaided(self) -> "Pair":
        """The same pair, with weights and layouts left to the harness to work out."""
        return self._replace(params=None, layout=None, pins=None)


def to_function(
    reference: nn.Module, function: Callable[..., Any], inputs: Any, params: Any, **rest: Any
) -> Pair:
    """A pair whose candidate is a function `f(params, *inputs)`, with the template that the params give."""
    return Pair(reference, function, inputs, params, template=shapes(params), **rest)


def built(module: Callable[[nnx.Rngs], nnx.Module]) -> Any:
    """A Flax NNX module, initialised in one compiled program, which is faster than leaf by leaf."""
    return nnx.jit(lambda: module(nnx.Rngs(0)))()
