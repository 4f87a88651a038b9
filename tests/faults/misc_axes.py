"""Axes, letters and shifts exchanged, arrays repeated or cut in another order."""
# ruff: noqa: SIM108 (a fault has a line of its own)

import jax
import jax.numpy as jnp
import torch
from flax import nnx
from torch import nn

from parity.report.kinds import CauseKind
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes

F = nn.functional


@fault(
    "M07",
    "mean over axes 2 and 3, as for NCHW, in a port to NHWC",
    cause=CauseKind.AXIS,
    also=(CauseKind.REDUCTION,),
    convert=by_table(
        {
            "stem/kernel": ("stem.weight", (2, 3, 1, 0)),
            "stem/bias": "stem.bias",
            "head/kernel": ("head.weight", (1, 0)),
            "head/bias": "head.bias",
        }
    ),
)
def spatial_mean(faulty: bool) -> Pair:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.relu(self.stem(x)).mean(dim=(2, 3)))

    class Port(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.stem, self.head = nnx.Conv(3, 6, (3, 3), rngs=rngs), nnx.Linear(6, 4, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            h = jax.nn.relu(self.stem(x))
            if faulty:
                h = h.mean(axis=(2, 3))  # FAULT: M07
            else:
                h = h.mean(axis=(1, 2))
            return self.head(h)

    return Pair(
        reference=randomise(Network()),
        candidate=Port(nnx.Rngs(0)),
        inputs={"x": normal(2, 3, 6, 6)},
        layout={"x": (0, 2, 3, 1)},
    )


@fault(
    "M16",
    "letters of an einsum exchanged: time and heads have equal lengths",
    cause=CauseKind.AXIS,
    also=(CauseKind.OPERANDS, CauseKind.ORDER),
    convert=by_table({name: (f"{name}.weight", (1, 0)) for name in ("query", "key", "value", "out")}),
)
def einsum_letters(faulty: bool) -> Pair:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key = nn.Linear(10, 12, bias=False), nn.Linear(10, 12, bias=False)
            self.value, self.out = nn.Linear(10, 12, bias=False), nn.Linear(12, 7, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = (f(x).unflatten(-1, (4, 3)).transpose(1, 2) for f in (self.query, self.key, self.value))
            attended = torch.softmax(q @ k.mT / 3**0.5, dim=-1) @ v
            return self.out(attended.transpose(1, 2).flatten(2))

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        q, k, v = ((x @ params[name]).reshape(2, 4, 4, 3) for name in ("query", "key", "value"))
        if faulty:
            scores = jnp.einsum("bhqd,bhkd->bhqk", q, k)  # FAULT: M16
        else:
            scores = jnp.einsum("bqhd,bkhd->bhqk", q, k)
        weights = jax.nn.softmax(scores / 3**0.5)
        attended = jnp.einsum("bhqk,bkhd->bqhd", weights, v)
        return attended.reshape(2, 4, 12) @ params["out"]

    return Pair(
        reference=randomise(Attention()),
        candidate=apply,
        template=shapes({"query": (10, 12), "key": (10, 12), "value": (10, 12), "out": (12, 7)}),
        inputs={"x": normal(2, 4, 10)},
    )


@fault("M17", "windows shifted the other way", cause=CauseKind.SHIFT, module="shift")
def window_shift(faulty: bool) -> Pair:
    class Shift(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.roll(x, shifts=(-1, -1), dims=(1, 2))

    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.shift, self.out = nn.Linear(3, 5), Shift(), nn.Linear(20, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.shift(torch.tanh(self.mix(x)))
            h = h.unflatten(1, (3, 2)).unflatten(3, (3, 2)).transpose(2, 3)
            return self.out(h.flatten(3))

    def apply(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ p["mix.weight"].T + p["mix.bias"])
        if faulty:
            h = jnp.roll(h, (1, 1), axis=(1, 2))  # FAULT: M17
        else:
            h = jnp.roll(h, (-1, -1), axis=(1, 2))
        h = h.reshape(2, 3, 2, 3, 2, 5).transpose(0, 1, 3, 2, 4, 5)
        return h.reshape(2, 3, 3, 20) @ p["out.weight"].T + p["out.bias"]

    model = randomise(Windows())
    return Pair(
        reference=model,
        candidate=apply,
        template=shapes(model.state_dict()),
        inputs={"x": normal(2, 6, 6, 3)},
    )


@fault(
    "M19",
    "every entry repeated where the whole row is",
    cause=CauseKind.REPEAT,
    also=(CauseKind.ORDER,),
    convert=by_table({"kernel": ("fc.weight", (1, 0)), "gain": "gain"}),
)
def repeat(faulty: bool) -> Pair:
    class Tiled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.gain = nn.Linear(5, 3, bias=False), nn.Parameter(torch.ones(6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.sin(self.fc(x))
            return h.repeat(1, 2) * self.gain

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = jnp.sin(x @ params["kernel"])
        if faulty:
            h = jnp.repeat(h, 2, axis=1)  # FAULT: M19
        else:
            h = jnp.tile(h, (1, 2))
        return h * params["gain"]

    return Pair(
        reference=randomise(Tiled()),
        candidate=apply,
        template=shapes({"kernel": (5, 3), "gain": (6,)}),
        inputs={"x": normal(4, 5)},
    )


@fault(
    "M20",
    "patches flattened as (height, width, channel) for a Dense layer of (channel, height, width)",
    cause=CauseKind.ORDER,
    also=(CauseKind.KERNEL_LAYOUT,),
)
def patches(faulty: bool) -> Pair:
    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(12, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.embed(F.unfold(x, 2, stride=2).mT))

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        cut = x.reshape(2, 3, 3, 2, 3, 2)  # N, C, rows, 2, columns, 2
        if faulty:
            cut = cut.transpose(0, 2, 4, 3, 5, 1)  # FAULT: M20
        else:
            cut = cut.transpose(0, 2, 4, 1, 3, 5)
        flat = cut.reshape(2, 9, 12)  # FAULT: M20
        return jnp.tanh(flat @ params["kernel"] + params["bias"])

    model = randomise(
        Patches()
    )  # converted in the usual way: a plan could lay the kernel out for the patches
    params = {"kernel": model.embed.weight.detach().numpy().T, "bias": model.embed.bias.detach().numpy()}
    return Pair(reference=model, candidate=apply, params=params, inputs={"x": normal(2, 3, 6, 6)})
