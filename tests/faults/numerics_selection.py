"""Functions that choose or summarise numbers by another convention: ties, medians, quantiles, spreads."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from parity.report.kinds import CauseKind
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes


@fault("X16", "the last of equal scores is chosen, not the first", cause=CauseKind.SELECTION)
def ties(faulty: bool) -> Pair:
    class Router(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts, self.out = nn.Embedding(4, 6), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor, votes: torch.Tensor) -> torch.Tensor:
            return self.out(x * self.experts(votes.argmax(dim=1)))

    def apply(p: dict[str, jax.Array], x: jax.Array, votes: jax.Array) -> jax.Array:
        if faulty:
            chosen = jnp.argsort(votes, axis=1)[:, -1]  # FAULT: X16
        else:
            chosen = jnp.argmax(votes, axis=1)
        h = x * p["experts.weight"][chosen]
        return h @ p["out.weight"].T + p["out.bias"]

    model = randomise(Router())
    votes = np.array([[2, 2, 1, 0], [0, 3, 1, 3], [1, 1, 1, 1], [0, 1, 2, 3]], np.float32)
    return Pair(
        reference=model,
        candidate=apply,
        template=shapes(model.state_dict()),
        inputs={"x": normal(4, 6), "votes": votes},
    )


@fault(
    "X17",
    "columns of V^H taken for its rows, as the singular vectors",
    cause=CauseKind.ORDER,
    also=(CauseKind.AXIS, CauseKind.SELECTION, CauseKind.OPERANDS),
    convert=by_table({"w": "w"}),
)
def singular_vectors(faulty: bool) -> Pair:
    class Projection(nn.Module):
        """Onto the three directions that the matrix stretches most; their signs cancel."""

        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(6, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            top = torch.linalg.svd(self.w).Vh[:3]
            return x @ top.T @ top

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        vh = jnp.linalg.svd(params["w"])[2]
        if faulty:
            top = vh[:, :3].T  # FAULT: X17
        else:
            top = vh[:3]
        return x @ top.T @ top

    return Pair(
        reference=randomise(Projection()),
        candidate=apply,
        template=shapes({"w": (6, 6)}),
        inputs={"x": normal(4, 6)},
    )


@fault(
    "X19",
    "jnp.std divides by n, torch.std by n - 1",
    cause=CauseKind.VARIANCE_CORRECTION,
    convert=by_table(
        {"conv/kernel": ("conv.weight", (2, 1, 0)), "conv/bias": "conv.bias", "out": "out.weight"}
    ),
)
def std_correction(faulty: bool) -> Pair:
    class Statistics(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv1d(3, 5, 1), nn.Linear(10, 4, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.relu(self.conv(x))
            return self.out(torch.cat([h.mean(dim=2), h.std(dim=2)], dim=1))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = jnp.einsum("nct,co->not", x, params["conv"]["kernel"][0])
        h = jax.nn.relu(h + params["conv"]["bias"][:, None])
        mean = h.mean(axis=2)
        if faulty:
            spread = h.std(axis=2)  # FAULT: X19
        else:
            spread = h.std(axis=2, ddof=1)
        return jnp.concatenate([mean, spread], axis=1) @ params["out"].T

    return Pair(
        reference=randomise(Statistics()),
        candidate=apply,
        template=shapes({"conv": {"kernel": (1, 3, 5), "bias": (5,)}, "out": (4, 10)}),
        inputs={"x": normal(2, 3, 12)},
    )


@fault(
    "X20",
    "the median of an even number: the mean of both, not the lower",
    cause=CauseKind.SELECTION,
    also=(CauseKind.REDUCTION,),
    convert=by_table({"kernel": ("fc.weight", (1, 0)), "bias": "fc.bias"}),
)
def median(faulty: bool) -> Pair:
    class Robust(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.fc(x)
            return torch.tanh(h - 0.5 * h.median(dim=1, keepdim=True).values)

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = x @ params["kernel"] + params["bias"]
        if faulty:
            middle = jnp.median(h, axis=1, keepdims=True)  # FAULT: X20
        else:
            middle = jnp.sort(h, axis=1)[:, (h.shape[1] - 1) // 2, None]
        return jnp.tanh(h - 0.5 * middle)

    return Pair(
        reference=randomise(Robust()),
        candidate=apply,
        template=shapes({"kernel": (5, 6), "bias": (6,)}),
        inputs={"x": normal(2, 8, 5)},
    )


@fault(
    "X22",
    "a quantile interpolated between two numbers where the lower is meant",
    cause=CauseKind.SELECTION,
    convert=by_table({"kernel": ("fc.weight", (1, 0)), "bias": "fc.bias"}),
)
def quantile(faulty: bool) -> Pair:
    class Pruned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.fc(x)
            least = torch.quantile(h, 0.25, dim=1, keepdim=True, interpolation="lower")
            return torch.relu(h - 0.5 * least)

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = x @ params["kernel"] + params["bias"]
        if faulty:
            least = jnp.quantile(h, 0.25, axis=1, keepdims=True)  # FAULT: X22
        else:
            least = jnp.quantile(h, 0.25, axis=1, keepdims=True, method="lower")
        return jax.nn.relu(h - 0.5 * least)

    return Pair(
        reference=randomise(Pruned()),
        candidate=apply,
        template=shapes({"kernel": (4, 10), "bias": (10,)}),
        inputs={"x": normal(3, 4)},
    )
