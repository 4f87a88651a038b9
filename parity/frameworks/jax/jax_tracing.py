"""A JAX program traced in the user's own dtypes and lifted: what is run and recorded in float64."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from jax.extend.core import ClosedJaxpr
from jax.typing import ArrayLike
from jaxtyping import PyTreeDef

from parity.frameworks.jax.compiling import compiled_soon
from parity.frameworks.jax.jax_passes import Passes
from parity.frameworks.jax.jaxpr_remarks import require_no_leaks
from parity.frameworks.jax.jaxpr_walk import equations
from parity.frameworks.jax.lift import Lifted, lifted
from parity.frameworks.jax.shapes import Shapes
from parity.frameworks.jax.trace_size import size_of_trace
from parity.report.errors import by_the_harness, raised_by

NO_DERIVATIVE = re.compile(
    r"differentiation|non-?differentiable|\bJVP\b|transpose rule|not support transpos", re.IGNORECASE
)
"""What JAX and Equinox say of an operation without a derivative, e.g. of `lax.while_loop` in reverse mode."""


class Traced(NamedTuple):
    """A program as it was traced once.

    Attributes:
        closed: the jaxpr, in the user's own dtypes.
        structure: how its flat results make up `Results`.
        run: the lifted program, compiled: `run(constants, *args)`.
        undifferentiable: why there are no gradients, in one line; None where there are, or none were asked
            for.
    """

    closed: ClosedJaxpr
    structure: PyTreeDef
    run: Lifted
    undifferentiable: str | None

    @property
    def labels(self) -> list[tuple[str, str]]:
        """Group and leaf name of each flat result."""
        count = self.structure.num_leaves
        where = jax.tree.unflatten(self.structure, range(count))
        labels = {index: ("loss", name) for name, index in where.losses.items()}
        labels |= {index: ("outputs", name) for name, index in where.outputs.items()}
        labels |= {index: ("gradients", path) for path, index in where.gradients.items()}
        return [labels[index] for index in range(count)]


def traced_passes(
    passes: Passes,
    leaves: tuple[Shapes, Shapes],
    given: Shapes,
    *,
    backward: bool,
    rounding: bool,
    rewrite: Callable[[ClosedJaxpr], ClosedJaxpr] | None = None,
) -> Traced:
    """Trace the passes of a model, and lift what was traced; the forward pass alone if there is no other.

    Args:
        passes: the model and what to compute of it.
        leaves: those to differentiate by, and the others.
        given: inputs and targets by name, in the model's layout.
        backward: whether to trace the backward pass, too.
        rounding: as in `lift.lifted`.
        rewrite: what is done to the jaxpr first; it keeps arguments and results.

    Raises:
        Exception: whatever the model raises when it is traced, but that an operation has no derivative.
    """
    undifferentiable = None
    try:
        with raised_by("JAX", "in its backward pass" if backward else ""):
            run = passes.both if backward else passes.forward
            closed, returned = jax.make_jaxpr(run, return_shape=True)(*leaves, given)
    except Exception as error:
        if not _no_derivative(error):
            raise
        # Is it the model, or its derivative?
        closed, returned = jax.make_jaxpr(passes.forward, return_shape=True)(*leaves, given)
        undifferentiable = (str(error) or type(error).__name__).splitlines()[0]
    require_no_leaks(closed.consts)
    closed = closed if rewrite is None else rewrite(closed)
    compiled = compiled_soon(
        _as_the_harness(lifted(closed, rounding=rounding)), entries=size_of_trace(closed) // 8
    )
    run_wide = _blaming(
        compiled, calls_out=any(eqn.primitive.name in CALLBACKS for eqn, _ in equations(closed.jaxpr))
    )
    return Traced(closed, jax.tree.structure(returned), run_wide, undifferentiable)


def _no_derivative(error: Exception) -> bool:
    """Whether an error says that an operation has no derivative; any other is one of the user's own rules."""
    return isinstance(error, NotImplementedError) or NO_DERIVATIVE.search(str(error)) is not None


CALLBACKS = frozenset({"pure_callback", "io_callback", "debug_callback", "ffi_call"})
"""Primitives by which a running program calls the user's own code."""


def _blaming(compiled: Lifted, *, calls_out: bool) -> Lifted:
    """A lifted program whose errors while it runs are the harness's, or the model's if it calls user code."""

    def run(constants: Sequence[ArrayLike], *args: ArrayLike) -> list[ArrayLike]:
        whose = (
            raised_by("JAX", "in float64") if calls_out else by_the_harness("running the lifted JAX model")
        )
        with whose:
            try:
                return compiled(constants, *args)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" in str(error):
                    raise MemoryError("the JAX model does not fit into memory in float64") from error
                raise

    return run


def _as_the_harness(lifted: Lifted) -> Lifted:
    """A lifted program, whose tracing runs no line of the user's."""

    def run(*args: ArrayLike | Sequence[ArrayLike]) -> list[ArrayLike]:
        with by_the_harness("lifting the JAX model to float64"):
            return lifted(*args)

    return run
