"""A JAX loop's own step function, run from a copy of its state: lifted to float64, or as it stands."""

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parity.frameworks.jax.jax_nest import Nest, is_array, read, taken_apart
from parity.frameworks.jax.jaxpr_places import has_norms_of_a_library
from parity.frameworks.jax.jaxpr_walk import equations
from parity.frameworks.jax.libraries import library_packages
from parity.frameworks.jax.retraced import Retraced
from parity.frameworks.jax.wide_dtypes import WIDER, is_key
from parity.frameworks.nests import named_leaves, named_metrics, rebuilt
from parity.frameworks.stepping import Held, Made, StepFunction, UntraceableError, stepping
from parity.numerics.arrays import Arrays, to_jax
from parity.numerics.precision import running

Step = Callable[[Any, Any], Any]
"""`step(state, batch) -> (state, metrics)`; or only metrics where it changes NNX modules in place."""

UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.TracerBoolConversionError,
)
"""What JAX raises where a function looks at numbers while it is traced."""


class JaxSide:
    """The JAX side: a step function and the state that it starts from, which stays as it is.

    `draws` says whether a step draws random numbers, as far as it was traced; `looks_at_numbers` whether it
    could not be.

    Args:
        step: the step function, jitted or not.
        state: the user's.
        batches: as the user gave them, for their form.
        without_jit: whether what is jitted runs its Python code in every step.
    """

    framework = "JAX"

    def __init__(
        self, step: Step, state: Any, batches: Sequence[object], *, without_jit: bool = False
    ) -> None:
        self.function, self.batches, self.without_jit = step, batches, without_jit
        self.nest = taken_apart(state)
        # NumPy's: a step that donates its arguments must not take these.
        self.start = {
            path: np.array(leaf) if is_array(leaf) and not is_key(leaf) else leaf
            for path, leaf in self.nest.leaves.items()
        }
        self.programs: list[Retraced] = []
        self.looks_at_numbers = False
        self.draws = False

    def begin(self, dtype: str) -> "JaxStepped":
        """A run from a copy of the state.

        Args:
            dtype: name of a floating dtype.
        """
        return JaxStepped(self, dtype)

    @property
    def has_norms_of_a_library(self) -> bool:
        """Whether a normalisation of a library computes in its step, or might where it is not traced."""
        if not self.programs:
            return bool(library_packages() & set(sys.modules))
        return any(
            has_norms_of_a_library(eqn for eqn, _ in equations(program.closed.jaxpr))
            for program in self.programs
        )

    def call(self, state: Any, batch: Any, nest: Nest) -> tuple[Nest, dict[str, Any]]:
        """Make a step, of arrays or while it is traced.

        Args:
            state: built.
            batch: likewise.
            nest: the state before it.

        Returns:
            The state after it, and what it returned besides.

        Raises:
            TypeError: if the step returns something else than a state and metrics.
        """
        returned = self.function(state, batch)
        metrics = returned
        if isinstance(returned, tuple):
            if len(returned) != 2:
                raise TypeError(
                    f"JAX's step returned {len(returned)} values; it must return (state, metrics)"
                )
            state, metrics = returned
        elif not nest.in_place:
            raise TypeError(
                f"JAX's step returned a {type(returned).__name__}; it must return (state, metrics): a state "
                "of arrays cannot be changed in place"
            )
        if metrics is None:
            raise TypeError("JAX's step returned None for its metrics; {} if there are none")
        after = taken_apart(state)
        if set(after.leaves) != set(nest.leaves):
            odd = sorted(set(after.leaves) ^ set(nest.leaves))
            raise TypeError(
                f"JAX's step returned a state of another form: {', '.join(odd[:3])} "
                f"{'is' if len(odd) == 1 else 'are'} in only one of the states before and after it"
            )
        return after, {"metrics": metrics}


