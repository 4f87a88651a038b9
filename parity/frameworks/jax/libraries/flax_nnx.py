"""Flax NNX modules."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
from jaxtyping import PyTree

from parity.frameworks.jax.functional import Functional, Modes, is_floating, loaded_module, replaced
from parity.frameworks.jax.libraries import KnownBy
from parity.numerics.arrays import Arrays

if TYPE_CHECKING:
    from flax import nnx

KNOWN_BY = KnownBy.CLASS
PACKAGES = ("flax",)


def owns(model: object) -> bool:
    """Whether this is a Flax NNX module.

    Args:
        model: any object.
    """
    nnx = loaded_module("flax.nnx")
    return nnx is not None and isinstance(model, nnx.Module)


def called(model: "nnx.Module") -> Callable[..., object]:
    """The function whose arguments are the model's inputs.

    Args:
        model: one that this library owns.
    """
    function: Callable[..., object] = type(model).__call__
    return function


def random_key(name: str) -> "nnx.Rngs | None":
    """What an argument for random numbers of this name gets, None for any key.

    Args:
        name: of the argument.
    """
    from flax import nnx

    return nnx.Rngs(0) if name == "rngs" else None


def open_model(
    model: "nnx.Module",
    params: PyTree | None,
    inputs: Arrays | None,
    modes: Modes,
    drawing: bool = False,
) -> Functional:
    """Open a module. See `open_nnx`.

    Args:
        model: the module.
        params: weights in the place of its own; None for these.
        inputs: not used: a module has its weights.
        modes: not used: a module has a mode of its own.
        drawing: whether its random draws are compared: then dropout stays as it is.
    """
    return open_nnx(model, params, drawing=drawing)


def open_function(function: Callable[..., PyTree], module: "nnx.Module", drawing: bool = False) -> Functional:
    """Open a function whose params are a module. See `open_nnx`.

    Args:
        function: `function(module, *inputs)`.
        module: the module.
        drawing: whether its random draws are compared: then dropout stays as it is.
    """
    return open_nnx(module, function=function, drawing=drawing)


def open_nnx(
    model: "nnx.Module",
    given: PyTree | None = None,
    function: Callable[..., PyTree] | None = None,
    *,
    drawing: bool = False,
) -> Functional:
    """Open a Flax NNX module in the mode it is in, as PyTorch's runs in its own, but without random numbers.

    Dropout that is on is switched off on a copy; that normalisation uses the batch's statistics stays.

    Args:
        model: the module.
        given: weights in the place of its own: a state, a pure dict, or a module of the same structure.
        function: `function(model, *inputs)`, to be called instead of the module.
        drawing: whether random draws are compared: then dropout stays as it is.
    """
    from flax import nnx

    def in_training(mode: str) -> str:
        modules = [module for _, module in nnx.iter_modules(model) if getattr(module, mode, None) is False]
        return ", ".join(sorted({type(module).__name__ for module in modules}))

    notes = []
    if batch := in_training("use_running_average"):
        notes.append(f"the Flax NNX model is in training mode ({batch}); for inference call model.eval()")
    if not drawing and (random := in_training("deterministic")):
        notes.append(f"the Flax NNX model was run with deterministic=True ({random}), on a copy")
    graph, state = nnx.split(model)
    model = nnx.merge(graph, state, copy=True)  # what follows works in place
    if not drawing:
        model.set_attributes(deterministic=True, raise_if_not_found=False)
    for _, module in nnx.iter_modules(model):
        if getattr(module, "deterministic", True) is None:  # its caller must say it
            module.deterministic = False
    graph, state, rest = nnx.split(model, lambda _, value: _all_floating(value), ...)
    trained = {path for path, value in nnx.to_flat_state(state) if isinstance(value, nnx.Param)}
    weights = nnx.to_pure_dict(state)
    updated: set[str] = set()
    if given is not None:
        if isinstance(given, nnx.Module):
            given = nnx.split(given, lambda _, value: _all_floating(value), ...)[1]
        weights = nnx.to_pure_dict(given) if isinstance(given, nnx.State) else given

    def run(own: PyTree, *args: object, **kwargs: object) -> tuple[PyTree, dict[str, jax.Array]]:
        filled = jax.tree.map(lambda leaf: leaf, state)  # replacing works in place, on this copy
        nnx.replace_by_pure_dict(filled, own)
        merged = nnx.merge(graph, filled, rest, copy=True)
        before = _floating(merged)
        out = merged(*args, **kwargs) if function is None else function(merged, *args, **kwargs)
        after = replaced(before, _floating(merged))
        updated.update(after)
        return out, after

    def call(own: PyTree, *args: object, **kwargs: object) -> PyTree:
        return run(own, *args, **kwargs)[0]

    def updates(own: PyTree, *args: object, **kwargs: object) -> dict[str, jax.Array]:
        return run(own, *args, **kwargs)[1]

    names = {"/".join(map(str, path)) for path in trained}
    target = type(model).__call__ if function is None else function
    return Functional(
        weights, call, target, 1, lambda path: path in names, tuple(notes), updated, updates, keeps_state=True
    )


def _floating(model: "nnx.Module") -> PyTree:
    """The floating leaves of a module, as they are now."""
    from flax import nnx

    return nnx.to_pure_dict(nnx.state(model, lambda _, value: _all_floating(value)))


def _all_floating(value: PyTree) -> bool:
    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(is_floating(leaf) for leaf in leaves)
