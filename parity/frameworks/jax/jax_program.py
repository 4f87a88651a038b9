"""JAX models as programs of named arrays, weights and gradients as leaves by path."""

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from jaxtyping import PyTree, Shaped

from parity.frameworks.jax import jaxpr_walk, lift, promotion
from parity.frameworks.jax.jax_model import JaxModel, require_no_leaks
from parity.frameworks.jax.jax_trace import record_trace, size_of_trace
from parity.frameworks.jax.jax_uses import jax_uses
from parity.frameworks.jax.trees import flatten
from parity.frameworks.model import Census
from parity.frameworks.task import Task, bind, direction, targets_of
from parity.numerics.arrays import Arrays, is_float, to_jax, to_numpy
from parity.numerics.noise import Values
from parity.numerics.precision import jax_device, running
from parity.report.errors import by_the_harness, raised_by
from parity.trace.graph import NodeKind, Spot, Trace
from parity.trace.rounded_constants import knowing
from parity.weights import Use

TRACE_LIMIT = 6 * 2**30
"""Bytes that a trace may take."""

NO_DERIVATIVE = re.compile(
    r"differentiation|non-?differentiable|\bJVP\b|transpose rule|not support transpos", re.IGNORECASE
)
"""What JAX and Equinox say of an operation without a derivative, e.g. of `lax.while_loop` in reverse mode."""


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
        gradients: Callable[[PyTree, Any, Any], PyTree] | None = None,
    ) -> None:
        """A program of `model`.

        Args:
            model: the JAX side.
            task: inputs, loss, layout, outputs and device.
            trainable: paths of the leaves to differentiate by; without any only the forward pass runs.
            gradients: `gradients(params, x, targets)` instead of `jax.grad` of the loss, for gradients
                written by hand.
        """
        import jax

        self.model, self.task, self.gradients = model, task, gradients
        self.moved = [path for path in model.weights if path in set(trainable)]
        self.rounding = task.rounding
        self._traced: dict[Any, tuple[Any, Any, Any]] = {}
        self._compiled = jax.jit(self._run)

    def __call__(self, weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        """Run once.

        Args:
            weights: leaves by path; the model's own where one is missing.
            inputs: named arrays in the reference's layout.
            dtype: name of the floating dtype to run in.

        Returns:
            The groups "outputs", "loss" and "gradients", these by path.
        """
        import jax

        device = jax_device(self.task.device)
        given = self.task.laid_out(inputs)
        if dtype == "float64":
            closed, structure, run = self._lift(weights, given)
            with running(dtype, self.task.device), knowing(self.task.numbers):
                args = [jax.device_put(array, device) for _, _, array in self._wide(closed, weights, given)]
                constants = [to_jax(array, dtype, device) for array in lift.constants_of(closed)]
                loss, outputs, grads = jax.tree.unflatten(structure, run(constants, *args))
        else:
            with running(dtype, self.task.device):
                own = {path: to_jax(array, dtype, device) for path, array in self._leaves(weights).items()}
                moved = {path: own.pop(path) for path in self.moved}
                loss, outputs, grads = self._compiled(
                    moved, own, {name: to_jax(array, dtype, device) for name, array in given.items()}
                )
        # In the precision they were computed in: of large models these are the bulk.
        plain = ("float32", "float64")
        return {
            "outputs": {name: to_numpy(value) for name, value in outputs.items()},
            "loss": {"loss": to_numpy(loss)},
            "gradients": {
                p: np.asarray(g) if str(g.dtype) in plain else to_numpy(g) for p, g in grads.items()
            },
        }

    def returned(self, weights: Arrays, inputs: Arrays) -> Any:
        """What the model itself returns, with shapes for arrays: it is traced, not run.

        Args:
            weights: not used: the program is traced with the shapes of the model's own.
            inputs: named arrays in the reference's layout.

        Raises:
            Exception: whatever the model raises when it is traced.
        """
        import jax

        def forward(own: dict[str, Any], given: dict[str, Any]) -> Any:
            with raised_by("JAX"):
                returned.append(self._forward(own, given))
            return [value for value in jax.tree.leaves(returned[0]) if hasattr(value, "dtype")]

        returned: list[Any] = []
        given = self.task.laid_out(inputs)
        jax.eval_shape(forward, self._avals(self.model.weights), self._avals(given))
        # Texts and numbers among the outputs are the caller's to complain about.
        return _shapes(returned[0])

    def jaxpr(self, weights: Arrays, inputs: Arrays) -> Any:
        """The traced program in the user's own dtypes, forward and backward.

        Args:
            weights: leaves by path; their shapes count.
            inputs: named arrays in the reference's layout; their shapes count.
        """
        return self._lift(weights, self.task.laid_out(inputs))[0]

    def census(self, weights: Arrays, inputs: Arrays) -> Census:
        """Narrow dtypes inside the traced program.

        Args:
            weights: leaves by path; their shapes count.
            inputs: named arrays in the reference's layout; their shapes count.
        """
        return Census(narrow_in(self.jaxpr(weights, inputs)))

    def require_repeatable(self, weights: Arrays, inputs: Arrays, census: Census) -> None:
        """Accept every program: JAX's random numbers come from keys, so a traced program repeats itself.

        Args:
            weights: not used.
            inputs: not used.
            census: not used.
        """

    def uses(self, weights: Arrays, inputs: Arrays, trace: Trace | None = None) -> Mapping[str, Use]:
        """The first use of each leaf, read from the jaxpr.

        Args:
            weights: not used: the program is traced with the shapes of the model's own.
            inputs: named arrays in the reference's layout; their shapes count.
            trace: not used: the jaxpr says it.
        """
        names = [name if kind is NodeKind.WEIGHT else None for kind, name in self.arguments({}, inputs)]
        return jax_uses(self.jaxpr({}, inputs), names)

    def trace(
        self, weights: Arrays, inputs: Arrays, backward: bool = True, *, replayable: bool = False
    ) -> Trace:
        """Run once in float64 and keep every value.

        Args:
            weights: leaves by path.
            inputs: named arrays in the reference's layout.
            backward: whether to keep the backward pass, too.
            replayable: not used: every trace of JAX can be replayed.

        Raises:
            MemoryError: if the values would take more than `TRACE_LIMIT` bytes.
        """
        import jax

        given = self.task.laid_out(inputs)
        closed, structure, _ = self._lift(weights, given, backward)
        size = size_of_trace(closed)
        if size > TRACE_LIMIT:
            raise MemoryError(
                f"keeping every value would take {size / 2**30:.1f} GiB (at most {TRACE_LIMIT / 2**30:.0f}); "
                "give a smaller batch to see where the two sides part"
            )
        paths = jax.tree.unflatten(structure, range(structure.num_leaves))
        labels: dict[int, tuple[str, str]] = {paths[0]: ("loss", "loss")}
        labels |= {index: ("outputs", name) for name, index in paths[1].items()}
        labels |= {index: ("gradients", path) for path, index in paths[2].items()}
        with knowing(self.task.numbers):
            return record_trace(
                closed,
                self._wide(closed, weights, given),
                [labels[i] for i in range(structure.num_leaves)],
                rounding=self.rounding,
            )

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
        import jax

        with running(dtype, self.task.device):
            given = self._avals(self.task.laid_out(inputs), dtype)
            forward = functools.partial(self._run, {}, backward=False)
            leaves = self._avals(self.model.weights, dtype)
            closed, (loss, outputs, _) = jax.make_jaxpr(forward, return_shape=True)(leaves, given)
        paths = jax.tree.leaves((loss, {name: name for name in outputs}))[1:]
        where = dict(zip(paths, promotion.origins(closed, dtype)[1:], strict=True))
        return {name: (str(value.dtype), where[name]) for name, value in outputs.items()}

    def arguments(self, weights: Arrays, inputs: Arrays) -> list[tuple[NodeKind, str]]:
        """What each argument of the traced program is, and its name.

        Args:
            weights: leaves by path.
            inputs: named arrays in the reference's layout.
        """
        return [(kind, name) for kind, name, _ in self._flat(weights, self.task.laid_out(inputs))]

    def _leaves(self, weights: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
        """The given leaves, and the model's own where none is given."""
        return {path: weights.get(path, leaf) for path, leaf in self.model.weights.items()}

    def _flat(self, weights: Arrays, given: Arrays) -> list[tuple[NodeKind, str, Shaped[np.ndarray, "..."]]]:
        """All arguments in the order of the traced program."""
        own = self._leaves(weights)
        moved = [(NodeKind.WEIGHT, path, own[path]) for path in sorted(self.moved)]
        fixed = [(NodeKind.WEIGHT, path, own[path]) for path in sorted(own) if path not in set(self.moved)]
        return moved + fixed + [(NodeKind.INPUT, name, given[name]) for name in sorted(given)]

    def _wide(
        self, closed: Any, weights: Arrays, given: Arrays
    ) -> list[tuple[NodeKind, str, Shaped[np.ndarray, "..."]]]:
        """The same in the dtypes of the lifted program; integers in those that the user's JAX gives them."""
        avals = closed.in_avals
        return [
            (kind, name, np.asarray(array).astype(lift.wide(aval.dtype)))
            for (kind, name, array), aval in zip(self._flat(weights, given), avals, strict=True)
        ]

    @staticmethod
    def _avals(arrays: Arrays, floating: str = "float32") -> dict[str, Any]:
        """Shapes in the dtypes in which JAX itself would hold these arrays, floating ones in `floating`."""
        import jax
        import jax.numpy as jnp

        def dtype(array: Shaped[np.ndarray, "..."]) -> Any:
            if is_float(array):
                return jnp.dtype(floating)
            return jnp.asarray(0).dtype if np.issubdtype(array.dtype, np.integer) else array.dtype

        shaped: Any = jax.ShapeDtypeStruct
        return {name: shaped(array.shape, dtype(array)) for name, array in arrays.items()}

    def _lift(self, weights: Arrays, given: Arrays, backward: bool = True) -> tuple[Any, Any, Any]:
        """(jaxpr, structure of the result, compiled lifted program), once per shapes of the inputs."""
        import jax

        shapes = tuple((name, array.shape, array.dtype.kind) for name, array in sorted(given.items()))
        key = (shapes, backward)
        if key not in self._traced:
            own = self._avals(self._leaves(weights))
            moved = {path: own.pop(path) for path in self.moved}
            arguments = (moved, own, self._avals(given))
            forward = functools.partial(self._run, backward=False)
            try:
                run = self._run if backward else forward
                with raised_by("JAX", "in its backward pass" if backward else ""):
                    closed, returned = jax.make_jaxpr(run, return_shape=True)(*arguments)
            except Exception as error:
                if not _no_derivative(error):
                    raise
                # Is it the model, or its derivative?
                closed, returned = jax.make_jaxpr(forward, return_shape=True)(*arguments)
                self.undifferentiable = (str(error) or type(error).__name__).splitlines()[0]
                self._compiled = jax.jit(forward)
            require_no_leaks(closed.consts)
            self._traced[key] = (
                closed,
                jax.tree.structure(returned),
                jax.jit(_as_the_harness(lift.lifted(closed, rounding=self.rounding))),
            )
        return self._traced[key]

    def _forward(self, own: dict[str, Any], given: dict[str, Any]) -> Any:
        inputs = {name: given[name] for name in self.task.inputs}
        args, kwargs = bind(self.model.target, self.model.skip, inputs)
        return self.model.call(self.model.tree.build(own), *args, **kwargs)

    def _run(
        self, moved: dict[str, Any], fixed: dict[str, Any], given: dict[str, Any], backward: bool = True
    ) -> Any:
        import jax
        import jax.numpy as jnp

        task = self.task

        def loss_and_outputs(moved: dict[str, Any]) -> Any:
            with raised_by("JAX"):
                return computed(moved)

        def computed(moved: dict[str, Any]) -> Any:
            out = self._forward({**moved, **fixed}, given)
            outputs = task.outputs(out)
            if task.loss is not None:
                return task.loss(out, targets_of(given, task.inputs)), outputs
            floating = {n: v for n, v in outputs.items() if jnp.issubdtype(v.dtype, jnp.floating)}
            loss = jnp.zeros((), next((v.dtype for v in floating.values()), None))
            for name, value in floating.items():
                loss = loss + (value * jnp.asarray(direction(value.shape, name), value.dtype)).sum()
            return loss, outputs

        if not backward or not self.moved:
            loss, outputs = loss_and_outputs(moved)
            return loss, outputs, {}
        (loss, outputs), grads = jax.value_and_grad(loss_and_outputs, has_aux=True)(moved)
        if self.gradients is not None:
            params = self.model.tree.build({**moved, **fixed})
            by_hand = self.gradients(params, given[task.inputs[0]], targets_of(given, task.inputs))
            grads = {path: leaf for path, leaf in flatten(by_hand)[0].items() if path in moved}
        return loss, outputs, grads


def _shapes(value: Any) -> Any:
    """What a model returned while it was traced, with shapes for its arrays; dicts keep their order."""
    import jax

    if isinstance(value, Mapping):
        return {key: _shapes(child) for key, child in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_shapes, value))
    if isinstance(value, tuple | list):
        return type(value)(map(_shapes, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _shapes(getattr(value, field.name)) for field in dataclasses.fields(value)}
    shaped: Any = jax.ShapeDtypeStruct
    return shaped(value.shape, value.dtype) if hasattr(value, "aval") else value


def narrow_in(closed: Any) -> dict[str, Spot]:
    """bfloat16 and float16 inside a traced JAX program, with the first place of each.

    Args:
        closed: the jaxpr.
    """
    found: dict[str, Spot] = {}
    for eqn, spot in jaxpr_walk.equations(closed.jaxpr):
        for dtype in [str(getattr(variable.aval, "dtype", "")) for variable in eqn.outvars]:
            if dtype in lift.NARROW:
                found.setdefault(dtype, spot)
    return found


def random_remarks(closed: Any) -> tuple[str, ...]:
    """Remarks on random numbers that a traced JAX program draws.

    Args:
        closed: the jaxpr.
    """
    found = dict.fromkeys(
        f"{spot.file}:{spot.line}" if spot.file else "inside a library"
        for eqn, spot in jaxpr_walk.equations(closed.jaxpr)
        if eqn.primitive.name in ("random_bits", "rng_bit_generator")
    )
    if not found:
        return ()
    return (
        f"the JAX model draws random numbers ({', '.join(found)}): if this is dropout, switch it off "
        "(deterministic=True, model.eval()); otherwise give the random numbers as an input",
    )


def _no_derivative(error: Exception) -> bool:
    """Whether an error says that an operation has no derivative; any other is one of the user's own rules."""
    return isinstance(error, NotImplementedError) or NO_DERIVATIVE.search(str(error)) is not None


def _as_the_harness(lifted: Callable[..., Any]) -> Callable[..., Any]:
    """A lifted program, whose tracing runs no line of the user's."""

    def run(*args: Any) -> Any:
        with by_the_harness("lifting the JAX model to float64"):
            return lifted(*args)

    return run
