"""One step of a user's own, traced in the user's dtypes and lifted to float64.

What Python does in a step (a counter, an annealed number) is only seen when it is traced, so every step is
traced; steps that differ in no more than floating numbers share what is compiled.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jaxtyping import PyTreeDef

from parity.frameworks.jax.compiling import compiled_soon
from parity.frameworks.jax.jax_drawn import PRIMITIVES
from parity.frameworks.jax.jax_nest import Nest, is_array
from parity.frameworks.jax.jaxpr_parts import body_of, consts_of
from parity.frameworks.jax.jaxpr_walk import equations, inner_jaxprs
from parity.frameworks.jax.lift import Lifted, lifted
from parity.frameworks.jax.lifted_constants import constants_of
from parity.frameworks.jax.shapes import shape_struct, shapes_in_jax
from parity.frameworks.jax.trace_size import size_of_trace
from parity.frameworks.jax.wide_dtypes import is_key, is_narrow, widen
from parity.frameworks.nests import rebuilt
from parity.numerics.arrays import Arrays
from parity.numerics.precision import running
from parity.report.errors import by_the_harness

Call = Callable[[Any, Any, Nest], tuple[Nest, dict[str, Any]]]
"""(state, batch, nest before) -> (nest after, {"metrics": metrics})."""

FLOATING_LITERAL = re.compile(r"-?(?:\d[\d.]*(?:e[+-]?\d+)?|inf|nan):(?=(?:f|bf)\d+\[\])")
"""A floating number in a jaxpr, as JAX prints it."""

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Retraced(NamedTuple):
    """The program of one step.

    Attributes:
        nest: the state behind it, for its form.
        fixed: leaves of the state before it that are numbers of Python's, by path.
        known: dtypes of the others, and shapes of the batch: what it was traced for.
        closed: the jaxpr.
        key: what is equal in jaxprs that can share a compiled program.
        compiled: the lifted program.
        changing: paths of the arrays that it takes.
        returned: the structure of what it returns.
        dtypes: of what it returns.
        numbers: what it returned as numbers of Python's: leaves of the state, by path.
    """

    nest: Nest
    fixed: dict[str, Any]
    known: tuple[object, ...]
    closed: ClosedJaxpr
    key: str
    compiled: Lifted
    changing: tuple[str, ...]
    returned: PyTreeDef
    dtypes: tuple[Any, ...]
    numbers: dict[str, Any]

    @classmethod
    def of(
        cls,
        call: Call,
        nest: Nest,
        leaves: Mapping[str, Any],
        dtypes: Mapping[str, Any],
        batch: tuple[object, Arrays],
        others: Sequence["Retraced"],
        *,
        without_jit: bool,
    ) -> "Retraced":
        """Trace a step.

        Args:
            call: makes it.
            nest: the state before it.
            leaves: its leaves.
            dtypes: those that the user's program holds them in, by path.
            batch: one that gives the form, and its arrays by name.
            others: programs of other steps.
            without_jit: whether what is jitted is traced anew.
        """
        form, arrays = batch
        fixed = {path: leaf for path, leaf in leaves.items() if not is_array(leaf)}
        changing = tuple(path for path in leaves if path not in fixed)
        kept: dict[str, Any] = {}

        def run(state: dict[str, Any], given: dict[str, Any]) -> Any:
            built = nest.build({**fixed, **state})
            after, rest = call(built, rebuilt(form, given, lambda array: array), nest)
            numbers = {path: leaf for path, leaf in after.leaves.items() if not is_array(leaf)}
            kept.update(nest=after, numbers=numbers)
            moved = {path: leaf for path, leaf in after.leaves.items() if path not in numbers}
            return moved, rest["metrics"]

        with running("float32"), jax.disable_jit() if without_jit else contextlib.nullcontext():
            shapes = {
                path: leaves[path] if is_key(leaves[path]) else shape_struct(leaves[path].shape, dtypes[path])
                for path in changing
            }
            closed, returned = jax.make_jaxpr(run, return_shape=True)(shapes, shapes_in_jax(arrays))
        key = _key(closed)
        same = next((other.compiled for other in others if other.key == key), None)
        if same is None:
            same = _compiled(closed)
        return cls(
            kept["nest"]._replace(leaves=dict.fromkeys(kept["nest"].leaves)),
            fixed,
            _known(leaves, dtypes, arrays),
            closed,
            key,
            same,
            changing,
            jax.tree.structure(returned),
            tuple(leaf.dtype for leaf in jax.tree.leaves(returned)),
            kept["numbers"],
        )

    @property
    def draws(self) -> bool:
        """Whether the step draws random numbers."""
        return any(eqn.primitive.name in PRIMITIVES for eqn, _ in equations(self.closed.jaxpr))

    def fits(self, leaves: Mapping[str, Any], dtypes: Mapping[str, Any], batch: Arrays) -> bool:
        """Whether the program was traced for such a state and batch.

        Args:
            leaves: of the state.
            dtypes: those that the user's program holds them in, by path.
            batch: by name.
        """
        fixed = {path: leaf for path, leaf in leaves.items() if not is_array(leaf)}
        return repr(fixed) == repr(self.fixed) and _known(leaves, dtypes, batch) == self.known

    def run(self, leaves: Mapping[str, Any], batch: Arrays) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """Make the step in float64.

        Args:
            leaves: of the state.
            batch: by name.

        Returns:
            The leaves of the state behind it, the dtypes that the user's program holds them in, and the
            metrics.
        """
        with running("float64"):
            given = [leaves[path] for path in sorted(self.changing)]
            given += [batch[name] for name in sorted(batch)]
            wanted = [aval.dtype for aval in self.closed.in_avals]
            arrays = [_as_traced(value, dtype) for value, dtype in zip(given, wanted, strict=True)]
            with by_the_harness("running the lifted JAX step"):
                found = self.compiled(constants_of(self.closed), *arrays)
            values = [
                leaf if is_key(leaf) or jnp.issubdtype(dtype, jnp.inexact) else jnp.asarray(leaf, dtype)
                for leaf, dtype in zip(found, self.dtypes, strict=True)
            ]
            moved, metrics = jax.tree.unflatten(self.returned, values)
        dtypes, _ = jax.tree.unflatten(self.returned, self.dtypes)
        return {**self.numbers, **moved}, dtypes, metrics


def _as_traced(value: Any, dtype: Any) -> Any:
    """An array as the lifted program takes it: floating ones wide, all others as they were traced."""
    if is_key(value):
        return value
    inexact = jnp.issubdtype(dtype, jnp.inexact)
    return widen(jnp.asarray(value)) if inexact else jnp.asarray(value, dtype)


def _compiled(closed: ClosedJaxpr) -> Lifted:
    run = lifted(closed, rounding=True)  # moments kept in bfloat16 stay so

    def as_the_harness(*args: Any) -> Any:
        with by_the_harness("lifting the JAX step to float64"):
            return run(*args)

    compiled: Lifted = compiled_soon(as_the_harness, entries=size_of_trace(closed) // 8)
    return compiled


def _known(leaves: Mapping[str, Any], dtypes: Mapping[str, Any], batch: Arrays) -> tuple[object, ...]:
    state = tuple((path, leaf.shape, str(dtypes[path])) for path, leaf in leaves.items() if is_array(leaf))
    return state, tuple((name, array.shape, array.dtype.kind) for name, array in batch.items())


def _key(closed: ClosedJaxpr) -> str:
    """The jaxpr without its floating numbers, with all other constants."""
    text = ADDRESS.sub("", FLOATING_LITERAL.sub("#:", str(closed.jaxpr)))
    return f"{text}{len(constants_of(closed))}{''.join(_other_constants(closed))}"


def _other_constants(closed: Any) -> Iterator[str]:
    for value in consts_of(closed):
        if not is_narrow(value) and not is_key(value):
            array = np.asarray(value)
            yield f"{array.dtype}{array.shape}{hashlib.blake2b(array.tobytes()).hexdigest()}"
        elif is_key(value):
            yield repr(jax.random.key_data(value))
        else:
            yield f"{getattr(value, 'shape', ())}"
    for eqn in body_of(closed).eqns:
        for inner in inner_jaxprs(eqn.params):
            yield from _other_constants(inner)
