"""JAX models of every library as pure functions of a params tree."""

import functools
from collections.abc import Callable, Collection, Mapping, Set
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree, Shaped

from parity.frameworks.jax.jax_modes import chosen_modes
from parity.frameworks.jax.jaxpr_remarks import foreign_remarks, random_remarks
from parity.frameworks.jax.libraries import library_of
from parity.frameworks.jax.trees import Tree, flatten
from parity.frameworks.kept_state import KeptState
from parity.frameworks.model import stored_remarks
from parity.frameworks.task import Task
from parity.frameworks.unread_weights import Streaming, unread_weights
from parity.numerics.arrays import Arrays, is_wide_integer, to_numpy_narrow
from parity.numerics.unread import UnreadArrays, shapes_only
from parity.report.errors import raised_by
from parity.weights import Signature

if TYPE_CHECKING:
    from parity.frameworks.jax.jax_passes import Gradients
    from parity.frameworks.jax.jax_program import JaxProgram

Leaf = jax.Array | np.ndarray | jax.ShapeDtypeStruct
"""A weight, or its shape alone."""


class JaxModel(NamedTuple):
    """A JAX model as a pure function of a params tree.

    Attributes:
        call: `call(params, *args, **kwargs)`.
        weights: every floating leaf by path.
        tree: the structure to build params from leaves.
        target: what to read the argument names from.
        skip: how many leading arguments of `target` are not inputs.
        trainable: paths of the leaves that are trained; the others are statistics, caches and tables.
        notes: what was done to the model or chosen for it, for the report.
        shapes_only: paths of leaves of which only the shape is known.
        dtypes: the dtype that each leaf is stored in.
        state: what else the model may change when it is traced.
        updated: paths of the leaves that a run replaced, such as running statistics; filled as it is traced.
        updates: `updates(params, *args, **kwargs)`: those leaves by path, as a run leaves them.
        keeps_state: whether it has a state of its own that runs replace.
    """

    call: Callable[..., PyTree]
    weights: Arrays
    tree: Tree
    target: Callable[..., object]
    skip: int
    trainable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shapes_only: tuple[str, ...] = ()
    dtypes: Mapping[str, str] = MappingProxyType({})
    state: KeptState = KeptState()
    updated: Set[str] = frozenset()
    updates: Callable[..., Mapping[str, jax.Array]] = lambda params, *args, **kwargs: {}
    keeps_state: bool = False

    @property
    def framework(self) -> str:
        """The framework's name."""
        return "JAX"

    @property
    def signatures(self) -> dict[str, Signature]:
        """What the weight plan needs to know: the shapes."""
        return {path: Signature(tuple(leaf.shape)) for path, leaf in shapes_only(self.weights).items()}

    @property
    def tables(self) -> tuple[str, ...]:
        """Leaves that are not trained: statistics, caches, tables."""
        return tuple(path for path in self.weights if path not in set(self.trainable))

    def program(
        self,
        task: Task,
        *,
        trainable: Collection[str] | None = None,
        gradients: "Gradients | None" = None,
    ) -> "JaxProgram":
        """The program of this model: outputs, loss and gradients.

        Args:
            task: inputs, loss, layout, outputs and device.
            trainable: paths of the leaves to differentiate by; None for the model's own.
            gradients: `gradients(params, x, targets)` instead of `jax.grad` of the loss.
        """
        from parity.frameworks.jax.jax_program import JaxProgram

        moved = self.trainable if trainable is None else trainable
        return JaxProgram(self, task, moved, gradients=gradients)

    def remarks(self, inputs: Arrays, task: Task) -> tuple[str, ...]:
        """Remarks on random numbers, on callbacks, and on weights stored in a narrow dtype.

        Args:
            inputs: named arrays in the reference's layout.
            task: inputs, loss, layout, outputs and device.
        """
        from parity.frameworks.jax.jax_program import JaxProgram

        closed = JaxProgram(self, task).jaxpr({}, inputs)
        drawn = random_remarks(closed) if task.shares is None else ()
        stored = stored_remarks(self.framework, set(self.dtypes.values()))
        return (*stored, *drawn, *foreign_remarks(closed), *_beyond_int32(inputs))


