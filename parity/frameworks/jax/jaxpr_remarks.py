"""What is said of a traced JAX program: its narrow dtypes, random numbers, code of others, leaked values."""

from collections.abc import Iterable

import jax
from jax.extend.core import ClosedJaxpr
from jax.typing import ArrayLike

from parity.frameworks.jax.jaxpr_parts import dtype_name
from parity.frameworks.jax.jaxpr_walk import equations, inner_jaxprs
from parity.frameworks.jax.wide_equations import ASKED
from parity.numerics.arrays import NARROW
from parity.trace.graph import Spot
from parity.trace.vocabulary import CARRYING


def narrow_in(closed: ClosedJaxpr) -> dict[str, Spot]:
    """bfloat16 and float16 inside a traced JAX program, with the first place of each.

    Args:
        closed: the jaxpr.
    """
    found: dict[str, Spot] = {}
    for eqn, spot in equations(closed.jaxpr):
        for dtype in map(dtype_name, eqn.outvars):
            if dtype in NARROW:
                found.setdefault(dtype, spot)
    return found


def computed_in(closed: ClosedJaxpr) -> frozenset[str]:
    """Those narrow dtypes in which a traced JAX program computes; a value that is only cast is rounded.

    Args:
        closed: the jaxpr.
    """
    return frozenset(
        dtype
        for eqn, _ in equations(closed.jaxpr)
        if eqn.primitive.name not in CARRYING and not any(True for _ in inner_jaxprs(eqn.params))
        for dtype in map(dtype_name, eqn.outvars)
        if dtype in NARROW
    )


def random_remarks(closed: ClosedJaxpr) -> tuple[str, ...]:
    """Remarks on random numbers that a traced JAX program draws.

    Args:
        closed: the jaxpr.
    """
    found = dict.fromkeys(
        f"{spot.file}:{spot.line}" if spot.file else "inside a library"
        for eqn, spot in equations(closed.jaxpr)
        if eqn.primitive.name in ("random_bits", "rng_bit_generator")
    )
    if not found:
        return ()
    return (
        f"the JAX model draws random numbers ({', '.join(found)}): if this is dropout, switch it off "
        "(deterministic=True, model.eval()); otherwise give the random numbers as an input",
    )


def foreign_remarks(closed: ClosedJaxpr) -> tuple[str, ...]:
    """Remarks on code of another's that a traced JAX program calls, which cannot be lifted.

    Args:
        closed: the jaxpr.
    """
    found: dict[str, dict[str, None]] = {}
    for eqn, spot in equations(closed.jaxpr):
        if eqn.primitive.name in ASKED or eqn.primitive.name == "pure_callback":
            place = f"{spot.file}:{spot.line}" if spot.file else "inside a library"
            found.setdefault(eqn.primitive.name, {})[place] = None
    return tuple(
        f"the JAX model calls {name} ({', '.join(places)}), which cannot be lifted to float64: it is "
        + (
            "asked in float64, or in float32 if it takes nothing else"
            if name not in ASKED
            else "run in float32"
        )
        + ", so a difference of float32's rounding in a run in float64 says nothing (dtypes=['float32'])"
        for name, places in found.items()
    )


def require_no_leaks(consts: Iterable[ArrayLike]) -> None:
    """Refuse traced values among the constants of a jaxpr that was traced at top level.

    JAX itself notices them only when the jaxpr runs, if at all.

    Args:
        consts: the constants of a jaxpr.

    Raises:
        TypeError: saying what they are.
    """
    for value in consts:
        if isinstance(value, jax.core.Tracer):
            raise TypeError(
                f"the JAX model uses or returns a traced value {value.dtype}{list(value.shape)} of a "
                "computation that has ended: it was kept, for example in a global or an attribute, while a "
                "compiled function ran; return it from that function instead"
            )
