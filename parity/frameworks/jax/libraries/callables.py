"""Functions `f(params, *inputs)`, and objects that are called with their `params` as an argument.

Such an object is a Flax model of transformers; the params of a function may be a module of a library.
"""

import functools
import inspect
from collections.abc import Callable

from jaxtyping import PyTree

from parity.frameworks.jax.functional import Functional, Modes, from_tree, takes
from parity.frameworks.jax.libraries import HoldsParams, KnownBy, libraries
from parity.frameworks.task import type_in_words
from parity.numerics.arrays import Arrays

KNOWN_BY = KnownBy.BEING_CALLABLE
PACKAGES = ()


def owns(model: object) -> bool:
    """Whether this can be called.

    Args:
        model: any object.
    """
    return callable(model)


def called(model: Callable[..., PyTree]) -> Callable[..., object]:
    """The function whose arguments are the model's inputs.

    Args:
        model: one that this library owns.
    """
    return model


def open_model(
    model: Callable[..., PyTree],
    params: PyTree | None,
    inputs: Arrays | None,
    modes: Modes,
    drawing: bool = False,
) -> Functional:
    """Open a function together with its params.

    Args:
        model: the function.
        params: its params, any pytree; None where the object has its own.
        inputs: not used: a function does not draw its params.
        modes: not used: what reads the function passes them.
        drawing: whether random draws of a module among the params stay on.

    Raises:
        TypeError: if it comes without params.
    """
    if _takes_later(model, "params"):
        own = getattr(model, "params", None) if params is None else params
        if own is not None:
            functional = from_tree(own, lambda tree, *args, **kwargs: model(*args, params=tree, **kwargs))
            return functional._replace(target=functools.partial(model, params=None), skip=0)
    elif params is not None:
        for library in libraries():
            if isinstance(library, HoldsParams) and library.owns(params):
                return library.open_function(model, params, drawing)
        return from_tree(params, model)
    raise TypeError(
        f"the JAX model is {type_in_words(model)} without params; it must be a module of Flax or Equinox, or "
        "a function f(params, *inputs) given together with `template` or `params` (of the reference: "
        "`reference_params`), a pytree of arrays or shapes"
    )


def _takes_later(function: Callable[..., object], name: str) -> bool:
    """Whether a callable has an argument of this name that is not its first."""
    return takes(function, name) and next(iter(inspect.signature(function).parameters)) != name
