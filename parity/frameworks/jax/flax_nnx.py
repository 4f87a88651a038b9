"""Flax NNX modules."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import PyTree

from parity.frameworks.jax.functional import Functional, is_floating, loaded_module
from parity.numerics.arrays import Arrays


def owns(model: Any) -> bool:
    """Whether this is a Flax NNX module.

    Args:
        model: any object.
    """
    nnx = loaded_module("flax.nnx")
    return nnx is not None and isinstance(model, nnx.Module)


def called(model: Any) -> Callable[..., Any]:
    """The function whose arguments are the model's inputs.

    Args:
        model: one that this library owns.
    """
    return type(model).__call__


def random_key(name: str) -> Any:
    """What an argument for random numbers of this name gets, None for any key.

    Args:
        name: of the argument.
    """
    return loaded_module("flax.nnx").Rngs(0) if name == "rngs" else None


def open_model(
    model: Any,
    params: PyTree | None,
    inputs: Arrays | None,
    modes: Mapping[str, Any],
    function: Callable[..., Any] | None = None,
) -> Functional:
    """Open a module. See `open_nnx`.

    Args:
        model: the module.
        params: weights in the place of its own; None for these.
        inputs: not used: a module has its weights.
        modes: not used: a module has a mode of its own.
        function: `function(model, *inputs)`, to be called instead of the module.
    """
    return open_nnx(model, params, function)


def open_nnx(
    model: Any, given: PyTree | None = None, function: Callable[..., Any] | None = None
) -> Functional:
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
    return Functional(weights, call, target, 1, lambda path: path in names, tuple(notes))


def _all_floating(value: Any) -> bool:
    import jax

    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(is_floating(leaf) for leaf in leaves)
