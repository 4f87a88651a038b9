"""Equinox modules, alone or with their `eqx.nn.State`."""

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import jax
from jaxtyping import PyTree

from parity.frameworks.jax.functional import (
    Functional,
    Modes,
    from_tree,
    is_floating,
    loaded_module,
    takes,
)
from parity.frameworks.jax.libraries import KnownBy
from parity.frameworks.jax.trees import flatten
from parity.frameworks.jax.wide_dtypes import is_key
from parity.frameworks.task import bind
from parity.numerics.arrays import Arrays, to_jax

if TYPE_CHECKING:
    import equinox as eqx

KNOWN_BY = KnownBy.CLASS
PACKAGES = ("equinox",)

Model: TypeAlias = "eqx.Module | tuple[eqx.Module, eqx.nn.State]"
"""A module, or a pair of one with its state, which is called as `module(x, state) -> (output, state)`."""


def owns(model: object) -> bool:
    """Whether this is an Equinox module, or (module, state); wrappers of functions are not.

    Args:
        model: any object.
    """
    equinox = loaded_module("equinox")
    if equinox is None:
        return False
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[1], equinox.nn.State):
        return True
    # Wrappers such as eqx.filter_jit(f) are Equinox modules, too, but hold functions and no arrays.
    wrapper = type(model).__module__.startswith("equinox._")
    return isinstance(model, equinox.Module) and (not wrapper or _has_weights(model))


def called(model: Model) -> Callable[..., object]:
    """The function whose arguments are the model's inputs.

    Args:
        model: one that this library owns.
    """
    return type(model[0] if isinstance(model, tuple) else model).__call__


def random_key(name: str) -> None:
    """What an argument for random numbers of this name gets, None for any key.

    Args:
        name: of the argument.
    """


def open_model(
    model: Model, params: PyTree | None, inputs: Arrays | None, modes: Modes, drawing: bool = False
) -> Functional:
    """Open a module; one that takes single samples is mapped over the first axis of `inputs`.

    Args:
        model: the module, or (module, state).
        params: another module of the same structure, whose weights are taken; None for the model's own.
        inputs: arrays by argument name; None if they are not known.
        modes: arguments that put the model in inference mode, and a key.
        drawing: whether its random draws are compared: then it stays in the mode it is in.
    """
    functional = open_equinox(model if params is None else params, drawing=drawing)
    return functional if inputs is None else _over_batch(functional, modes, inputs)


def open_function(function: Callable[..., PyTree], module: Model, drawing: bool = False) -> Functional:
    """Open a function whose params are a module. See `open_equinox`.

    Args:
        function: `function(module, *inputs)`; it decides what is mapped over the samples.
        module: the module, or (module, state).
        drawing: whether its random draws are compared: then it stays in the mode it is in.
    """
    return open_equinox(module, function, drawing=drawing)


def open_equinox(
    model: Model, function: Callable[..., PyTree] | None = None, *, drawing: bool = False
) -> Functional:
    """Open an Equinox module, or a pair of one with its `eqx.nn.State`, in inference mode.

    Args:
        model: the module, or (module, state).
        function: `function(model, *inputs)`, to be called instead of the module.
        drawing: whether to leave it in the mode it is in.
    """
    import equinox as eqx

    notes: tuple[str, ...] = ()
    # Where it says so a module ends the walk, so that only such modules and arrays are leaves.
    if not drawing and any(map(_is_training, jax.tree.leaves(model, is_leaf=_is_training))):
        model = eqx.nn.inference_mode(model)
        notes = ("the Equinox model was run in eqx.nn.inference_mode",)
    if function is not None:
        return from_tree(model, function)._replace(notes=notes)
    if not isinstance(model, tuple):
        functional = from_tree(model, lambda whole, *args, **kwargs: whole(*args, **kwargs))
        return functional._replace(target=type(model).__call__, notes=notes)

    def call(whole: PyTree, *args: object, **kwargs: object) -> PyTree:
        module, state = whole["model"], whole["state"]
        if takes(type(module).__call__, "state"):
            return module(*args, state=state, **kwargs)[0]
        return module(*args, state, **kwargs)[0]

    functional = from_tree({"model": model[0], "state": model[1]}, call)
    return functional._replace(
        target=_without_state(type(model[0]).__call__),
        is_trainable=lambda path: path.startswith("model/"),
        notes=notes,
    )


def _over_batch(functional: Functional, modes: Modes, inputs: Arrays) -> Functional:
    """The model mapped over the first axis of its inputs, if it takes them so and not as they are.

    Equinox's layers take single samples, where those of the other libraries take batches.
    """

    def mapped(own: PyTree, *args: object, **kwargs: object) -> PyTree:
        fixed = {name: value for name, value in kwargs.items() if name in modes and not is_key(value)}
        named = {name: value for name, value in kwargs.items() if name not in modes}
        size = len(jax.tree.leaves((args, named))[0])
        keys = {  # one for each sample: a mask of its own
            name: jax.random.split(value, size)  # type: ignore[arg-type]
            for name, value in kwargs.items()
            if is_key(value)
        }
        return jax.vmap(lambda args, named: functional.call(own, *args, **named, **fixed))(
            args, {**named, **keys}
        )

    def runs(call: Callable[..., PyTree]) -> bool:
        try:
            args, kwargs = bind(functools.partial(functional.target, **modes), functional.skip, given)
            jax.eval_shape(lambda own: call(own, *args, **kwargs, **modes), functional.weights)
        except Exception:  # the user's code: what it raises as it is, is raised again when the model runs
            return False
        return True

    given = {name: to_jax(array, "float32") for name, array in inputs.items()}
    if runs(functional.call) or not runs(mapped):
        return functional
    note = "the Equinox model takes single samples: it was mapped over the first axis of its inputs"
    return functional._replace(call=mapped, notes=(*functional.notes, note))


def _has_weights(model: "eqx.Module") -> bool:
    return any(map(is_floating, flatten(model)[0].values()))


def _is_training(part: object) -> bool:
    return getattr(part, "inference", None) is False


def _without_state(function: Callable[..., object]) -> Callable[..., object]:
    """The same argument names but for the state, which is not an input."""
    signature = inspect.signature(function)
    names = list(signature.parameters)
    state = "state" if "state" in names else next(n for n in reversed(names) if n != "key")

    def stateless(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    rest = [p for name, p in signature.parameters.items() if name != state]
    stateless.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    return stateless
