"""JAX models as programs of named arrays, weights and gradients as leaves by path."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun
from jaxtyping import PyTree, Shaped

from parity.frameworks.jax import promotion
from parity.frameworks.jax.jax_constants import computed_from_constants
from parity.frameworks.jax.jax_drawn import UNKNOWN, Drawn, drawn_by
from parity.frameworks.jax.jax_draws import shares_by_key, sharing
from parity.frameworks.jax.jax_dtypes import TracingDtypes
from parity.frameworks.jax.jax_loops import run_recorded
from parity.frameworks.jax.jax_model import JaxModel
from parity.frameworks.jax.jax_passes import Gradients, Named, Passes, Results
from parity.frameworks.jax.jax_recorder import Argument
from parity.frameworks.jax.jax_repeating import evaluated, require_same_again
from parity.frameworks.jax.jax_streaming import WrittenRecorder, streamed, unread_arguments
from parity.frameworks.jax.jax_trace import record_trace
from parity.frameworks.jax.jax_tracing import Traced, traced_passes
from parity.frameworks.jax.jax_uses import jax_uses
from parity.frameworks.jax.jaxpr_places import package_of
from parity.frameworks.jax.jaxpr_remarks import computed_in, narrow_in
from parity.frameworks.jax.lifted_constants import constants_of
from parity.frameworks.jax.shapes import InputShapes, input_shapes, shapes_in_jax, shapes_returned
from parity.frameworks.jax.trace_size import require_traceable
from parity.frameworks.jax.wide_dtypes import wide
from parity.frameworks.model import Census, stored_narrow, weight_dtype
from parity.frameworks.task import Task
from parity.numerics.arrays import Arrays, in_float32, is_float, numpy_dtype, to_jax, to_numpy
from parity.numerics.draws import Draw
from parity.numerics.noise import Values
from parity.numerics.precision import jax_device, running
from parity.numerics.unread import UnreadArrays, overlaid, shapes_only
from parity.report.errors import by_the_harness, raised_by
from parity.trace.computed_constants import Constants
from parity.trace.graph import NodeKind, Spot, Trace
from parity.trace.kept_values import Keep, of_constants
from parity.trace.rounded_constants import collecting, constant, knowing
from parity.trace.rounded_uses import narrower, rounded_in
from parity.weights import Use

Flat = tuple[NodeKind, str, Shaped[np.ndarray, "..."]]
"""An argument of a traced program that is in memory."""

Key = tuple[InputShapes, bool, str, bool]
"""Shapes of the inputs, whether there is a backward pass, the dtype, whether x64 is on: a trace for each."""


class JaxProgram:
    """Outputs, loss and gradients of a JAX model: the groups "outputs", "loss" and "gradients".

    In float64 the model is lifted: it is traced once in the user's own dtypes (float32, and x64 as the
    user has set it), and what was traced is evaluated in float64.
    """

    undifferentiable: str | None = None

    def __init__(
        self,
        model: JaxModel,
        task: Task,
        trainable: Collection[str] = (),
        *,
        gradients: Gradients | None = None,
    ) -> None:
        """A program of `model`.

        Args:
            model: the JAX side.
            task: inputs, loss, layout, outputs and device.
            trainable: paths of the leaves to differentiate by; without any only the forward pass runs.
            gradients: `gradients(params, x, targets)` instead of `jax.grad` of the loss, for gradients
                written by hand.
        """
        self.model, self.task = model, task
        self.moved = [path for path in model.weights if path in set(trainable)]
        self._passes = Passes(model, task, gradients)
        self._dtypes = TracingDtypes(model, self._passes, task.device)
        self._traced: dict[Key, Traced] = {}
        self._compiled = jax.jit(self._passes.both)
        self._sharing: dict[int, Callable[..., list[jax.Array]]] = {}
        self._forward_drawn: dict[InputShapes, Drawn] = {}

    def __call__(self, weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        """Run once.

        Args:
            weights: leaves by path; the model's own where one is missing.
            inputs: named arrays in the reference's layout.
            dtype: name of the floating dtype to run in.

        Returns:
            The groups "outputs", "loss" and "gradients", these by path.
        """
        device = jax_device(self.task.device)
        given = self.task.laid_out(inputs)
        if dtype == "float32" and self._dtypes.taken(given) != "float32":
            # It has no run in float32: the lifted one, rounded, stands in.
            exact = self(weights, inputs, "float64")
            return {
                group: {n: in_float32(a) if is_float(a) else a for n, a in leaves.items()}
                for group, leaves in exact.items()
            }
        if isinstance(weights, UnreadArrays):
            return self._streamed(weights, given, dtype)
        if dtype == "float64":
            program = self._lift(weights, given)
            with running(dtype, self.task.device), knowing(self.task.numbers, self.task.settled):
                wide_args = self._wide(program.closed, weights, given)  # one by one: they may be computed
                args = [jax.device_put(array, device) for _, _, array in wide_args]
                constants = [to_jax(array, dtype, device) for array in constants_of(program.closed)]
                results: Results = jax.tree.unflatten(program.structure, program.run(constants, *args))
        elif self.task.shares is not None:
            with running(dtype, self.task.device):
                results = self._with_shares(weights, given, dtype)
        else:
            with running(dtype, self.task.device):
                own = {
                    path: to_jax(
                        self._leaf(weights, path), weight_dtype(self.model.dtypes, path, dtype), device
                    )
                    for path in self.model.weights
                }
                moved = {path: own.pop(path) for path in self.moved}
                results = self._compiled(
                    moved, own, {name: to_jax(array, dtype, device) for name, array in given.items()}
                )
        # In the precision they were computed in: of large models these are the bulk.
        plain = ("float32", "float64")
        return {
            "outputs": {name: to_numpy(value) for name, value in results.outputs.items()},
            "loss": {name: to_numpy(value) for name, value in results.losses.items()},
            "gradients": {
                path: np.asarray(grad) if str(grad.dtype) in plain else to_numpy(grad)
                for path, grad in results.gradients.items()
            },
        }

    def _with_shares(self, weights: Arrays, given: Arrays, dtype: str) -> Results:
        """Run once in a dtype as the model was written, but for its random draws."""
        device = jax_device(self.task.device)
        program = self._lift(weights, given, True, dtype)
        if id(program.closed) not in self._sharing:
            self._sharing[id(program.closed)] = jax.jit(jaxpr_as_fun(program.closed))
        arguments = [
            jax.device_put(np.asarray(array).astype(numpy_dtype(str(aval.dtype))), device)
            for (_, _, array), aval in zip(self._flat(weights, given), program.closed.in_avals, strict=True)
        ]
        results: Results = jax.tree.unflatten(
            program.structure, self._sharing[id(program.closed)](*arguments)
        )
        return results

    def draws(self, weights: Arrays, inputs: Arrays) -> tuple[Draw, ...]:
        """The random numbers that the forward pass draws, in order; one key used twice is said.

        Args:
            weights: leaves by path; their shapes count.
            inputs: named arrays in the reference's layout.
        """
        return self._drawn(weights, self.task.laid_out(inputs)).draws

    def _drawn(self, weights: Arrays, given: Arrays) -> Drawn:
        """What the forward pass draws."""
        key = input_shapes(given)
        if key not in self._forward_drawn:
            alone = JaxProgram(self.model, self.task._replace(shares=None))
            self._forward_drawn[key] = alone._drawn_by(alone._lift(weights, given).closed, given)
        return self._forward_drawn[key]

    def _drawn_by(self, closed: ClosedJaxpr, given: Arrays) -> Drawn:
        """What a traced program draws."""
        arguments = [
            array.astype(aval.dtype) if kind is NodeKind.INPUT and not is_float(array) else UNKNOWN
            for (kind, _, array), aval in zip(
                self._flat(shapes_only(self.model.weights), given), closed.in_avals, strict=True
            )
        ]
        return drawn_by(closed, arguments)

    def _shared(self, closed: ClosedJaxpr, weights: Arrays, given: Arrays) -> ClosedJaxpr:
        """A traced program, which reads the shared stream where this side shares its draws."""
        if self.task.shares is None:
            return closed
        shares = shares_by_key(self._drawn(weights, given), self.task.shares)
        return sharing(closed, self._drawn_by(closed, given), shares)

    def _streamed(self, weights: UnreadArrays, given: Arrays, dtype: str) -> Values:
        """Run the forward pass once, one equation at a time."""
        lifted = dtype == "float64"
        program = self._lift(weights, given, False, None if lifted else dtype)
        known = knowing(self.task.numbers, self.task.settled)
        with running(dtype, self.task.device), known, raised_by("JAX", f"in {dtype}"):
            own = self._with_tables(weights)
            arguments = unread_arguments(program, self._flat(shapes_only(weights), given), own, lifted=lifted)
            return streamed(program, arguments, lifted=lifted, rounding=self.task.rounding)

    def returned(self, weights: Arrays, inputs: Arrays) -> PyTree:
        """What the model itself returns, with shapes for arrays: it is traced, not run.

        Args:
            weights: not used: the program is traced with the shapes of the model's own.
            inputs: named arrays in the reference's layout.

        Raises:
            Exception: whatever the model raises when it is traced.
        """

        def forward(own: Named, given: Named) -> list[jax.Array]:
            with raised_by("JAX"):
                returned.append(self._passes.returned(own, given))
            return [value for value in jax.tree.leaves(returned[0]) if hasattr(value, "dtype")]

        returned: list[PyTree] = []
        given = self.task.laid_out(inputs)
        dtype = self._dtypes.taken(given)
        with self._dtypes.tracing_in(dtype):
            jax.eval_shape(
                forward,
                self._dtypes.shapes(shapes_only(self.model.weights), dtype),
                shapes_in_jax(given, dtype),
            )
        # Texts and numbers among the outputs are the caller's to complain about.
        return shapes_returned(returned[0])

    def reached(self, weights: Arrays, inputs: Arrays) -> int:
        """How many equations the model comes to, in compiled functions too, before it returns or raises.

        Args:
            weights: not used: the program is traced with the shapes of the model's own.
            inputs: named arrays in the reference's layout.
        """

        def forward(own: Named, given: Named) -> list[jax.Array]:
            with contextlib.suppress(Exception):
                self._passes.returned(own, given)
            return []  # whatever there is by now has been traced

        given = self.task.laid_out(inputs)
        dtype = self._dtypes.taken(given)
        with self._dtypes.tracing_in(dtype), jax.disable_jit():
            closed = jax.make_jaxpr(forward)(
                self._dtypes.shapes(shapes_only(self.model.weights), dtype), shapes_in_jax(given, dtype)
            )
        return len(closed.eqns)

    def jaxpr(self, weights: Arrays, inputs: Arrays) -> ClosedJaxpr:
        """The traced program in the user's own dtypes, forward and backward.

        Args:
            weights: leaves by path; their shapes count.
            inputs: named arrays in the reference's layout; their shapes count.
        """
        return self._lift(weights, self.task.laid_out(inputs)).closed

    def packages(self, weights: Arrays, inputs: Arrays) -> dict[str, str]:
        """The package whose code computes each output last: "flax", say, or "" for the user's own.

        Args:
            weights: leaves by path; their shapes count.
            inputs: named arrays in the reference's layout; their shapes count.
        """
        program = self._lift(weights, self.task.laid_out(inputs), False)
        jaxpr = program.closed.jaxpr
        made = {var: eqn for eqn in jaxpr.eqns for var in eqn.outvars}
        return {
            name: package_of(made[var]) if not isinstance(var, Literal) and var in made else ""
            for (group, name), var in zip(program.labels, jaxpr.outvars, strict=True)
            if group == "outputs"
        }

    def census(self, weights: Arrays, inputs: Arrays) -> Census:
        """Narrow dtypes inside the traced program.

        Args:
            weights: leaves by path; their shapes count.
            inputs: named arrays in the reference's layout; their shapes count.
        """
        closed = self.jaxpr(weights, inputs)
        return Census(narrow_in(closed), computed=computed_in(closed) | stored_narrow(self.model.dtypes))

    def require_repeatable(self, weights: Arrays, inputs: Arrays, census: Census) -> None:
        """Check that tracing the model again gives the same program.

        Args:
            weights: leaves by path.
            inputs: named arrays in the reference's layout.
            census: not used: JAX's own random numbers come from keys.

        Raises:
            ValueError: if what it computes differs, naming the output, the reason and what to do.
        """
        if self.task.shares is not None:  # the user's own keys say as much
            alone = JaxProgram(self.model, self.task._replace(shares=None))
            alone.require_repeatable(weights, inputs, census)
            return
        given = self.task.laid_out(inputs)
        known = self._lift(weights, given, False)
        dtype = self._dtypes.taken(given)
        leaves = self._dtypes.shapes(self._leaves(shapes_only(weights)), dtype)
        inputs_given = shapes_in_jax(given, dtype)

        def run(closed: ClosedJaxpr) -> dict[str, jax.Array]:
            rng = np.random.default_rng(0)  # a template's zeros would hide what they are multiplied by
            arguments = [
                np.asarray(rng.uniform(0.5, 1.5, a.shape) if kind is NodeKind.WEIGHT else a, aval.dtype)
                for (kind, _, a), aval in zip(
                    self._flat(shapes_only(weights), given), closed.in_avals, strict=True
                )
            ]
            results = evaluated(closed, list(arguments))
            named = zip(known.labels, results, strict=True)
            return {name: value for (group, name), value in named if group == "outputs"}

        def trace() -> ClosedJaxpr:
            anew = lambda *shapes: self._passes.forward({}, *shapes)  # noqa: E731 (of a known one JAX keeps the trace)
            with self._dtypes.tracing_in(dtype):
                return jax.make_jaxpr(anew)(leaves, inputs_given)

        require_same_again(trace, known.closed, self.model.state, run)

    def constants(self, weights: Arrays, inputs: Arrays, trace: Trace | None = None) -> Constants:
        """The float32 constants of the lifted program, and what it computes from constants alone.

        Args:
            weights: leaves by path; their shapes count, and of tables their numbers.
            inputs: named arrays in the reference's layout; their shapes count.
            trace: not used: the jaxpr says it.
        """
        program = self._lift(weights, self.task.laid_out(inputs), False)
        with knowing(self.task.numbers, self.task.settled), collecting() as own:
            constants_of(program.closed)
            self._with_tables(weights)
            computed = computed_from_constants(program.closed)
        return Constants(own, computed)

    def uses(self, weights: Arrays, inputs: Arrays, trace: Trace | None = None) -> Mapping[str, Use]:
        """The first use of each leaf, read from the jaxpr.

        Args:
            weights: not used: the program is traced with the shapes of the model's own.
            inputs: named arrays in the reference's layout; their shapes count.
            trace: not used: the jaxpr says it.
        """
        arguments = self._flat({}, self.task.laid_out(inputs))
        names = [name if kind is NodeKind.WEIGHT else None for kind, name, _ in arguments]
        return jax_uses(self.jaxpr({}, inputs), names)

    def trace(
        self,
        weights: Arrays,
        inputs: Arrays,
        backward: bool = True,
        *,
        replayable: bool = False,
        rounded: str | None = None,
        keep: Keep | None = None,
        dtype: str = "float64",
    ) -> Trace:
        """Run once in float64 and keep every value, or of each what `keep` makes of it.

        Args:
            weights: leaves by path.
            inputs: named arrays in the reference's layout.
            backward: whether to keep the backward pass, too.
            replayable: not used: every trace of JAX can be replayed.
            rounded: a dtype; which values a run in it rounds is noted, and what is traced is that run.
            keep: what to hold of each value, of a trace that cannot be replayed; of unread weights what
                depends on constants alone, unless it is given.
            dtype: another dtype than float64 to run in, as the program was written: nothing is lifted.

        Raises:
            MemoryError: if the values would not fit (`require_traceable`).
        """
        given = self.task.laid_out(inputs)
        if dtype != "float64":
            return self._written(weights, given, backward, dtype)
        program = self._lift(weights, given, backward, rounded)
        known = knowing(self.task.numbers, self.task.settled)
        with known, by_the_harness("tracing the JAX model"):
            if isinstance(weights, UnreadArrays):
                keep = keep or of_constants()
                own = self._with_tables(weights)
                arguments: Sequence[Argument] = unread_arguments(
                    program, self._flat(shapes_only(weights), given), own, lifted=True
                )
            else:
                if keep is None:
                    require_traceable(program.closed)
                arguments = list(self._wide(program.closed, weights, given))
            rounding = self.task.rounding
            trace = record_trace(program.closed, arguments, program.labels, rounding=rounding, keep=keep)
        if rounded is not None:
            trace.held = rounded_in(trace, narrower(rounded))
        return trace

    def _written(self, weights: Arrays, given: Arrays, backward: bool, dtype: str) -> Trace:
        """The trace of a run in a dtype, as the model was written."""
        with running(dtype, self.task.device):  # without x64, as it is run
            program = self._lift(weights, given, backward, dtype)
        require_traceable(program.closed)
        with running(dtype, self.task.device), by_the_harness(f"tracing the JAX model in {dtype}"):
            flat = zip(self._flat(weights, given), program.closed.in_avals, strict=True)
            arguments = [
                (kind, name, np.asarray(array).astype(numpy_dtype(str(aval.dtype))))
                for (kind, name, array), aval in flat
            ]
            return run_recorded(WrittenRecorder(None), program.closed, arguments, program.labels)[0]

    def output_dtypes(
        self, weights: Arrays, inputs: Arrays, dtype: str
    ) -> dict[str, tuple[str, Spot | None]]:
        """The dtypes of the outputs of a run, and where one became wider than the run.

        Args:
            weights: not used: the program is traced with the shapes of the model's own.
            inputs: named arrays in the reference's layout; their shapes count.
            dtype: name of the floating dtype to run in.

        Returns:
            Per output its dtype, and the place where it became wider; None if it did not.
        """
        with running(dtype, self.task.device):
            given = shapes_in_jax(self.task.laid_out(inputs), dtype)
            leaves = self._dtypes.shapes(shapes_only(self.model.weights), dtype)
            closed, results = jax.make_jaxpr(self._passes.forward, return_shape=True)({}, leaves, given)
        where = dict(zip(sorted(results.outputs), promotion.origins(closed, dtype)[1:], strict=True))
        return {name: (str(value.dtype), where[name]) for name, value in results.outputs.items()}

    def _leaves(self, weights: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
        """The given leaves, and the model's own where none is given."""
        return {path: weights.get(path, leaf) for path, leaf in shapes_only(self.model.weights).items()}

    def _leaf(self, weights: Arrays, path: str) -> Shaped[np.ndarray, "..."]:
        """One of them."""
        return weights[path] if path in weights else self.model.weights[path]

    def _with_tables(self, weights: Arrays) -> Arrays:
        """Leaves with the constants of this side among them restored, or moved by the noise run in force."""
        tables = {name: self._leaf(weights, name) for name in self.task.tables}
        return overlaid(weights, {name: constant(a) for name, a in tables.items() if is_float(a)})

    def _flat(self, weights: Arrays, given: Arrays) -> Iterator[Flat]:
        """All arguments in the order of the traced program."""
        fixed = set(self.model.weights) - set(self.moved)
        for path in [*sorted(self.moved), *sorted(fixed)]:
            yield NodeKind.WEIGHT, path, self._leaf(weights, path)
        for name in sorted(given):
            yield NodeKind.INPUT, name, given[name]

    def _wide(self, closed: ClosedJaxpr, weights: Arrays, given: Arrays) -> Iterator[Flat]:
        """The same in the dtypes of the lifted program; integers in those that the user's JAX gives them."""
        arguments = self._flat(self._with_tables(weights), given)
        for (kind, name, array), aval in zip(arguments, closed.in_avals, strict=True):
            yield kind, name, np.asarray(array).astype(wide(aval.dtype), copy=False)

    def _lift(
        self, weights: Arrays, given: Arrays, backward: bool = True, dtype: str | None = None
    ) -> Traced:
        """The program as a run in a dtype takes it, traced and lifted once for inputs of the same shapes."""
        dtype = self._dtypes.taken(given) if dtype is None else dtype
        backward = backward and bool(self.moved)
        key = (input_shapes(given), backward, dtype, bool(jax.config.jax_enable_x64))  # type: ignore[attr-defined]
        if key not in self._traced:
            with self._dtypes.tracing_in(dtype):
                own = self._dtypes.shapes(self._leaves(shapes_only(weights)), dtype)
                moved = {path: own.pop(path) for path in self.moved}
                self._traced[key] = traced_passes(
                    self._passes,
                    (moved, own),
                    shapes_in_jax(given, dtype),
                    backward=backward,
                    rounding=self.task.rounding,
                    rewrite=functools.partial(self._shared, weights=weights, given=given),
                )
            if (why := self._traced[key].undifferentiable) is not None:
                self.undifferentiable = why
                self._compiled = jax.jit(self._passes.forward)
        return self._traced[key]
