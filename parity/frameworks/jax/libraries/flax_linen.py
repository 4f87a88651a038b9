"""Flax Linen modules, bound or not, and their `apply`, compiled or not."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
from jaxtyping import PyTree

from parity.frameworks.jax.functional import Functional, Modes, loaded_module, replaced, with_updates
from parity.frameworks.jax.initialising import initialiser
from parity.frameworks.jax.libraries import KnownBy
from parity.numerics.arrays import Arrays

if TYPE_CHECKING:
    from flax import linen

KNOWN_BY = KnownBy.CLASS
PACKAGES = ("flax",)

INVALID_RNG = (
    "the JAX model draws random numbers (dropout left on?): give it a switch such as `train` or "
    "`deterministic`, which the harness sets, or switch the layer off"
)
"""What to do about a layer that needs random numbers in a comparison that has none."""


def owns(model: object) -> bool:
    """Whether this is a Flax Linen module, or `apply` of one.

    Args:
        model: any object.
    """
    linen = loaded_module("flax.linen")
    return linen is not None and isinstance(module_of(model), linen.Module)


def called(model: object) -> Callable[..., object]:
    """The function whose arguments are the model's inputs.

    Args:
        model: one that this library owns.
    """
    function: Callable[..., object] = type(module_of(model)).__call__
    return function


def random_key(name: str) -> None:
    """What an argument for random numbers of this name gets, None for any key.

    Args:
        name: of the argument.
    """


def wants_mode(model: object, name: str) -> bool:
    """Whether the caller must give a mode whose default is None: Linen takes it from one place only.

    Args:
        model: one that this library owns.
        name: of the mode.
    """
    return getattr(module_of(model), name, None) is None


def module_of(model: object) -> "linen.Module":
    """The module behind `module.apply`, compiled or not; anything else as it is.

    Args:
        model: any object.
    """
    while hasattr(model, "lower") and hasattr(model, "__wrapped__"):
        model = model.__wrapped__
    return model.__self__ if getattr(model, "__name__", "") == "apply" and inspect.ismethod(model) else model


def open_model(
    model: object, params: PyTree | None, inputs: Arrays | None, modes: Modes, drawing: bool = False
) -> Functional:
    """Open a module with its variables, or with those that it draws for `inputs`. See `open_linen`.

    Args:
        model: the module, or its `apply`.
        params: all collections, or `params` alone; None for the module's own, or those drawn from a key.
        inputs: arrays by argument name; None if they are not known.
        modes: arguments that put the model in inference mode, or in training mode.
        drawing: whether its random draws are compared: then it gets a key, and may update its statistics.
    """
    module = module_of(model)
    init = initialiser(module.init, type(module).__call__, 1, inputs, modes)
    return open_linen(module, params, init, drawing=drawing)


def open_linen(
    module: "linen.Module",
    variables: PyTree | None,
    init: Callable[[], PyTree] | None,
    *,
    drawing: bool = False,
) -> Functional:
    """Open a Flax Linen module.

    Args:
        module: the module; one that is bound comes with its variables.
        variables: all collections, or `params` alone; None for the module's own.
        init: draws all collections; None if the inputs are not known.
        drawing: whether it is applied with a key, from which every random stream is drawn.

    Raises:
        TypeError: if there is nothing to take the variables from.
    """
    from flax import errors
    from flax.core import meta, unfreeze

    if module.scope is not None:
        module, bound = module.unbind()
        variables = bound if variables is None else variables
    shapes = None if init is None else unfreeze(meta.unbox(jax.eval_shape(init)))
    if variables is None and shapes is None:
        raise TypeError(
            "the JAX model is a Flax Linen module without variables; give `template`, e.g. "
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

    updated: set[str] = set()
    states = [collection for collection in given if collection != "params"]

    def run(own: PyTree, *args: object, **kwargs: object) -> tuple[PyTree, dict[str, jax.Array]]:
        try:
            # A stream without a key of its own takes that of `params`.
            rngs = {"rngs": {"params": jax.random.key(0)}} if drawing else {}
            try:
                return module.apply(own, *args, **kwargs, **rngs), {}
            except errors.ModifyScopeVariableError:
                if not states:
                    raise
                out, after = module.apply(own, *args, **kwargs, **rngs, mutable=states)
            found = replaced({name: own[name] for name in states}, meta.unbox(unfreeze(after)))
            updated.update(found)
            return out, found
        except errors.InvalidRngError as error:
            error.add_note(INVALID_RNG)
            raise
        except errors.ModifyScopeVariableError as error:
            error.add_note("the JAX model updates its statistics: it must run in inference mode")
            raise

    functional = with_updates(given, run)
    return functional._replace(target=type(module).__call__, notes=notes, updated=updated)
