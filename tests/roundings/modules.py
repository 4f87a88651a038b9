"""Modules of Linen, NNX and Equinox beside those of PyTorch: perceptron, images, attention, experts."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F
from flax import linen, nnx
from torch import nn

from tests.roundings.declare import F32, Modules, back, narrow, wide

# A perceptron with a norm


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(9, 16), nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.gelu(self.norm(self.first(x))))


class LinenPerceptron(linen.Module):
    first: Any = None
    norm: Any = None
    norm_of: str = "library"

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        given = {"param_dtype": narrow()}
        h = linen.Dense(16, dtype=self.first or narrow(), **given, name="first")(x)
        h = linen.LayerNorm(epsilon=1e-5, dtype=self.norm or narrow(), **given, name="norm")(h)
        h = linen.gelu(h, approximate=False)
        return linen.Dense(5, dtype=narrow(), **given, name="last")(h)


class NnxPerceptron(nnx.Module):
    def __init__(self, inside: Any = None) -> None:
        rngs, given = nnx.Rngs(0), {"dtype": narrow(), "param_dtype": narrow()}
        self.first = nnx.Linear(9, 16, rngs=rngs, **given)
        norm = {**given, "dtype": inside or narrow()}
        self.norm = nnx.LayerNorm(16, epsilon=1e-5, rngs=rngs, **norm)
        self.last = nnx.Linear(16, 5, rngs=rngs, **{**given, "dtype": inside or narrow()})

    def __call__(self, x: jax.Array) -> jax.Array:
        return back(self.last(jax.nn.gelu(self.norm(self.first(x)), approximate=False)))


class EqxPerceptron(eqx.Module):
    first: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    last: eqx.nn.Linear
    by_hand: bool = eqx.field(static=True)

    def __init__(self, by_hand: bool = False) -> None:
        key, given = jax.random.key(0), {"dtype": narrow()}
        self.first = eqx.nn.Linear(9, 16, key=key, **given)
        self.norm = eqx.nn.LayerNorm(16, **given)
        self.last = eqx.nn.Linear(16, 5, key=key, **given)
        self.by_hand = by_hand

    def normed(self, h: jax.Array) -> jax.Array:
        if not self.by_hand:
            return self.norm(h)
        h = (h - h.mean()) * jax.lax.rsqrt(jnp.mean(jnp.square(h - h.mean())) + 1e-5)
        return h * self.norm.weight + self.norm.bias

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.vmap(lambda row: self.last(jax.nn.gelu(self.normed(self.first(row)), approximate=False)))(
            x
        )


# Images


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.Linear(6 * 9, 5),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.avg_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return self.last(h.flatten(1))


class LinenImages(linen.Module):
    pooled: str = "library"
    norm: Any = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        given = {"dtype": narrow(), "param_dtype": narrow()}
        h = linen.Conv(6, (3, 3), **given, name="conv")(x)
        norm = {**given, "dtype": self.norm or narrow()}
        h = linen.BatchNorm(use_running_average=True, epsilon=1e-5, **norm, name="norm")(h)
        h = jax.nn.relu(h)
        if self.pooled == "library":
            h = linen.avg_pool(h, (2, 2), (2, 2))
        else:
            h = back(wide(h).reshape(-1, 3, 2, 3, 2, 6).mean((2, 4)))
        return linen.Dense(5, **given, name="last")(back(h).transpose(0, 3, 1, 2).reshape(len(h), -1))


class NnxImages(nnx.Module):
    def __init__(self, by_hand: bool = False, inside: Any = F32) -> None:
        rngs, given = nnx.Rngs(0), {"dtype": narrow(), "param_dtype": narrow()}
        self.conv = nnx.Conv(3, 6, (3, 3), rngs=rngs, **given)
        norm = {**given, "dtype": inside}
        self.norm = nnx.BatchNorm(6, use_running_average=True, epsilon=1e-5, rngs=rngs, **norm)
        self.last = nnx.Linear(54, 5, rngs=rngs, **given)
        self.by_hand = by_hand

    def normed(self, h: jax.Array) -> jax.Array:
        if not self.by_hand:
            return back(self.norm(h))
        mean, var = back(self.norm.mean.get_value()), back(self.norm.var.get_value())
        h = (h - mean) * jax.lax.rsqrt(var + back(jnp.asarray(1e-5)))
        return h * self.norm.scale.get_value() + self.norm.bias.get_value()

    def __call__(self, x: jax.Array) -> jax.Array:
        h = nnx.avg_pool(nnx.relu(self.normed(self.conv(x))), (2, 2), (2, 2))
        return self.last(h.transpose(0, 3, 1, 2).reshape(len(h), -1))


# Attention with heads


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(12, 12, bias=False) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (m(x).unflatten(-1, (3, 4)).transpose(1, 2) for m in (self.q, self.k, self.v))
        scores = (q @ k.transpose(-1, -2) * 0.5).float()
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        scores = scores.masked_fill(~mask, float("-inf"))
        mixed = scores.softmax(-1).to(x.dtype) @ v
        return x + self.o(mixed.transpose(1, 2).flatten(2))


class LinenAttention(linen.Module):
    softmax: str = "float32"
    scores: Any = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def project(name: str) -> jax.Array:
            layer = linen.Dense(12, use_bias=False, dtype=narrow(), param_dtype=narrow(), name=name)
            return layer(x).reshape(*x.shape[:2], 3, 4)

        q, k, v = (project(name) for name in "qkv")
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=self.scores) * 0.5
        scores = wide(scores) if self.softmax == "float32" else scores
        mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        weights = back(jax.nn.softmax(jnp.where(mask, scores, -jnp.inf)))
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape)
        out = linen.Dense(12, use_bias=False, dtype=narrow(), param_dtype=narrow(), name="o")
        return x + out(mixed)


class EqxAttention(eqx.Module):
    q: eqx.nn.Linear
    k: eqx.nn.Linear
    v: eqx.nn.Linear
    o: eqx.nn.Linear
    residual: Any = eqx.field(static=True)

    def __init__(self, residual: Any = None) -> None:
        make = lambda: eqx.nn.Linear(12, 12, use_bias=False, key=jax.random.key(0), dtype=narrow())  # noqa: E731
        self.q, self.k, self.v, self.o = make(), make(), make(), make()
        self.residual = residual or narrow()

    def one(self, x: jax.Array) -> jax.Array:
        q, k, v = (jax.vmap(m)(x).reshape(-1, 3, 4).swapaxes(0, 1) for m in (self.q, self.k, self.v))
        scores = wide(q @ k.swapaxes(1, 2) * 0.5)
        mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
        weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf)).astype(self.residual)
        mixed = (weights @ v.astype(self.residual)).swapaxes(0, 1).reshape(x.shape)
        return back(x.astype(self.residual) + mixed @ self.o.weight.T.astype(self.residual))

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.vmap(self.one)(x)


# Experts, chosen by a router in float32


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.router, self.up = nn.Linear(8, 4, bias=False), nn.Parameter(torch.randn(4, 8, 10) / 3)
        self.down = nn.Parameter(torch.randn(4, 10, 8) / 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights, chosen = self.router(x).float().softmax(-1).topk(2, -1)
        weights = (weights / weights.sum(-1, keepdim=True)).to(x.dtype)
        h = F.silu(torch.einsum("td,edf->tef", x, self.up))
        every = torch.einsum("tef,efd->ted", h, self.down)
        picked = torch.gather(every, 1, chosen[..., None].expand(-1, -1, 8))
        return (picked * weights[..., None]).sum(1)


class LinenExperts(linen.Module):
    router: str = "float32"
    combined: str = "sum"

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scores = linen.Dense(4, use_bias=False, dtype=narrow(), param_dtype=narrow(), name="router")(x)
        normal = linen.initializers.normal()
        up = self.param("up", normal, (4, 8, 10), narrow())
        down = self.param("down", normal, (4, 10, 8), narrow())
        scores = wide(scores) if self.router == "float32" else scores
        weights, chosen = jax.lax.top_k(jax.nn.softmax(scores), 2)
        weights = weights / weights.sum(-1, keepdims=True)
        weights = weights if self.combined == "wide" else back(weights)
        h = jax.nn.silu(jnp.einsum("td,edf->tef", x, up))
        every = jnp.einsum("tef,efd->ted", h, down)
        picked = jnp.take_along_axis(every, chosen[..., None], 1)
        if self.combined == "wide":
            picked = jnp.einsum("td,edf->tef", wide(x), wide(up))
            picked = jnp.einsum("tef,efd->ted", jax.nn.silu(picked), wide(down))
            picked = jnp.take_along_axis(picked, chosen[..., None], 1)
        return back((picked * weights[..., None]).sum(1))


FAMILIES = {
    "perceptron": Modules(
        Perceptron,
        (4, 9),
        {"linen": LinenPerceptron, "nnx": NnxPerceptron, "equinox": EqxPerceptron},
        {
            "linen in float32": lambda: LinenPerceptron(first=F32, norm=F32),
            "nnx in float32": lambda: NnxPerceptron(F32),
            "equinox narrow norm": lambda: EqxPerceptron(by_hand=True),
        },
    ),
    "images": Modules(
        Images,
        (2, 3, 6, 6),
        {
            "linen": LinenImages,
            "linen by hand": lambda: LinenImages("by hand"),
            "nnx": NnxImages,
            "linen norm in float32": lambda: LinenImages("by hand", F32),
        },
        {
            "nnx norm by hand": lambda: NnxImages(by_hand=True),
            "nnx norm in its dtype": lambda: NnxImages(inside=narrow()),
        },
    ),
    "attention with heads": Modules(
        Attention,
        (2, 5, 12),
        {"linen": LinenAttention, "equinox": EqxAttention},
        {
            "linen narrow softmax": lambda: LinenAttention("narrow"),
            "linen wide scores": lambda: LinenAttention(scores=F32),
            "equinox in float32": lambda: EqxAttention(F32),
        },
    ),
    "experts": Modules(
        Experts,
        (6, 8),
        {"linen": LinenExperts},
        {
            "linen narrow router": lambda: LinenExperts("narrow"),
            "linen in float32": lambda: LinenExperts(combined="wide"),
        },
    ),
}
