"""Norms: statistics in float32, by hand or inside a kernel of PyTorch."""

import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F
from flax import linen
from jax import lax

from tests.roundings.declare import F32, Family, Params, Tensors, back, narrow, wide

# Root mean square, in float32 inside


def t_rms(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    h = x.float()
    h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
    return (p["w"] * h.to(x.dtype)) @ p["k"]


def j_rms(p: Params, x: jax.Array) -> jax.Array:
    h = wide(x)
    h = h * lax.rsqrt(jnp.mean(jnp.square(h), axis=-1, keepdims=True) + 1e-6)
    return (p["w"] * back(h)) @ p["k"]


def j_rms_by_root(p: Params, x: jax.Array) -> jax.Array:
    h = wide(x)
    h = back(h / jnp.sqrt((h * h).sum(-1, keepdims=True) / h.shape[-1] + 1e-6))
    return jnp.einsum("bd,de->be", h * p["w"], p["k"])


def j_rms_by_flax(p: Params, x: jax.Array) -> jax.Array:
    ones = {"params": {"scale": jnp.ones(x.shape[-1], F32)}}
    h = linen.RMSNorm(epsilon=1e-6, dtype=narrow(), param_dtype=F32).apply(ones, x)
    return (p["w"] * h) @ p["k"]


def j_rms_mapped(p: Params, x: jax.Array) -> jax.Array:
    return jax.vmap(lambda row: j_rms(p, row[None])[0])(x)


def j_rms_narrow(p: Params, x: jax.Array) -> jax.Array:
    h = x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    return (p["w"] * h) @ p["k"]


def j_rms_early(p: Params, x: jax.Array) -> jax.Array:
    h = wide(x)
    scale = back(lax.rsqrt(back(jnp.mean(h * h, axis=-1, keepdims=True)) + 1e-6))
    return (p["w"] * (x * scale)) @ p["k"]


def j_rms_all_wide(p: Params, x: jax.Array) -> jax.Array:
    h = wide(x)
    h = h * lax.rsqrt(jnp.mean(h * h, axis=-1, keepdims=True) + 1e-6)
    return back((wide(p["w"]) * h) @ wide(p["k"]))


# A norm of the library


def t_norm(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    return F.gelu(F.layer_norm(x, x.shape[-1:], p["w"], p["b"])) @ p["k"]


def norm(h: jax.Array, p: Params) -> jax.Array:
    mean = h.mean(-1, keepdims=True)
    return (h - mean) * lax.rsqrt(jnp.mean(jnp.square(h - mean), -1, keepdims=True) + 1e-5) * p["w"] + p["b"]


def j_norm(p: Params, x: jax.Array) -> jax.Array:
    return jax.nn.gelu(back(norm(wide(x), p)), approximate=False) @ p["k"]


def j_norm_by_flax(p: Params, x: jax.Array) -> jax.Array:
    own = {"params": {"scale": p["w"], "bias": p["b"]}}
    h = linen.LayerNorm(epsilon=1e-5, dtype=narrow(), param_dtype=narrow(), use_fast_variance=False).apply(
        own, x
    )
    return jax.nn.gelu(h, approximate=False) @ p["k"]


def j_norm_fast(p: Params, x: jax.Array) -> jax.Array:
    own = {"params": {"scale": p["w"], "bias": p["b"]}}
    h = linen.LayerNorm(epsilon=1e-5, dtype=narrow(), param_dtype=narrow()).apply(own, x)
    return linen.gelu(h, approximate=False) @ p["k"]


def j_norm_standard(p: Params, x: jax.Array) -> jax.Array:
    h = jax.nn.standardize(wide(x), epsilon=1e-5)
    return jax.nn.gelu(back(h * wide(p["w"]) + wide(p["b"])), approximate=False) @ p["k"]


def j_norm_narrow(p: Params, x: jax.Array) -> jax.Array:
    return jax.nn.gelu(norm(x, p), approximate=False) @ p["k"]


def j_norm_rounded_inside(p: Params, x: jax.Array) -> jax.Array:
    mean = back(wide(x).mean(-1, keepdims=True))
    spread = back(lax.rsqrt(wide(x).var(-1, keepdims=True) + 1e-5))
    return jax.nn.gelu((x - mean) * spread * p["w"] + p["b"], approximate=False) @ p["k"]


# A convolution with statistics kept in float32 beside weights in bfloat16


def t_convolution(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    h = F.conv1d(x.transpose(1, 2), p["c"], padding=1)
    h = F.batch_norm(h, p["mean"].detach(), p["var"].detach() ** 2 + 0.5, p["w"], p["b"], eps=1e-3)
    return F.relu(h).mean(-1)


def fixed(p: Params) -> tuple[jax.Array, jax.Array]:
    mean, spread = lax.stop_gradient((p["mean"], p["var"]))
    return mean, spread**2 + 0.5


def convolved(p: Params, x: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, p["c"], (1,), [(1, 1)], dimension_numbers=("NTC", "OIT", "NTC"))


def j_convolution(p: Params, x: jax.Array) -> jax.Array:
    mean, var = fixed(p)
    h = (wide(convolved(p, x)) - mean) * (wide(p["w"]) * lax.rsqrt(wide(var) + 1e-3)) + wide(p["b"])
    return jax.nn.relu(back(h)).mean(1)


def j_convolution_cast_last(p: Params, x: jax.Array) -> jax.Array:
    mean, var = fixed(p)
    h = (wide(convolved(p, x)) - mean) / jnp.sqrt(wide(var) + 1e-3) * p["w"] + p["b"]
    return jnp.mean(back(jnp.maximum(h, 0)), axis=1)


def j_convolution_narrow(p: Params, x: jax.Array) -> jax.Array:
    mean, var = fixed(p)
    return jax.nn.relu((convolved(p, x) - mean) * lax.rsqrt(var + 1e-3) * p["w"] + p["b"]).mean(1)


def j_convolution_narrow_spread(p: Params, x: jax.Array) -> jax.Array:
    mean, var = fixed(p)
    spread = back(lax.rsqrt(wide(var) + 1e-3))
    return jax.nn.relu((convolved(p, x) - mean) * spread * p["w"] + p["b"]).mean(1)


FAMILIES = {
    "root mean square": Family(
        t_rms,
        {"w": (16,), "k": (16, 5)},
        (4, 16),
        {"plain": j_rms, "root": j_rms_by_root, "flax": j_rms_by_flax, "mapped": j_rms_mapped},
        {"narrow": j_rms_narrow, "cast early": j_rms_early, "all wide": j_rms_all_wide},
    ),
    "layer norm": Family(
        t_norm,
        {"w": (16,), "b": (16,), "k": (16, 5)},
        (4, 16),
        {
            "by hand": j_norm,
            "jitted": jax.jit(j_norm),
            "flax": j_norm_by_flax,
            "fast": j_norm_fast,
            "standardize": j_norm_standard,
        },
        {"narrow": j_norm_narrow, "rounded inside": j_norm_rounded_inside},
    ),
    "convolution": Family(
        t_convolution,
        {"c": (6, 4, 3), "mean": (6,), "var": (6,), "w": (6,), "b": (6,)},
        (3, 7, 4),
        {
            "plain": j_convolution,
            "cast last": j_convolution_cast_last,
            "jitted": jax.jit(j_convolution),
            "mapped": lambda p, x: jax.vmap(lambda row: j_convolution(p, row[None])[0])(x),
        },
        {"narrow": j_convolution_narrow, "narrow spread": j_convolution_narrow_spread},
    ),
}
