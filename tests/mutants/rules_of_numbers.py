"""Rules on numbers: comparisons, indices and slices off by one, constants, padding."""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jax import lax
from jax.extend.core import JaxprEqn, Literal

from tests.mutants.sites import Site
from tests.mutants.variant import Variant, of_operands, of_results, shape_of, with_operands, with_params

COMPARISONS = {
    "lt": (lax.le, lax.gt),
    "le": (lax.lt, lax.ge),
    "gt": (lax.ge, lax.lt),
    "ge": (lax.gt, lax.le),
    "eq": (lax.ne,),
    "ne": (lax.eq,),
    "max": (lax.min,),
    "min": (lax.max,),
    "and": (lax.bitwise_or,),
    "or": (lax.bitwise_and,),
}
"""What stands for what."""


def comparison(site: Site) -> Iterator[Variant]:
    """Another comparison, the other of two extremes, or the other junction."""
    for other in COMPARISONS.get(site.eqn.primitive.name, ()):
        yield of_operands(f"{other.__name__} for {site.eqn.primitive.name}", other)
    if site.eqn.primitive.name == "not" and site.eqn.outvars[0].aval.dtype == bool:
        yield of_operands("not left out", lambda x: x)


def index(site: Site) -> Iterator[Variant]:
    """A slice, an index or a counter off by one."""
    eqn, name = site.eqn, site.eqn.primitive.name
    if name == "slice":
        yield from _slices(eqn)
    elif name in ("gather", "dynamic_slice", "dynamic_update_slice") or name.startswith("scatter"):
        first = {"gather": 1, "dynamic_slice": 1, "dynamic_update_slice": 2}.get(name, 1)
        places = (first,) if name == "gather" or name.startswith("scatter") else range(first, len(eqn.invars))
        for place in places:
            for step in (1, -1):
                change = functools.partial(_stepped, place=place, step=step)
                yield with_operands(eqn, f"index {step:+d}", change)
    elif name in ("iota", "argmax", "argmin"):
        yield of_results(eqn, "one more", lambda out: lax.add(out, np.asarray(1, out.dtype)))


def _stepped(xs: list[Any], place: int, step: int) -> list[Any]:
    given = xs[place]
    dtype = getattr(given, "dtype", np.int32)
    xs[place] = lax.convert_element_type(lax.add(given, np.asarray(step, dtype)), dtype)
    return xs


def _slices(eqn: JaxprEqn) -> Iterator[Variant]:
    starts, limits = eqn.params["start_indices"], eqn.params["limit_indices"]
    for axis, size in enumerate(shape_of(eqn)):
        for step in (1, -1):
            start, limit = starts[axis] + step, limits[axis] + step
            if start >= 0 and limit <= size:
                yield with_params(
                    eqn,
                    f"slice {step:+d} along axis {axis}",
                    start_indices=_put(starts, axis, start),
                    limit_indices=_put(limits, axis, limit),
                )


def _put(items: Sequence[Any], place: int, item: Any) -> tuple[Any, ...]:
    return tuple(item if i == place else one for i, one in enumerate(items))


def constant(site: Site) -> Iterator[Variant]:
    """Another number: in a literal or in a power."""
    eqn = site.eqn
    if eqn.primitive.name == "integer_pow":
        for power in (eqn.params["y"] + 1, eqn.params["y"] - 1):
            if power:
                yield with_params(eqn, f"power {power} for {eqn.params['y']}", y=power)
    for place, atom in enumerate(eqn.invars):
        if not isinstance(atom, Literal) or np.ndim(atom.val) or eqn.primitive.name == "pad":
            continue
        dtype = np.dtype(atom.aval.dtype)
        for number in _other_numbers(dtype, float(atom.val)):
            change = functools.partial(_put, place=place, item=np.asarray(number, dtype))
            yield with_operands(eqn, f"{number:g} for {float(atom.val):g}", change)


def _other_numbers(dtype: np.dtype[Any], value: float) -> Iterator[float]:
    if dtype.kind in "iu":
        room = np.iinfo(dtype)
        yield from (other for other in (value + 1, value - 1) if room.min <= other <= room.max)
    elif dtype.kind == "f" and math.isfinite(value) and abs(value) < 1e30:
        if value == 0:
            yield 0.1
        elif abs(value) < 1e-2:
            yield from (value * 10, value / 10)
        else:
            yield from (value * 1.1, value * 0.5)


def padding(site: Site) -> Iterator[Variant]:
    """Padding moved from one end to the other, or with another value."""
    eqn, name = site.eqn, site.eqn.primitive.name
    if name == "conv_general_dilated" or name.startswith("reduce_window"):
        pads = eqn.params["padding"]
        for axis, (low, high) in enumerate(pads):
            for moved in ((low + 1, high - 1), (low - 1, high + 1)):
                if min(moved) >= 0:
                    text = f"padding {moved} for {(low, high)}"
                    yield with_params(eqn, text, padding=_put(pads, axis, moved))
    elif name == "pad":
        pads = eqn.params["padding_config"]
        for axis, (low, high, between) in enumerate(pads):
            for moved in ((low + 1, high - 1), (low - 1, high + 1)):
                if low + high > 0 and min(moved) >= 0:
                    text = f"padding {moved} for {(low, high)}"
                    yield with_params(eqn, text, padding_config=_put(pads, axis, (*moved, between)))
        if any(low > 0 or high > 0 for low, high, _ in pads):
            yield with_operands(
                eqn, "padded with one more", lambda xs: [xs[0], lax.add(xs[1], np.asarray(1, xs[0].dtype))]
            )
