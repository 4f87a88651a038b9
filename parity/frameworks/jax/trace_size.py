"""How much memory the trace of a JAX program takes, told from its jaxpr before anything is computed."""

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from parity.frameworks.jax.jaxpr_parts import body_of, shape_of
from parity.frameworks.jax.jaxpr_walk import callee, inner_jaxprs

TRACE_LIMIT = 6 * 2**30
"""Bytes that a trace may take."""


def require_traceable(closed: ClosedJaxpr) -> None:
    """Refuse to record a program whose values would not fit into memory.

    Args:
        closed: the jaxpr.

    Raises:
        MemoryError: if the values would take more than `TRACE_LIMIT` bytes.
    """
    size = size_of_trace(closed)
    if size > TRACE_LIMIT:
        raise MemoryError(
            f"keeping every value would take {size / 2**30:.1f} GiB (at most {TRACE_LIMIT / 2**30:.0f}); "
            "give a smaller batch to see where the two sides part"
        )


def size_of_trace(closed: ClosedJaxpr) -> int:
    """Bytes that recording this program takes, loops of unknown length counted once.

    Args:
        closed: the jaxpr.
    """

    def of(jaxpr: Jaxpr) -> int:
        total = 0
        for eqn in jaxpr.eqns:
            inner = list(inner_jaxprs(eqn.params))
            times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
            if inner and (callee(eqn) is not None or eqn.primitive.name in ("scan", "while", "cond")):
                total += times * sum(of(body_of(j)) for j in inner[:2])
            else:
                total += sum(8 * int(np.prod(shape_of(v))) for v in eqn.outvars)
        return total

    return of(closed.jaxpr)