def read_jax(
    model: object,
    params: PyTree | None = None,
    inputs: Arrays | None = None,
    streaming: Streaming | None = None,
    *,
    drawing: bool = False,
) -> JaxModel:
    """Read a JAX model of any kind; the model itself is never changed.

    These are models: a Flax NNX module; a Flax Linen module or its `apply`; an Equinox module, or
    (module, state) with its `eqx.nn.State`; a pair of functions with the names `init` and `apply`, such as
    Haiku's `transform` makes; an object that is called with its `params` as an argument, such as a Flax model
    of transformers; and any function `f(params, *inputs)` together with its params, which may be any pytree,
    such a module among them. Models run in inference mode: modules are switched, and an argument of a
    name in `MODES` is passed, which the notes say.

    Args:
        model: the model.
        params: params in arrays, or in `jax.ShapeDtypeStruct` (read as zeros, to be loaded); for a Linen
            module or Haiku function all collections, or the `params` alone; None where the model has or
            makes its own.
        inputs: arrays in the JAX model's own layout, by argument name, to initialise a model with that is
            given without params. It is traced on them, not run.
        streaming: where weights are read from that are not to be held in memory; None: they are held.
        drawing: whether its random draws are compared: then it runs in training mode, where modes are
            arguments, or in that which it is in.

    Raises:
        TypeError: if `model` is none of these, or comes without params that it needs.
        ValueError: if the params have leaves that are neither floating nor given in numbers.
    """
    modes, notes = chosen_modes(model, inputs or {}, drawing=drawing)
    also = {"drawing": True} if drawing else {}
    with raised_by("JAX", "while its params were read"):
        functional = library_of(model).open_model(model, params, inputs, modes, **also)
    call, updates, target = functional.call, functional.updates, functional.target
    if modes:
        # Bound as keywords, so that they are neither inputs nor missing.
        call, target = functools.partial(call, **modes), functools.partial(target, **modes)
        updates = functools.partial(updates, **modes)
    leaves, tree = flatten(functional.weights)
    state = KeptState(model)

    def as_it_was(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
        def restored(*args: object, **kwargs: object) -> PyTree:
            with state.restored():
                return function(*args, **kwargs)

        return restored

    shapes = tuple(path for path, leaf in leaves.items() if isinstance(leaf, jax.ShapeDtypeStruct))
    weights, dtypes = _weights(leaves, streaming)
    return JaxModel(
        as_it_was(call),
        weights,
        tree,
        target,
        functional.skip,
        tuple(path for path in leaves if functional.is_trainable(path)),
        (*functional.notes, *notes),
        () if isinstance(weights, UnreadArrays) else shapes,
        dtypes,
        state,
        functional.updated,
        as_it_was(updates),
        functional.keeps_state,
    )


def _weights(leaves: Mapping[str, Leaf], streaming: Streaming | None) -> tuple[Arrays, Mapping[str, str]]:
    """The leaves by path, held or unread, and the dtypes that they are stored in."""
    if streaming is not None:
        return unread_weights(leaves, streaming)
    dtypes = {path: str(leaf.dtype) for path, leaf in leaves.items()}
    return {path: _values_of(leaf) for path, leaf in leaves.items()}, dtypes


def _beyond_int32(inputs: Arrays) -> tuple[str, ...]:
    """What to say of integers that JAX, without 64-bit types, does not hold."""
    if jnp.asarray(0).dtype == np.int64:
        return ()
    limits = np.iinfo(np.int32)
    large = [
        name
        for name, array in inputs.items()
        if is_wide_integer(array) and array.size and (array.max() > limits.max or array.min() < limits.min)
    ]
    if not large:
        return ()
    return (
        f"{', '.join(large)}: integers beyond int32, in which JAX holds them unless jax_enable_x64 is set; "
        "there they are other numbers",
    )


def _values_of(leaf: Leaf) -> Shaped[np.ndarray, "..."]:
    """A leaf as a NumPy array; of one that has only a shape, zeros to be loaded."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return np.zeros(leaf.shape, np.complex64 if np.dtype(leaf.dtype).kind == "c" else np.float32)
    return to_numpy_narrow(leaf)
