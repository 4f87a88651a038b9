"""JAX models of every kind as pure functions of a params tree."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree, Shaped

from parity.frameworks.jax.jax_modes import KEYS, framework_of, inference_modes, module_of
from parity.frameworks.jax.libraries import (
    Opened,
    open_equinox,
    open_linen,
    open_nnx,
    open_tree,
    takes,
)
from parity.frameworks.jax.trees import Tree, flatten
from parity.frameworks.task import bind, kind_of
from parity.numerics.arrays import Arrays, hold_narrow, to_jax


class JaxModel(NamedTuple):
    """A JAX model as a pure function of a params tree.

    Attributes:
        call: `call(params, *args, **kwargs)`.
        leaves: the weights (every floating leaf) by path, held in float64.
        tree: the structure to build params from leaves.
        target: what to read the argument names from.
        skip: how many leading arguments of `target` are not inputs.
        trainable: paths of the leaves that are trained; the others are statistics, caches and tables.
        notes: what was done to the model or chosen for it, for the report.
    """

    call: Callable[..., Any]
    leaves: dict[str, Shaped[np.ndarray, "..."]]
    tree: Tree
    target: Callable[..., Any]
    skip: int
    trainable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_jax(model: Any, params: PyTree | None = None, inputs: Arrays | None = None) -> JaxModel:
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

    Raises:
        TypeError: if `model` is none of these, or comes without params that it needs.
        ValueError: if the params have leaves that are neither floating nor given in numbers.
    """
    modes, notes = inference_modes(model, inputs or {})
    opened = _open(model, params, inputs, modes)
    call, target = opened.call, opened.target
    if modes:
        # Bound as keywords, so that they are neither inputs nor missing.
        call, target = functools.partial(call, **modes), functools.partial(target, **modes)
    leaves, tree = flatten(opened.weights)
    return JaxModel(
        call,
        {path: _held(leaf) for path, leaf in leaves.items()},
        tree,
        target,
        opened.skip,
        tuple(path for path in leaves if opened.is_trainable(path)),
        (*opened.notes, *notes),
    )


def require_no_leaks(consts: Iterable[Any]) -> None:
    """Refuse traced values among the constants of a jaxpr that was traced at top level.

    JAX itself notices them only when the jaxpr runs, if at all.

    Raises:
        TypeError: saying what they are.
    """
    import jax

    for value in consts:
        if isinstance(value, jax.core.Tracer):
            raise TypeError(
                f"the JAX model uses or returns a traced value {value.dtype}{list(value.shape)} of a "
                "computation that has ended: it was kept, for example in a global or an attribute, while a "
                "compiled function ran; return it from that function instead"
            )


def _open(model: Any, params: PyTree | None, inputs: Arrays | None, modes: Mapping[str, Any]) -> Opened:
    """Take a model apart in the way of its framework."""
    kind = framework_of(model)
    if kind == "nnx":
        return open_nnx(model, params)
    if kind == "linen":
        module = module_of(model)
        init = _init(module.init, type(module).__call__, 1, inputs, modes)
        return open_linen(module, params, init)
    if kind == "equinox":
        opened = open_equinox(model if params is None else params)
        return opened if inputs is None else _over_batch(opened, modes, inputs)
    if hasattr(model, "init") and hasattr(model, "apply"):
        return _open_init_apply(model, params, inputs, modes)
    if not callable(model):
        raise TypeError(
            f"`jax_model` is {kind_of(model)}; it must be a module of Flax or Equinox, or a function "
            "f(params, *inputs)"
        )
    if _takes_later(model, "params"):
        own = getattr(model, "params", None) if params is None else params
        if own is not None:
            opened = open_tree(own, lambda tree, *args, **kwargs: model(*args, params=tree, **kwargs))
            return opened._replace(target=functools.partial(model, params=None), skip=0)
    elif params is not None:
        if framework_of(params) == "nnx":
            return open_nnx(params, function=model)
        if framework_of(params) == "equinox":
            return open_equinox(params, function=model)
        return open_tree(params, model)
    raise TypeError(
        f"`jax_model` is {kind_of(model)} without params; it must be a Flax NNX module, or a function "
        "f(params, *inputs) given together with `template` or `params`, a pytree of arrays or shapes"
    )


