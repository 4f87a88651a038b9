"""Numbers of too few bits: products, accumulators, integers, promotion, unstable sums."""
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

F = nn.functional
DENSE = by_table({"kernel": ("fc.weight", (1, 0)), "bias": "fc.bias"})


class Dense(nn.Module):
    """A linear layer and a tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(256, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.fc(x))


def dense(port: Any) -> Pair:
    """A port of that layer."""
    return Pair(
        reference=randomise(Dense()),
        candidate=port,
        template=shapes({"kernel": (256, 16), "bias": (16,)}),
        inputs={"x": normal(8, 256)},
    )


@fault(
    "X01",
    "TF32 in a product of matrices, JAX's default on a GPU",
    cause=CauseKind.DTYPE,
    module="fc",
    mode="accelerator",
    convert=DENSE,
)
def tf32(faulty: bool) -> Pair:
    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        precision = "tensorfloat32" if faulty else "highest"
        h = jnp.matmul(x, params["kernel"], precision=precision)  # FAULT: X01
        return jnp.tanh(h + params["bias"])

    return dense(apply)


@fault(
    "X02",
    "products in passes of bfloat16, JAX's default on a TPU",
    cause=CauseKind.DTYPE,
    module="fc",
    mode="accelerator",
    convert=DENSE,
)
def bfloat16_passes(faulty: bool) -> Pair:
    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        precision = "bfloat16" if faulty else "highest"
        h = jnp.matmul(x, params["kernel"], precision=precision)  # FAULT: X02
        return jnp.tanh(h + params["bias"])

    return dense(apply)


@fault(
    "X04",
    "a hash of large ids overflows 32 bits",
    cause=CauseKind.DTYPE,
    convert=by_table({"table": "table.weight"}),
)
def overflow(faulty: bool) -> Pair:
    factor, buckets = 40_503, 31

    class Hashed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(buckets, 4)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return torch.sin(self.table(ids.long() * factor % buckets))

    def apply(params: dict[str, jax.Array], ids: jax.Array) -> jax.Array:
        ids = ids.astype(jnp.int32)
        if faulty:
            rows = ids * factor % buckets  # FAULT: X04
        else:
            rows = (ids % buckets) * (factor % buckets) % buckets
        return jnp.sin(params["table"][rows])

    return Pair(
        reference=randomise(Hashed()),
        candidate=apply,
        template=shapes({"table": (buckets, 4)}),
        inputs={"ids": np.array([7, 52_000, 530_001, 1_999_999, 88, 2_000_003], np.int32)},
    )


@fault(
    "X14",
    "a sum accumulated in bfloat16 stands still at 256",
    cause=CauseKind.DTYPE,
    mode="bfloat16",
    also=(CauseKind.REDUCTION,),
    convert=by_table({"gain": "gain"}),
)
def narrow_sum(faulty: bool) -> Pair:
    class Total(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * self.gain).sum(dim=0)

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        terms = x * params["gain"]
        if faulty:
            total, _ = jax.lax.scan(lambda s, t: (s + t, None), jnp.zeros_like(terms[0]), terms)  # FAULT: X14
        else:
            total = jnp.sum(terms, axis=0)
        return total

    return Pair(
        reference=randomise(Total()),
        candidate=apply,
        template=shapes({"gain": (3,)}),
        inputs={"x": np.abs(1 + 0.1 * normal(1024, 3))},
    )


@fault(
    "X23",
    "a float32 array without axes promotes bfloat16 to float32; PyTorch keeps bfloat16",
    cause=CauseKind.DTYPE,
    mode="bfloat16",
    convert=by_table({"kernel": ("fc.weight", (1, 0)), "bias": "fc.bias"}),
)
def promotion(faulty: bool) -> Pair:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.scale = nn.Linear(12, 6), torch.tensor(0.7)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.softmax(self.fc(x * self.scale), dim=-1)

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        scale = np.float32(0.7)
        if faulty:
            h = x * jnp.asarray(scale)  # FAULT: X23
        else:
            h = x * jnp.asarray(scale, x.dtype)
        return jax.nn.softmax(h @ params["kernel"] + params["bias"])

    return Pair(
        reference=randomise(Scaled()),
        candidate=apply,
        template=shapes({"kernel": (12, 6), "bias": (6,)}),
        inputs={"x": normal(4, 12)},
    )


@fault(
    "X25",
    "a long decay in closed form, by quotients of products that underflow",
    mode="float32",
    convert=by_table({"decay": "decay"}),
)
def closed_form_decay(faulty: bool) -> Pair:
    class Decay(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decay = nn.Parameter(torch.tensor([-0.4, -0.5, 3.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rate, state, states = torch.sigmoid(self.decay), torch.zeros(3, dtype=x.dtype), []
            for row in x:
                state = rate * state + row
                states.append(state)
            return torch.stack(states)

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        rate = jax.nn.sigmoid(params["decay"])
        if faulty:
            powers = jnp.cumprod(jnp.broadcast_to(rate, x.shape), axis=0)
            return powers * jnp.cumsum(x / powers, axis=0)  # FAULT: X25

        def step(state: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
            state = rate * state + row
            return state, state

        return jax.lax.scan(step, jnp.zeros_like(x[0]), x)[1]

    return Pair(
        reference=Decay(),
        candidate=apply,
        template=shapes({"decay": (3,)}),
        inputs={"x": normal(128, 3)},
    )
