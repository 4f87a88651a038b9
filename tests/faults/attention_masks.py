"""Attention: which places are masked, by padding, segments, dropout and causality."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import nn

from parity.report.kinds import CauseKind
from tests.faults.attention import KERNELS, Attention, heads, kernels, merged, projected
from tests.faults.declare import fault
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import Arrays, randomise


def nnx_heads(w: Arrays) -> Arrays:
    """PyTorch's packed attention as the leaves of NNX's: two heads of four."""
    kernel, bias = w["core.in_proj_weight"].reshape(3, 8, 8), w["core.in_proj_bias"].reshape(3, 2, 4)
    leaves = {
        "core/out/kernel": w["core.out_proj.weight"].T.reshape(2, 4, 8),
        "core/out/bias": w["core.out_proj.bias"],
    }
    for i, name in enumerate(("query", "key", "value")):
        leaves[f"core/{name}/kernel"] = kernel[i].T.reshape(8, 2, 4)
        leaves[f"core/{name}/bias"] = bias[i]
    return leaves


@fault(
    "T01",
    "padding mask handed on as it is: True means ignore in PyTorch, attend in Flax",
    cause=CauseKind.MASK,
    module="core",
    convert=nnx_heads,
)
def mask_polarity(faulty: bool) -> Pair:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
            return self.core(x, x, x, key_padding_mask=padding, need_weights=False)[0]

    def attend(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array, **rest: Any) -> jax.Array:
        """Flax's own computes the softmax in float32, whatever it is given."""
        scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) * q.shape[-1] ** -0.5
        probabilities = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf))  # FAULT: T01
        return jnp.einsum("nhqk,nkhd->nqhd", probabilities, v)

    class Port(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.core = nnx.MultiHeadAttention(2, 8, attention_fn=attend, decode=False, rngs=rngs)

        def __call__(self, x: jax.Array, padding: jax.Array) -> jax.Array:
            if faulty:
                mask = padding[:, None, None, :]  # FAULT: T01
            else:
                mask = ~padding[:, None, None, :]
            return self.core(x, mask=mask)

    padding = np.zeros((2, 5), bool)
    padding[0, 4:] = padding[1, 2:] = True
    return Pair(
        reference=randomise(Masked()),
        candidate=Port(nnx.Rngs(0)),
        inputs={"x": normal(2, 5, 8), "padding": padding},
    )


@fault(
    "T02",
    "segment ids ignored on the accelerator's path only",
    cause=CauseKind.MASK,
    mode="accelerator",
    convert=KERNELS,
)
def fused_path(faulty: bool) -> Pair:
    class Packed(Attention):
        def forward(self, x: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
            q, k, v = (self.heads(layer(x), 2) for layer in (self.q, self.k, self.v))
            same = segments[:, None, :, None] == segments[:, None, None, :]
            scores = self.scores(q, k).masked_fill(~same, -torch.inf)
            return self.merge(scores.softmax(-1), v)

    def apply(params: Any, x: jax.Array, segments: jax.Array) -> jax.Array:
        q, k, v = projected(params, x)
        same = segments[:, None, :, None] == segments[:, None, None, :]
        scores = q @ k.swapaxes(2, 3) * q.shape[-1] ** -0.5
        if faulty and jax.default_backend() == "gpu":  # stands for a fused kernel that takes no mask
            return merged(params, jax.nn.softmax(scores), v)  # FAULT: T02
        return merged(params, jax.nn.softmax(jnp.where(same, scores, -jnp.inf)), v)

    return Pair(
        reference=randomise(Packed()),
        candidate=apply,
        template=kernels(),
        inputs={"x": normal(2, 6, 8), "segments": np.array([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 2]])},
    )


@fault(
    "T07",
    "one dropout mask for all samples and heads, where each has its own",
    cause=CauseKind.BROADCAST,
    convert=KERNELS,
    also=(CauseKind.MASK, CauseKind.SELECTION),
)
def shared_dropout(faulty: bool) -> Pair:
    """The masks are drawn once and fed to both sides: what is left is how they are used."""

    class Dropped(Attention):
        def forward(self, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
            q, k, v = (self.heads(layer(x), 2) for layer in (self.q, self.k, self.v))
            return self.merge(torch.where(kept, self.scores(q, k).softmax(-1) / 0.75, 0), v)

    def apply(params: Any, x: jax.Array, kept: jax.Array) -> jax.Array:
        q, k, v = projected(params, x)
        probabilities = jax.nn.softmax(q @ k.swapaxes(2, 3) * q.shape[-1] ** -0.5)
        if faulty:
            kept = kept[:1, :1]  # FAULT: T07
        dropped = jnp.where(kept, probabilities / 0.75, 0)  # FAULT: T07
        return merged(params, dropped, v)

    return Pair(
        reference=randomise(Dropped()),
        candidate=apply,
        template=kernels(),
        inputs={"x": normal(2, 5, 8), "kept": normal(2, 2, 5, 5, seed=2) > -0.7},
    )


@fault(
    "T14",
    "causal mask aligned at the top left, with keys from a cache at the bottom right",
    cause=CauseKind.MASK,
    convert=KERNELS,
    also=(CauseKind.SHIFT,),
)
def causal_alignment(faulty: bool) -> Pair:
    class Cached(Attention):
        def forward(self, x: torch.Tensor, past: torch.Tensor) -> torch.Tensor:
            both = torch.cat([past, x], dim=1)
            q, k, v = self.heads(self.q(x), 2), self.heads(self.k(both), 2), self.heads(self.v(both), 2)
            seen = torch.ones(x.shape[1], both.shape[1], dtype=torch.bool).tril(past.shape[1])
            scores = self.scores(q, k).masked_fill(~seen, -torch.inf)
            return self.merge(scores.softmax(-1), v)

    def apply(params: Any, x: jax.Array, past: jax.Array) -> jax.Array:
        both = jnp.concatenate([past, x], axis=1)
        q, k, v = heads(x @ params["q"], 2), heads(both @ params["k"], 2), heads(both @ params["v"], 2)
        ones = jnp.ones((x.shape[1], both.shape[1]), bool)
        seen = jnp.tril(ones, 0 if faulty else past.shape[1])  # FAULT: T14
        scores = q @ k.swapaxes(2, 3) * q.shape[-1] ** -0.5
        scores = jnp.where(seen, scores, -jnp.inf)  # FAULT: T14
        return merged(params, jax.nn.softmax(scores), v)

    return Pair(
        reference=randomise(Cached()),
        candidate=apply,
        template=kernels(),
        inputs={"x": normal(2, 3, 8), "past": normal(2, 4, 8, seed=2)},
    )
