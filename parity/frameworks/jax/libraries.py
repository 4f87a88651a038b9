"""The weights of Flax, Equinox and Haiku models, and of any pytree, as leaves to be loaded.

Every floating leaf counts as a weight: parameters, normalisation statistics, caches, tables. Integers,
booleans, random keys and what is no array are kept as they are. A framework is looked up among the modules
that are loaded already, and never imported for a model that is not its own.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import PyTree

from parity.frameworks.jax.trees import flatten

INVALID_RNG = (
    "the JAX model draws random numbers (dropout left on?): give it a switch such as `train` or "
    "`deterministic`, which the harness sets, or switch the layer off"
)
"""What to do about a layer that needs random numbers in a comparison that has none."""


class Opened(NamedTuple):
    """A model taken apart.

    Attributes:
        weights: the floating leaves in the model's own structure, None in the place of others.
        call: `call(weights, *args, **kwargs)`.
        target: what to read the argument names from.
        skip: how many leading arguments of `target` are not inputs.
        is_trainable: whether the leaf at a path is trained, rather than a statistic.
        notes: what was done to the model.
    """

    weights: PyTree
    call: Callable[..., Any]
    target: Callable[..., Any]
    skip: int
    is_trainable: Callable[[str], bool] = lambda path: True
    notes: tuple[str, ...] = ()


def open_nnx(model: Any, given: PyTree | None = None, function: Callable[..., Any] | None = None) -> Opened:
    """Open a Flax NNX module in the mode it is in, as PyTorch's runs in its own, but without random numbers.

    Dropout that is on is switched off on a copy; that normalisation uses the batch's statistics stays.

    Args:
        model: the module.
        given: weights in the place of its own: a state, a pure dict, or a module of the same structure.
        function: `function(model, *inputs)`, to be called instead of the module.
    """
    import jax
    from flax import nnx

    def in_training(mode: str) -> str:
        modules = [module for _, module in nnx.iter_modules(model) if getattr(module, mode, None) is False]
        return ", ".join(sorted({type(module).__name__ for module in modules}))

    notes = []
    if batch := in_training("use_running_average"):
        notes.append(f"the Flax NNX model is in training mode ({batch}); for inference call model.eval()")
    if random := in_training("deterministic"):
        notes.append(f"the Flax NNX model was run with deterministic=True ({random}), on a copy")
    graph, state = nnx.split(model)
    model = nnx.merge(graph, state, copy=True)  # the line below works in place
    model.set_attributes(deterministic=True, raise_if_not_found=False)
    graph, state, rest = nnx.split(model, lambda _, value: _all_floating(value), ...)
    trained = {path for path, value in nnx.to_flat_state(state) if isinstance(value, nnx.Param)}
    weights = nnx.to_pure_dict(state)
    if given is not None:
        if isinstance(given, nnx.Module):
            given = nnx.split(given, lambda _, value: _all_floating(value), ...)[1]
        weights = nnx.to_pure_dict(given) if isinstance(given, nnx.State) else given

    def call(own: PyTree, *args: Any, **kwargs: Any) -> Any:
        filled = jax.tree.map(lambda leaf: leaf, state)  # replacing works in place, on this copy
        nnx.replace_by_pure_dict(filled, own)
        merged = nnx.merge(graph, filled, rest, copy=True)
        return merged(*args, **kwargs) if function is None else function(merged, *args, **kwargs)

    names = {"/".join(map(str, path)) for path in trained}
    target = type(model).__call__ if function is None else function
    return Opened(weights, call, target, 1, lambda path: path in names, tuple(notes))


def open_linen(module: Any, variables: PyTree | None, init: Callable[[], PyTree] | None) -> Opened:
    """Open a Flax Linen module.

    Args:
        module: the module; one that is bound comes with its variables.
        variables: all collections, or `params` alone; None for the module's own.
        init: draws all collections; None if the inputs are not known.

    Raises:
        TypeError: if there is nothing to take the variables from.
    """
    import jax
    from flax import errors
    from flax.core import meta, unfreeze

    if module.scope is not None:
        module, bound = module.unbind()
        variables = bound if variables is None else variables
    shapes = None if init is None else unfreeze(meta.unbox(jax.eval_shape(init)))
    if variables is None and shapes is None:
        raise TypeError(
            "`jax_model` is a Flax Linen module without variables; give `template`, e.g. "
            "jax.eval_shape(module.init, key, x)"
        )
    given = {} if variables is None else unfreeze(meta.unbox(variables))
    known = {"params", *(shapes or ())}
    if given and not (set(given) <= known or "params" in given):
        given = {"params": given}
    notes: tuple[str, ...] = ()
    if shapes is not None and init is not None and (absent := [c for c in shapes if c not in given]):
        # Tables and counters have values of their own; parameters are only shapes, to be loaded.
        drawn = [c for c in absent if c != "params"]
        values = jax.jit(lambda: {c: meta.unbox(init())[c] for c in drawn})() if drawn else {}
        given = {**{c: shapes[c] for c in absent}, **unfreeze(values), **given}
        if variables is not None:
            notes = (f"the collections {', '.join(absent)} of the Linen module are as after init",)

    def function(own: PyTree, *args: Any, **kwargs: Any) -> Any:
        try:
            return module.apply(own, *args, **kwargs)
        except errors.InvalidRngError as error:
            error.add_note(INVALID_RNG)
            raise
        except errors.ModifyScopeVariableError as error:
            error.add_note("the JAX model updates its statistics: it must run in inference mode")
            raise

    opened = open_tree(given, function)
    return opened._replace(target=type(module).__call__, notes=notes)


def open_equinox(model: Any, function: Callable[..., Any] | None = None) -> Opened:
    """Open an Equinox module, or a pair of one with its `eqx.nn.State`, in inference mode.

    Args:
        model: the module, or (module, state), which is called as `module(x, state) -> (output, state)`.
        function: `function(model, *inputs)`, to be called instead of the module.
    """
    import equinox as eqx
    import jax

    notes: tuple[str, ...] = ()
    # Where it says so a module ends the walk, so that only such modules and arrays are leaves.
    if any(map(_is_training, jax.tree.leaves(model, is_leaf=_is_training))):
        model = eqx.nn.inference_mode(model)
        notes = ("the Equinox model was run in eqx.nn.inference_mode",)
    if function is not None:
        return open_tree(model, function)._replace(notes=notes)
    if not isinstance(model, tuple):
        opened = open_tree(model, lambda whole, *args, **kwargs: whole(*args, **kwargs))
        return opened._replace(target=type(model).__call__, notes=notes)

    def call(whole: PyTree, *args: Any, **kwargs: Any) -> Any:
        module, state = whole["model"], whole["state"]
        if takes(type(module).__call__, "state"):
            return module(*args, state=state, **kwargs)[0]
        return module(*args, state, **kwargs)[0]

    opened = open_tree({"model": model[0], "state": model[1]}, call)
    return opened._replace(
        target=_without_state(type(model[0]).__call__),
        is_trainable=lambda path: path.startswith("model/"),
        notes=notes,
    )


def open_tree(tree: PyTree, function: Callable[..., Any]) -> Opened:
    """Open any pytree of arrays or shapes, with the function `f(tree, *inputs)` that takes it.

    In a tree with a `params` collection the leaves of the others (statistics, caches) are not trained.

    Raises:
        ValueError: if a leaf that is kept as it is, such as an integer, has only a shape.
    """
    import jax

    leaves, structure = flatten(tree)
    kept = {path: leaf for path, leaf in leaves.items() if not is_floating(leaf)}
    if shapes := [path for path, leaf in kept.items() if isinstance(leaf, jax.ShapeDtypeStruct)]:
        raise ValueError(
            f"the template has only shapes for {', '.join(shapes)}; what is not floating is kept as it is, "
            "so give its values"
        )
    weights = structure.build({path: None if path in kept else leaf for path, leaf in leaves.items()})

    def call(own: PyTree, *args: Any, **kwargs: Any) -> Any:
        floating, _ = flatten(own)
        return function(structure.build({**kept, **floating}), *args, **kwargs)

    collections = isinstance(tree, Mapping) and isinstance(tree.get("params"), Mapping)
    return Opened(weights, call, function, 1, lambda path: not collections or path.startswith("params/"))


def loaded(name: str) -> Any:
    """A framework's module if the user's program has loaded it, else None."""
    return sys.modules.get(name)


def is_floating(leaf: Any) -> bool:
    """Whether a leaf is a floating array or its shape; Python's own numbers are settings, not weights."""
    import jax.numpy as jnp

    dtype = getattr(leaf, "dtype", None)
    return hasattr(leaf, "shape") and dtype is not None and bool(jnp.issubdtype(dtype, jnp.floating))


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has an argument of this name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # builtins and some compiled callables have no signature
        return False


def _is_training(part: Any) -> bool:
    return getattr(part, "inference", None) is False


def _all_floating(value: Any) -> bool:
    import jax

    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(is_floating(leaf) for leaf in leaves)


def _without_state(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same argument names but for the state, which is not an input."""
    signature = inspect.signature(function)
    names = list(signature.parameters)
    state = "state" if "state" in names else next(n for n in reversed(names) if n != "key")

    def stateless(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    rest = [p for name, p in signature.parameters.items() if name != state]
    stateless.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    return stateless
