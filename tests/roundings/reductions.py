"""Reductions: summed in float32 because the author asked for it, or inside a kernel of PyTorch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax

from tests.roundings.declare import F32, Cast, Family, Params, Port, Tensors, back, narrow, wide

LONG = (3, 300, 12)
SHAPES = {"w": (12, 8)}


def behind(reduce: Cast) -> Port:
    """A reduction along the axis of 300, and a product with a weight."""
    return lambda p, x: reduce(x) @ p["w"]


def zero() -> np.generic:
    return narrow().type(0)


def looped(x: jax.Array) -> jax.Array:
    return lax.fori_loop(0, x.shape[1], lambda i, s: s + x[:, i], jnp.zeros_like(x[:, 0]))


def scanned(x: jax.Array) -> jax.Array:
    return lax.scan(lambda s, row: (s + row, None), jnp.zeros_like(x[:, 0]), jnp.swapaxes(x, 0, 1))[0]


def by_product(x: jax.Array) -> jax.Array:
    ones = jnp.ones(x.shape[1], x.dtype)
    return back(jnp.einsum("btd,t->bd", x, ones, preferred_element_type=F32))


def in_float32(x: jax.Array) -> jax.Array:
    total = jnp.zeros(x[:, 0].shape, F32)
    return back(lax.scan(lambda s, row: (s + row, None), total, jnp.swapaxes(x, 0, 1))[0])


SUMS: dict[str, Cast] = {
    "plain": lambda x: x.sum(1),
    "float32": lambda x: back(wide(x).sum(1)),
    "dtype": lambda x: back(jnp.sum(x, 1, dtype=F32)),
    "product": by_product,
    "loop in float32": in_float32,
    "mapped": lambda x: jax.vmap(lambda row: row.sum(0))(x),
}
LOOPS: dict[str, Cast] = {"loop": looped, "scan": scanned}
KEPT_NARROW: dict[str, Cast] = {
    "reduce": lambda x: lax.reduce(x, zero(), lax.add, (1,)),
    "narrow dtype": lambda x: jnp.sum(x, 1, dtype=narrow()),
    "window": lambda x: lax.reduce_window(x, zero(), lax.add, (1, x.shape[1], 1), (1, 1, 1), "VALID")[:, 0],
}


def t_sum(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    return x.float().sum(1).to(x.dtype) @ p["w"]


def t_kernel_sum(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    return x.sum(1) @ p["w"]


# Variance


def t_variance(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    return x.float().var(1, unbiased=False).to(x.dtype) @ p["w"]


def narrow_variance(x: jax.Array) -> jax.Array:
    return jnp.mean((x - jnp.mean(x, 1, keepdims=True)) ** 2, 1)


def fast_variance(x: jax.Array) -> jax.Array:
    return jnp.mean(x * x, 1) - jnp.mean(x, 1) ** 2


VARIANCES: dict[str, Cast] = {
    "library": lambda x: back(jnp.var(wide(x), 1)),
    "by hand": lambda x: back(jnp.mean((wide(x) - wide(x).mean(1, keepdims=True)) ** 2, 1)),
    "fast": lambda x: back(jnp.mean(wide(x) ** 2, 1) - wide(x).mean(1) ** 2),
}


# Norm


def t_normalised(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    h = x.float()
    return (h / h.norm(dim=-1, keepdim=True)).to(x.dtype) @ p["w"]


def normalised(enter: Cast, squares: Callable[[jax.Array], jax.Array] = lambda h: h * h) -> Port:
    def run(p: Params, x: jax.Array) -> jax.Array:
        h = enter(x)
        return back(h / jnp.sqrt(squares(h).sum(-1, keepdims=True))) @ p["w"]

    return run


# Logarithm of a sum of exponentials


def t_logsumexp(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    return torch.logsumexp((x @ p["w"]).float(), -1)


def logsumexp(enter: Cast, leave: Cast = wide) -> Port:
    def run(p: Params, x: jax.Array) -> jax.Array:
        h = enter(x @ p["w"])
        top = h.max(-1, keepdims=True)
        return leave(jnp.log(jnp.exp(h - top).sum(-1)) + top[..., 0])

    return run


# Running sums


def t_running(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    return x.float().cumsum(1).to(x.dtype) @ p["w"]


def t_kernel_running(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    return x.cumsum(1) @ p["w"]


FAMILIES = {
    "sum": Family(
        t_sum,
        SHAPES,
        LONG,
        {name: behind(way) for name, way in SUMS.items()},
        {name: behind(way) for name, way in {**LOOPS, **KEPT_NARROW}.items()},
    ),
    "sum of the kernel": Family(
        t_kernel_sum,
        SHAPES,
        LONG,
        {name: behind(way) for name, way in SUMS.items()} | {"reduce": behind(KEPT_NARROW["reduce"])},
        {name: behind(way) for name, way in LOOPS.items()},
    ),
    "variance": Family(
        t_variance,
        SHAPES,
        LONG,
        {name: behind(way) for name, way in VARIANCES.items()},
        {"narrow": behind(narrow_variance), "narrow and fast": behind(fast_variance)},
    ),
    "normalised": Family(
        t_normalised,
        SHAPES,
        (4, 9, 12),
        {
            "by hand": normalised(wide),
            "library": lambda p, x: back(wide(x) / jnp.linalg.norm(wide(x), axis=-1, keepdims=True)) @ p["w"],
        },
        {"narrow": normalised(lambda x: x), "narrow squares": normalised(wide, lambda h: back(h) * back(h))},
    ),
    "logsumexp": Family(
        t_logsumexp,
        SHAPES,
        (4, 9, 12),
        {
            "by hand": logsumexp(wide),
            "library": lambda p, x: jax.nn.logsumexp(wide(x @ p["w"]), -1),
        },
        {"narrow": logsumexp(lambda h: h)},
    ),
    "running sum": Family(
        t_running,
        SHAPES,
        LONG,
        {
            "library": behind(lambda x: back(jnp.cumsum(wide(x), 1))),
            "associative": behind(lambda x: back(lax.associative_scan(jnp.add, wide(x), axis=1))),
            "scan": lambda p, x: (
                back(
                    jnp.swapaxes(
                        lax.scan(
                            lambda s, row: (s + row, s + row),
                            jnp.zeros(x[:, 0].shape, F32),
                            jnp.swapaxes(wide(x), 0, 1),
                        )[1],
                        0,
                        1,
                    )
                )
                @ p["w"]
            ),
        },
        {"narrow": behind(lambda x: jnp.cumsum(x, 1))},
    ),
    "running sum of the kernel": Family(
        t_kernel_running,
        SHAPES,
        LONG,
        {
            "library": behind(lambda x: jnp.cumsum(x, 1)),
            "float32": behind(lambda x: back(jnp.cumsum(wide(x), 1))),
        },
        {},
    ),
}
