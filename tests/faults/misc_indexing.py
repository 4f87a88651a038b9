"""Updates that are lost or added twice, indices out of range, padding that is counted."""
# ruff: noqa: SIM108 (a fault has a line of its own)

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from parity.report.kinds import CauseKind
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import integers, normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes

F = nn.functional


@fault(
    "M01",
    "an update out of place whose result is not kept",
    cause=CauseKind.MISSING_TERM,
    also=(CauseKind.OPERANDS, CauseKind.STALE_WEIGHTS),
    convert=by_table({"token": "token", "kernel": ("mix.weight", (1, 0)), "bias": "mix.bias"}),
)
def dropped_update(faulty: bool) -> Pair:
    class Prompted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.mix = nn.Parameter(torch.zeros(6)), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.tanh(x)
            h[:, 0] = self.token
            return torch.sigmoid(self.mix(h))

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = jnp.tanh(x)
        if faulty:
            h.at[:, 0].set(params["token"])  # FAULT: M01
        else:
            h = h.at[:, 0].set(params["token"])
        h = h @ params["kernel"]  # FAULT: M01
        return jax.nn.sigmoid(h + params["bias"])

    return Pair(
        reference=randomise(Prompted()),
        candidate=apply,
        template=shapes({"token": (6,), "kernel": (6, 4), "bias": (4,)}),
        inputs={"x": normal(3, 4, 6)},
    )


@fault(
    "M02",
    "x[i] += v with an index twice: the last one counts in PyTorch, .at[i].add counts both",
    cause=CauseKind.REDUCTION,
    also=(CauseKind.SELECTION, CauseKind.EXTRA_TERM, CauseKind.OPERANDS),
    convert=by_table({"kernel": ("fc.weight", (1, 0)), "bias": "fc.bias"}),
)
def repeated_index(faulty: bool) -> Pair:
    class Memory(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 3)

        def forward(self, slots: torch.Tensor, index: torch.Tensor, news: torch.Tensor) -> torch.Tensor:
            slots = slots.clone()
            slots[index] += news
            return torch.tanh(self.fc(slots))

    def apply(params: dict[str, jax.Array], slots: jax.Array, index: jax.Array, news: jax.Array) -> jax.Array:
        if faulty:
            slots = slots.at[index].add(news)  # FAULT: M02
        else:
            slots = slots.at[index].set(slots[index] + news)
        return jnp.tanh(slots @ params["kernel"] + params["bias"])

    return Pair(
        reference=randomise(Memory()),
        candidate=apply,
        template=shapes({"kernel": (5, 3), "bias": (3,)}),
        inputs={"slots": normal(6, 5), "index": np.array([0, 4, 0]), "news": normal(3, 5, seed=2)},
    )


@fault(
    "M04",
    "a token beyond the vocabulary: jnp.take fills with NaN, the original clamps",
    cause=CauseKind.SELECTION,
    also=(CauseKind.MISSING_TERM,),
    convert=by_table({"table": "table.weight", "head": ("head.weight", (1, 0))}),
)
def out_of_range(faulty: bool) -> Pair:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(9, 6), nn.Linear(6, 4, bias=False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.table(ids.clamp(max=8))))

    def apply(params: dict[str, jax.Array], ids: jax.Array) -> jax.Array:
        if faulty:
            h = jnp.take(params["table"], ids, axis=0)  # FAULT: M04
        else:
            h = jnp.take(params["table"], ids, axis=0, mode="clip")
        return jnp.tanh(h) @ params["head"]

    return Pair(
        reference=randomise(Tagger()),
        candidate=apply,
        template=shapes({"table": (9, 6), "head": (6, 4)}),
        inputs={"ids": np.array([[3, 8, 0], [9, 1, 5]])},
    )


@fault(
    "M05",
    "a neighbour of -1, which means none, wraps around to the last node",
    cause=CauseKind.MASK,
    also=(CauseKind.SELECTION, CauseKind.MISSING_TERM),
    convert=by_table({"own": ("own.weight", (1, 0)), "bias": "own.bias", "other": ("other.weight", (1, 0))}),
)
def absent_neighbours(faulty: bool) -> Pair:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.own, self.other = nn.Linear(4, 5), nn.Linear(4, 5, bias=False)

        def forward(self, nodes: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
            known = (neighbours >= 0).unsqueeze(-1)
            near = torch.where(known, nodes[neighbours.clamp(min=0)], 0)
            return F.relu(self.own(nodes) + self.other(near.sum(dim=1)))

    def apply(params: dict[str, jax.Array], nodes: jax.Array, neighbours: jax.Array) -> jax.Array:
        if faulty:
            near = nodes[neighbours]  # FAULT: M05
        else:
            near = jnp.where((neighbours >= 0)[..., None], nodes[neighbours], 0)
        messages = near.sum(axis=1) @ params["other"]
        return jax.nn.relu(nodes @ params["own"] + params["bias"] + messages)

    return Pair(
        reference=randomise(Graph()),
        candidate=apply,
        template=shapes({"own": (4, 5), "bias": (5,), "other": (4, 5)}),
        inputs={
            "nodes": normal(5, 4),
            "neighbours": np.array([[1, 2, -1], [0, -1, -1], [0, 3, 4], [2, 4, -1], [2, 3, -1]]),
        },
    )


@fault(
    "M11",
    "the mean over tokens counts the padding",
    cause=CauseKind.MASK,
    also=(CauseKind.REDUCTION, CauseKind.MISSING_TERM),
)
def pooled_padding(faulty: bool) -> Pair:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(12, 8), nn.Linear(8, 3)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            h, weight = torch.tanh(self.embed(ids)), mask.unsqueeze(-1)
            return self.head((h * weight).sum(dim=1) / weight.sum(dim=1))

    def apply(p: dict[str, jax.Array], ids: jax.Array, mask: jax.Array) -> jax.Array:
        h = jnp.tanh(p["embed.weight"][ids])
        if faulty:
            pooled = h.mean(axis=1)  # FAULT: M11
        else:
            pooled = h.mean(axis=1, where=mask[..., None])
        return pooled @ p["head.weight"].T + p["head.bias"]

    model = randomise(Encoder())
    lengths = np.array([6, 3, 5, 1])
    return Pair(
        reference=model,
        candidate=apply,
        template=shapes(model.state_dict()),
        inputs={
            "ids": integers(12, 4, 6, low=1, seed=0),
            "mask": np.arange(6) < lengths[:, None],
        },
    )