class JaxStepped:
    """One run. See `parity.frameworks.stepping.Stepped`.

    Args:
        side: whose step it makes.
        dtype: of the run.
    """

    def __init__(self, side: JaxSide, dtype: str) -> None:
        self._side, self._dtype, self._steps = side, dtype, 0
        self._nest = side.nest
        with running("float32"):  # a leaf of NumPy's may be wider than JAX would hold it
            self.dtypes = {
                path: leaf.dtype if is_key(leaf) else jax.dtypes.canonicalize_dtype(leaf.dtype)
                for path, leaf in side.start.items()
                if is_array(leaf)
            }
        with running(dtype):
            self._leaves = {path: self._own(leaf) for path, leaf in side.start.items()}

    def _own(self, leaf: Any) -> Any:
        """A leaf as this run starts with it."""
        if not is_array(leaf) or is_key(leaf):
            return leaf
        array = np.asarray(leaf)
        dtype = self._dtype if str(array.dtype) in (*WIDER, "float64") and array.dtype.kind != "c" else None
        return jnp.array(array.astype(jnp.dtype(dtype)) if dtype else array, copy=True)

    def read(self) -> Mapping[str, Held]:
        """All values of the state, by path."""
        return read(self._leaves)

    def place(self, values: Arrays) -> None:
        """Put other values in the place of leaves.

        Args:
            values: by path.
        """
        with running(self._dtype):
            for path, value in values.items():
                self._leaves[path] = jnp.array(to_jax(np.asarray(value), self._dtype), copy=True)

    def step(self, batch: Arrays) -> dict[str, np.ndarray]:
        """Make one step.

        Args:
            batch: by name.

        Raises:
            TypeError: if the step returns something else than a state and metrics.
            UntraceableError: once, if the step cannot be traced.
        """
        traced = self._dtype == "float64" and not self._side.looks_at_numbers
        try:
            with stepping("JAX", self._steps, self._dtype):
                metrics = self._lifted(batch) if traced else self._as_it_stands(batch)
        except UNTRACEABLE as error:
            if not traced:
                raise
            self._side.looks_at_numbers = True
            raise UntraceableError from error
        self._steps += 1
        try:
            return named_metrics(metrics)
        except TypeError as error:
            raise TypeError(f"JAX's step returned metrics that cannot be compared: {error}") from error

    def function(self) -> StepFunction:
        """The next step as a function that starts from the state as it is now, in float32's numbers."""
        side, nest, form = self._side, self._nest, self._form()
        frozen = {path: self._narrow(leaf) for path, leaf in self._leaves.items()}

        def made(weights: Mapping[str, Any], batch: Mapping[str, Any]) -> Made:
            given = rebuilt(form, batch, lambda array: array)
            after, rest = side.call(nest.build({**frozen, **weights}), given, nest)
            metrics = {n: jnp.asarray(v) for n, v in named_leaves(rest["metrics"]) if is_array(v)}
            return Made(metrics, {path: leaf for path, leaf in after.leaves.items() if is_array(leaf)})

        return made

    def _narrow(self, leaf: Any) -> Any:
        """A leaf in the dtype that the user's program holds it in."""
        if not is_array(leaf) or is_key(leaf):
            return leaf
        array = np.asarray(leaf)
        return array.astype(np.float32) if str(array.dtype) in (*WIDER, "float64") else array

    def _form(self) -> object:
        return self._side.batches[self._steps]

    def _as_it_stands(self, batch: Arrays) -> Any:
        without = jax.disable_jit() if self._side.without_jit else contextlib.nullcontext()
        with running(self._dtype), without:
            given = rebuilt(self._form(), batch, lambda array: to_jax(array, self._dtype))
            state = self._nest.build(self._leaves)
            self._nest, rest = self._side.call(state, given, self._nest)
            self._leaves = dict(self._nest.leaves)
            return rest["metrics"]

    def _lifted(self, batch: Arrays) -> Any:
        """One step in float64: traced in the user's own dtypes, in every step of the first run."""
        programs = self._side.programs
        program = programs[self._steps] if self._steps < len(programs) else None
        if program is None or not program.fits(self._leaves, self.dtypes, batch):
            program = Retraced.of(
                self._side.call,
                self._nest,
                self._leaves,
                self.dtypes,
                (self._form(), batch),
                [known for known in programs if known is not None],
                without_jit=self._side.without_jit,
            )
            programs[self._steps :] = [program]
            self._side.draws |= program.draws
        self._nest = program.nest
        self._leaves, self.dtypes, metrics = program.run(self._leaves, batch)
        return metrics
