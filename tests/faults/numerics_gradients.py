"""Derivatives at ties and zeros: the same values, another gradient rule.

A tie is a padded row of zeros below a bias that is still zero, or numbers of few bits: rounding noise leaves
both as they are. The gradient that shows it is that of the bias.
"""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from parity.report.kinds import CauseKind, Stage
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import integers, normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes

F = nn.functional
DENSE = by_table({"fc/kernel": ("fc.weight", (1, 0)), "fc/bias": "fc.bias", "head": ("head.weight", (1, 0))})
TEMPLATE = {"fc": {"kernel": (5, 8), "bias": (8,)}, "head": (8, 3)}


class Network(nn.Module):
    """A linear layer, something with a kink, and a head; a subclass says what is in between."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(5, 8), nn.Linear(width, 3, bias=False)


def without_bias(model: nn.Module) -> nn.Module:
    """Random weights, but biases of zero, as at initialisation."""
    randomise(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    return model


def padded() -> np.ndarray:
    """Six rows, two of which are padding."""
    x = normal(6, 5)
    x[[2, 5]] = 0
    return x


@fault(
    "X05",
    "ReLU as maximum(x, 0): half a gradient at 0",
    cause=CauseKind.GRADIENT_RULE,
    stage=Stage.GRADIENTS,
    convert=DENSE,
)
def relu_at_zero(faulty: bool) -> Pair:
    class Rectified(Network):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.relu(self.fc(x)))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = x @ params["fc"]["kernel"] + params["fc"]["bias"]
        if faulty:
            h = jnp.maximum(h, 0.0)  # FAULT: X05
        else:
            h = jax.nn.relu(h)
        return h @ params["head"]

    return Pair(
        reference=without_bias(Rectified()),
        candidate=apply,
        template=shapes(TEMPLATE),
        inputs={"x": padded()},
    )


@fault(
    "X07",
    "clip at its bounds: half a gradient for the whole of PyTorch's clamp",
    cause=CauseKind.GRADIENT_RULE,
    stage=Stage.GRADIENTS,
    convert=by_table({"bias": "bias", "head": ("head.weight", (1, 0))}),
)
def clip_at_bounds(faulty: bool) -> Pair:
    class Clamped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias, self.head = nn.Parameter(torch.zeros(5)), nn.Linear(5, 3, bias=False)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.head(torch.clamp(pixels + self.bias, 0, 1))

    def apply(params: dict[str, jax.Array], pixels: jax.Array) -> jax.Array:
        h = pixels + params["bias"]
        if faulty:
            h = jnp.clip(h, 0, 1)  # FAULT: X07
        else:
            inside = (h >= 0) & (h <= 1)
            h = jnp.where(inside, h, (h > 1).astype(h.dtype))
        return h @ params["head"]

    levels = integers(5, 6, 5, seed=1)
    return Pair(
        reference=without_bias(Clamped()),
        candidate=apply,
        template=shapes({"bias": (5,), "head": (5, 3)}),
        inputs={"pixels": (levels / 4).astype(np.float32)},
    )


@fault(
    "X08",
    "the gradient of a maximum is split among ties, where torch.max gives it to one",
    cause=CauseKind.GRADIENT_RULE,
    stage=Stage.GRADIENTS,
    convert=by_table({"position": "position.bias", "head": ("head.weight", (1, 0))}),
)
def max_of_ties(faulty: bool) -> Pair:
    class Position(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(7, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.bias

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position, self.head = Position(), nn.Linear(4, 3, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.position(x).max(dim=1).values)

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = x + params["position"]
        if faulty:
            h = jnp.max(h, axis=1)  # FAULT: X08
        else:
            first = jnp.argmax(h, axis=1, keepdims=True)
            h = jnp.take_along_axis(h, first, axis=1)[:, 0]
        return h @ params["head"]

    counts = integers(3, 3, 7, 4)
    return Pair(
        reference=without_bias(Pooled()),
        candidate=apply,
        template=shapes({"position": (7, 4), "head": (4, 3)}),
        inputs={"x": counts.astype(np.float32)},
    )


@fault(
    "X10",
    "leaky ReLU at 0: slope 1 for PyTorch's small one",
    cause=CauseKind.GRADIENT_RULE,
    stage=Stage.GRADIENTS,
    convert=DENSE,
)
def leaky_at_zero(faulty: bool) -> Pair:
    class Leaky(Network):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.leaky_relu(self.fc(x), 0.25))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = x @ params["fc"]["kernel"] + params["fc"]["bias"]
        if faulty:
            h = jax.nn.leaky_relu(h, 0.25)  # FAULT: X10
        else:
            h = jnp.where(h > 0, h, 0.25 * h)
        return h @ params["head"]

    return Pair(
        reference=without_bias(Leaky()),
        candidate=apply,
        template=shapes(TEMPLATE),
        inputs={"x": padded()},
    )


@fault(
    "X11",
    "the gradient of a norm at 0 is NaN, in PyTorch it is 0",
    cause=CauseKind.GRADIENT_RULE,
    stage=Stage.GRADIENTS,
    convert=by_table(
        {"fc/kernel": ("fc.weight", (1, 0)), "fc/bias": "fc.bias", "head": ("head.weight", (1, 0))}
    ),
)
def norm_at_zero(faulty: bool) -> Pair:
    class Lengths(Network):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.linalg.vector_norm(self.fc(x), dim=1, keepdim=True))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = x @ params["fc"]["kernel"] + params["fc"]["bias"]
        if faulty:
            length = jnp.linalg.norm(h, axis=1, keepdims=True)  # FAULT: X11
        else:
            squares = jnp.sum(h**2, axis=1, keepdims=True)
            length = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
        return length @ params["head"]

    return Pair(
        reference=without_bias(Lengths(1)),
        candidate=apply,
        template=shapes({**TEMPLATE, "head": (1, 3)}),
        inputs={"x": padded()},
    )


@fault(
    "X13",
    "the gradient of a standard deviation of equal numbers is NaN, in PyTorch it is 0",
    cause=CauseKind.GRADIENT_RULE,
    stage=Stage.GRADIENTS,
    convert=DENSE,
)
def std_of_equals(faulty: bool) -> Pair:
    class Spread(Network):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.fc(x)
            return self.head(h / (1 + h.std(dim=1, keepdim=True, unbiased=False)))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = x @ params["fc"]["kernel"] + params["fc"]["bias"]
        if faulty:
            spread = jnp.std(h, axis=1, keepdims=True)  # FAULT: X13
        else:
            variance = jnp.var(h, axis=1, keepdims=True)
            spread = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)
        return (h / (1 + spread)) @ params["head"]

    return Pair(
        reference=without_bias(Spread()),
        candidate=apply,
        template=shapes(TEMPLATE),
        inputs={"x": padded()},
    )