def _open_init_apply(
    model: Any, params: PyTree | None, inputs: Arrays | None, modes: Mapping[str, Any]
) -> Opened:
    """Open a pair of functions: `apply(params, [state,] [rng,] *inputs)`, and `init(rng, ...)` for params."""
    import jax

    names = list(inspect.signature(model.apply).parameters)
    stateful = "state" in names[1:2]
    random = any(name in KEYS for name in names[1 + stateful : 2 + stateful])
    if params is None:
        # Haiku's statistics come to be in training mode only.
        training = {name: not value if isinstance(value, bool) else value for name, value in modes.items()}
        init = _init(model.init, model.init, 1, inputs, training)
        if init is None:
            raise TypeError(
                "`jax_model` comes without params; give `template`, e.g. jax.eval_shape(init, key, x)"
            )
        params = jax.eval_shape(init)
        if stateful:  # statistics and counters have values of their own
            params = (params[0], jax.jit(lambda: init()[1])())
    if not stateful:

        def stateless(own: PyTree, *args: Any, **kwargs: Any) -> Any:
            return model.apply(own, *((None,) if random else ()), *args, **kwargs)

        return open_tree(params, stateless)._replace(target=model.apply, skip=1 + random)
    if not isinstance(params, tuple | list) or len(params) != 2:
        raise TypeError("`jax_model` has a state beside its params; give both as (params, state)")

    def call(own: PyTree, *args: Any, **kwargs: Any) -> Any:
        leading = (own["params"], own["state"], *((None,) if random else ()))
        return model.apply(*leading, *args, **kwargs)[0]

    opened = open_tree({"params": params[0], "state": params[1]}, call)
    return opened._replace(target=model.apply, skip=2 + random)


def _init(
    init: Callable[..., Any],
    target: Callable[..., Any],
    skip: int,
    inputs: Arrays | None,
    modes: Mapping[str, Any],
) -> Callable[[], Any] | None:
    """`init` with a key and the inputs, or None if these are not known."""
    import jax

    if inputs is None:
        return None
    switched = {name: value for name, value in modes.items() if takes(target, name)}
    parameters = list(inspect.signature(target).parameters.values())[skip:]
    if all(parameter.default is not parameter.empty for parameter in parameters):
        return lambda: init(jax.random.key(0), **switched)  # shapes that do not depend on inputs
    given = {name: to_jax(array, "float32") for name, array in inputs.items()}
    args, kwargs = bind(functools.partial(target, **switched), skip, given)
    return lambda: init(jax.random.key(0), *args, **kwargs, **switched)


def _over_batch(opened: Opened, modes: Mapping[str, Any], inputs: Arrays) -> Opened:
    """The model mapped over the first axis of its inputs, if it takes them so and not as they are.

    Equinox's layers take single samples, where those of the other frameworks take batches.
    """
    import jax

    def mapped(own: PyTree, *args: Any, **kwargs: Any) -> Any:
        return jax.vmap(lambda args, kwargs: opened.call(own, *args, **kwargs))(args, kwargs)

    def runs(call: Callable[..., Any]) -> bool:
        try:
            args, kwargs = bind(functools.partial(opened.target, **modes), opened.skip, given)
            jax.eval_shape(lambda own: call(own, *args, **kwargs, **modes), opened.weights)
        except Exception:  # the user's code: what it raises as it is, is raised again when the model runs
            return False
        return True

    given = {name: to_jax(array, "float32") for name, array in inputs.items()}
    if runs(opened.call) or not runs(mapped):
        return opened
    note = "the Equinox model takes single samples: it was mapped over the first axis of its inputs"
    return opened._replace(call=mapped, notes=(*opened.notes, note))


def _takes_later(function: Callable[..., Any], name: str) -> bool:
    """Whether a callable has an argument of this name that is not its first."""
    return takes(function, name) and next(iter(inspect.signature(function).parameters)) != name


def _held(leaf: Any) -> Shaped[np.ndarray, "..."]:
    """A leaf as a NumPy array; of one that has only a shape, zeros to be loaded."""
    return hold_narrow(leaf) if hasattr(leaf, "__array__") else np.zeros(leaf.shape, np.float32)
