"""Rules on axes, orders and reductions."""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

from jax import lax
from jax.extend.core import JaxprEqn

from parity.frameworks.jax.wide_equations import apply
from tests.mutants.sites import Site
from tests.mutants.variant import (
    Variant,
    exchanged,
    is_floating,
    of_operands,
    of_results,
    shape_of,
    with_params,
)

ARRANGED = ("transpose", "reshape", "concatenate", "slice", "dot_general", "gather", "squeeze", "split")
"""Operations whose results may well lie the other way."""

CUMULATIVE = ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")

OTHER_REDUCTIONS = {
    "reduce_sum": ("reduce_max",),
    "reduce_max": ("reduce_min", "reduce_sum"),
    "reduce_min": ("reduce_max",),
    "reduce_prod": ("reduce_sum",),
    "reduce_and": ("reduce_or",),
    "reduce_or": ("reduce_and",),
}
"""What stands for what."""

OTHER_PRIMITIVES = {
    "argmax": lax.argmin_p,
    "argmin": lax.argmax_p,
    "cumsum": lax.cummax_p,
    "cummax": lax.cumsum_p,
    "cumprod": lax.cumsum_p,
    "reduce_window_sum": lax.reduce_window_max_p,
    "reduce_window_max": lax.reduce_window_sum_p,
}
"""Likewise, with the same parameters."""


def permutation(site: Site) -> Iterator[Variant]:
    """Axes exchanged, or entries in the other order."""
    eqn, name = site.eqn, site.eqn.primitive.name
    shape = tuple(eqn.outvars[0].aval.shape)
    if name == "transpose":
        order = eqn.params["permutation"]
        for a, b in itertools.combinations(range(len(order)), 2):
            if shape[a] == shape[b] > 1:
                yield with_params(
                    eqn, f"axes {a} and {b} exchanged", permutation=tuple(exchanged(order, a, b))
                )
    if name in ("reshape", "dot_general"):
        for a, b in itertools.combinations(range(len(shape)), 2):
            if shape[a] == shape[b] > 1:
                axes = tuple(exchanged(range(len(shape)), a, b))
                text = f"axes {a} and {b} exchanged"
                yield of_results(eqn, text, functools.partial(lax.transpose, permutation=axes))
    if name in ARRANGED and len(eqn.outvars) == 1:
        for a, size in enumerate(shape):
            if size > 1:
                text = f"reversed along axis {a}"
                yield of_results(eqn, text, functools.partial(lax.rev, dimensions=(a,)))
    if name == "rev":
        yield of_operands("not reversed", lambda x: x)


def axis(site: Site) -> Iterator[Variant]:
    """Another axis with a result of the same shape."""
    eqn, name = site.eqn, site.eqn.primitive.name
    if not eqn.invars:
        return
    shape = shape_of(eqn)
    others = range(len(shape))
    if name in CUMULATIVE:
        others_than = [a for a in others if a != eqn.params["axis"] and shape[a] > 1]
        yield from (with_params(eqn, f"along axis {a}", axis=a) for a in others_than)
    elif name == "sort":
        others_than = [a for a in others if a != eqn.params["dimension"] and shape[a] > 1]
        yield from (with_params(eqn, f"along axis {a}", dimension=a) for a in others_than)
    elif (name.startswith("reduce_") and "axes" in eqn.params) or name in ("argmax", "argmin"):
        axes = tuple(eqn.params["axes"])
        out = tuple(eqn.outvars[0].aval.shape)
        for other in itertools.combinations(others, len(axes)):
            if other != axes and tuple(n for a, n in enumerate(shape) if a not in other) == out:
                yield with_params(eqn, f"axes {other} for {axes}", axes=other)
    elif name == "broadcast_in_dim" and shape:
        dims, wanted = tuple(map(int, eqn.params["broadcast_dimensions"])), eqn.params["shape"]
        for other in itertools.combinations(range(len(wanted)), len(dims)):
            fits = all(n in (1, wanted[d]) for n, d in zip(shape, other, strict=True))
            if other != dims and fits:
                yield with_params(eqn, f"axes {other} for {dims}", broadcast_dimensions=other)
    elif name == "dot_general":
        yield from _contracted(eqn)


def _contracted(eqn: JaxprEqn) -> Iterator[Variant]:
    """Another axis of the second operand summed over."""
    (left, right), batch = eqn.params["dimension_numbers"]
    size = shape_of(eqn, 1)
    for place, old in enumerate(right):
        for new in range(len(size)):
            if new not in (*right, *batch[1]) and size[new] == size[old]:
                other = tuple(new if i == place else a for i, a in enumerate(right))
                numbers = ((left, other), batch)
                yield with_params(eqn, f"sums over axis {new} for {old}", dimension_numbers=numbers)


def reduction(site: Site) -> Iterator[Variant]:
    """Another reduction over the same entries."""
    eqn, name = site.eqn, site.eqn.primitive.name
    for other in OTHER_REDUCTIONS.get(name, ()):
        function = functools.partial(getattr(lax, other), axes=eqn.params["axes"])
        yield of_operands(f"{other} for {name}", function)
    if name == "reduce_sum" and is_floating(eqn):
        count = 1
        for a in eqn.params["axes"]:
            count *= shape_of(eqn)[a]
        if count > 1:
            yield of_results(eqn, "mean for sum", functools.partial(_divided, count=count))
    if name in OTHER_PRIMITIVES:
        primitive = OTHER_PRIMITIVES[name]
        yield Variant(f"{primitive.name} for {name}", lambda xs, _: apply(primitive, xs, eqn.params))


def _divided(value: Any, count: int) -> Any:
    return lax.mul(value, lax.full_like(value, 1 / count, shape=()) if value.ndim == 0 else 1 / count)
