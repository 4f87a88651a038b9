"""Attention: scales, shared heads, and the gradient of an additive bias."""
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
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes

KERNELS = by_table({name: (f"{name}.weight", (1, 0)) for name in ("q", "k", "v", "out")})


class Attention(nn.Module):
    """Attention without biases; a subclass says how scores and probabilities come about."""

    def __init__(self, num_heads: int = 2, num_kv: int = 2, width: int = 8) -> None:
        super().__init__()
        self.num_heads, self.num_kv = num_heads, num_kv
        narrow = width // num_heads * num_kv
        self.q, self.k = nn.Linear(width, width, bias=False), nn.Linear(width, narrow, bias=False)
        self.v, self.out = nn.Linear(width, narrow, bias=False), nn.Linear(width, width, bias=False)

    def heads(self, x: torch.Tensor, num: int) -> torch.Tensor:
        return x.unflatten(-1, (num, -1)).transpose(1, 2)

    def merge(self, probabilities: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return self.out((probabilities @ v).transpose(1, 2).flatten(2))

    def scores(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return q @ k.mT * q.shape[-1] ** -0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k = self.heads(self.q(x), self.num_heads), self.heads(self.k(x), self.num_kv)
        v = self.heads(self.v(x), self.num_kv)
        return self.merge(self.scores(q, k).softmax(-1), v)


def heads(x: jax.Array, num: int) -> jax.Array:
    """(N, T, D) -> (N, num, T, D / num)."""
    return x.reshape(*x.shape[:2], num, -1).swapaxes(1, 2)


def projected(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """q, k and v of two heads."""
    return heads(x @ params["q"], 2), heads(x @ params["k"], 2), heads(x @ params["v"], 2)


def merged(params: Any, probabilities: jax.Array, v: jax.Array) -> jax.Array:
    h = (probabilities @ v).swapaxes(1, 2)
    return h.reshape(*h.shape[:2], -1) @ params["out"]


def kernels(width: int = 8, narrow: int = 8) -> Any:
    return shapes({"q": (width, width), "k": (width, narrow), "v": (width, narrow), "out": (width, width)})


@fault(
    "T04",
    "scores scaled, where the reference (T5) does not scale them",
    cause=CauseKind.SCALE,
    convert=KERNELS,
    also=(CauseKind.EXTRA_TERM,),
)
def scaled_scores(faulty: bool) -> Pair:
    class Unscaled(Attention):
        def scores(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            return q @ k.mT

    def apply(params: Any, x: jax.Array) -> jax.Array:
        q, k, v = projected(params, x)
        if faulty:
            scores = q @ k.swapaxes(2, 3) / jnp.sqrt(jnp.asarray(4, x.dtype))  # FAULT: T04
        else:
            scores = q @ k.swapaxes(2, 3)
        return merged(params, jax.nn.softmax(scores), v)

    return Pair(
        reference=randomise(Unscaled()),
        candidate=apply,
        template=kernels(),
        inputs={"x": normal(2, 5, 8)},
    )


@fault(
    "T05",
    "scores scaled by the width of the model, not of a head",
    cause=CauseKind.SCALE,
    convert=KERNELS,
    also=(CauseKind.CONSTANT,),
)
def scale_of_the_model(faulty: bool) -> Pair:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        q, k, v = projected(params, x)
        width = x.shape[-1] if faulty else q.shape[-1]
        scores = jnp.einsum("nhqd,nhkd->nhqk", q, k)
        probabilities = jax.nn.softmax(scores / width**0.5)  # FAULT: T05
        return merged(params, probabilities, v)

    return Pair(
        reference=randomise(Attention()),
        candidate=apply,
        template=kernels(),
        inputs={"x": normal(2, 5, 8)},
    )


@fault(
    "T11",
    "key and value heads tiled (0, 1, 0, 1), not repeated (0, 0, 1, 1)",
    cause=CauseKind.REPEAT,
    convert=KERNELS,
    also=(CauseKind.ORDER,),
)
def grouped_queries(faulty: bool) -> Pair:
    """Each head has a slope of its own (ALiBi): without, heads in another order would be as good."""
    distance = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    bias = (-distance * 0.5 ** np.arange(1, 5).reshape(4, 1, 1)).astype(np.float32)

    class Grouped(Attention):
        def scores(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            return super().scores(q, k) + torch.from_numpy(bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q = self.heads(self.q(x), 4)
            k, v = (self.heads(layer(x), 2).repeat_interleave(2, 1) for layer in (self.k, self.v))
            return self.merge(self.scores(q, k).softmax(-1), v)

    def apply(params: Any, x: jax.Array) -> jax.Array:
        q, k, v = heads(x @ params["q"], 4), heads(x @ params["k"], 2), heads(x @ params["v"], 2)
        if faulty:
            k, v = jnp.tile(k, (1, 2, 1, 1)), jnp.tile(v, (1, 2, 1, 1))  # FAULT: T11
        else:
            k, v = jnp.repeat(k, 2, axis=1), jnp.repeat(v, 2, axis=1)
        scores = q @ k.swapaxes(2, 3) * q.shape[-1] ** -0.5 + bias
        return merged(params, jax.nn.softmax(scores), v)

    return Pair(
        reference=randomise(Grouped(4, 2)),
        candidate=apply,
        template=kernels(8, 4),
        inputs={"x": normal(2, 5, 8)},
    )


@fault(
    "T13",
    "fused attention gives no gradient to its additive bias",
    cause=CauseKind.GRADIENT_RULE,
    stage=Stage.GRADIENTS,
    convert=lambda w: {**KERNELS(w), "bias": w["bias"]},
)
def bias_gradient(faulty: bool) -> Pair:
    class Biased(Attention):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(2, 5, 5))

        def scores(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            return q @ k.mT * q.shape[-1] ** -0.5 + self.bias

    def plain(q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array) -> jax.Array:
        return jax.nn.softmax(q @ k.swapaxes(2, 3) * q.shape[-1] ** -0.5 + bias) @ v

    @jax.custom_vjp
    def attend(q: jax.Array, k: jax.Array, v: jax.Array, bias: jax.Array) -> jax.Array:
        return plain(q, k, v, bias)

    def forward(*given: jax.Array) -> Any:
        return plain(*given), given

    def backward(given: Any, slope: jax.Array) -> Any:
        dq, dk, dv, dbias = jax.vjp(plain, *given)[1](slope)
        if faulty:
            dbias = jnp.zeros_like(dbias)  # FAULT: T13
        return dq, dk, dv, dbias

    attend.defvjp(forward, backward)

    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = attend(*projected(params, x), params["bias"]).swapaxes(1, 2)  # FAULT: T13
        return h.reshape(x.shape) @ params["out"]

    return Pair(
        reference=randomise(Biased()),
        candidate=apply,
        template={**kernels(), "bias": jax.ShapeDtypeStruct((2, 5, 5), np.float32)},
        inputs={"x": normal(2, 5, 8)},
    )
