"""Whether a JAX model repeats itself: traced twice, it must be the same program.

JAX's own random numbers come from keys, so a traced program gives the same in every run. What is drawn or
counted in Python while it is traced becomes a constant of it.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun
from jax.typing import ArrayLike

from parity.frameworks.jax.jaxpr_parts import body_of, consts_of
from parity.frameworks.jax.jaxpr_walk import equations, inner_jaxprs
from parity.frameworks.jax.lifted_constants import value_of
from parity.frameworks.jax.wide_dtypes import is_key
from parity.frameworks.kept_state import KeptState
from parity.frameworks.repeating import first_to_part, seeded, unrepeatable
from parity.numerics.arrays import to_numpy

ROUNDING = 2.0**-14
"""How far two runs in float32 may be apart, of the largest number, where the programs differ."""


def require_same_again(
    trace: Callable[[], ClosedJaxpr],
    known: ClosedJaxpr,
    state: KeptState,
    run: Callable[[ClosedJaxpr], dict[str, jax.Array]],
) -> None:
    """Check that tracing a model again gives the same program.

    Args:
        trace: traces it.
        known: as it was traced before.
        state: what the model may change; a model that changes itself is traced once more as it is then.
        run: the outputs of a traced program by name, for two programs that are not the same.

    Raises:
        ValueError: if what they compute differs, naming the output, the reason and what to do.
    """
    with state.restored():
        with seeded(1):
            again = trace()
        changed = state.changed()
        after = trace() if changed else again
    for other in (again, after):
        if _same_program(known, other):
            continue
        first, second = ({name: to_numpy(v) for name, v in run(one).items()} for one in (known, other))
        if parting := first_to_part(first, second, ROUNDING):
            raise ValueError(unrepeatable("JAX", parting, {}, other is not again))


def evaluated(closed: ClosedJaxpr, arguments: list[ArrayLike]) -> list[jax.Array]:
    """What a traced program gives.

    Args:
        closed: the jaxpr.
        arguments: flat.
    """
    results: list[jax.Array] = jax.jit(jaxpr_as_fun(closed))(*arguments)
    return results


def _same_program(one: ClosedJaxpr, other: ClosedJaxpr) -> bool:
    """Whether two programs are the same operations with the same numbers in them."""
    names = [[eqn.primitive.name for eqn, _ in equations(closed.jaxpr)] for closed in (one, other)]
    if names[0] != names[1]:
        return False
    first, second = list(_numbers(one)), list(_numbers(other))
    return len(first) == len(second) and all(map(_equal, first, second))


def _numbers(closed: ClosedJaxpr) -> Iterator[ArrayLike]:
    """All constants and literals, in a fixed order."""
    yield from closed.consts
    for eqn, _ in equations(closed.jaxpr):
        yield from (value_of(atom) for atom in eqn.invars if isinstance(atom, Literal))
        for inner in inner_jaxprs(eqn.params):
            yield from consts_of(inner)
            yield from (value_of(atom) for atom in body_of(inner).outvars if isinstance(atom, Literal))
    yield from (value_of(atom) for atom in closed.jaxpr.outvars if isinstance(atom, Literal))


def _equal(one: ArrayLike, other: ArrayLike) -> bool:
    if one is other or (is_key(one) and is_key(other)):
        return True
    a, b = np.asarray(one), np.asarray(other)
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
