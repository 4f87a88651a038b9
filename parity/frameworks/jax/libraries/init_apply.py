"""Pairs of functions with the names `init` and `apply`, such as Haiku's `transform` makes."""

import inspect
from collections.abc import Callable
from typing import Protocol

import jax
from jaxtyping import PyTree

from parity.frameworks.jax.functional import (
    KEYS,
    MODES,
    Functional,
    Modes,
    from_tree,
    replaced,
    with_updates,
)
from parity.frameworks.jax.initialising import initialiser
from parity.frameworks.jax.libraries import KnownBy
from parity.numerics.arrays import Arrays

KNOWN_BY = KnownBy.ATTRIBUTES
PACKAGES = ("haiku",)

INFERRING = frozenset(name for name, value in MODES.items() if value)
"""Switches that are off in training."""


class InitApply(Protocol):
    """The pair: `init(rng, ...)` makes params, or (params, state), for `apply`."""

    @property
    def init(self) -> Callable[..., PyTree]:
        """Makes the params."""

    @property
    def apply(self) -> Callable[..., PyTree]:
        """Calls the model: `apply(params, [state,] [rng,] *inputs)`."""


def owns(model: object) -> bool:
    """Whether this has both functions.

    Args:
        model: any object.
    """
    return hasattr(model, "init") and hasattr(model, "apply")


def called(model: InitApply) -> Callable[..., object]:
    """The function whose arguments are the model's inputs.

    Args:
        model: one that this library owns.
    """
    return model.apply


def open_model(
    model: InitApply, params: PyTree | None, inputs: Arrays | None, modes: Modes, drawing: bool = False
) -> Functional:
    """Open a pair of functions: `apply(params, [state,] [rng,] *inputs)`, and `init(rng, ...)` for params.

    Args:
        model: an object with `init` and `apply`.
        params: params, or (params, state); None for those that `init` makes.
        inputs: arrays by argument name; None if they are not known.
        modes: arguments that put the model in inference mode, or in training mode.
        drawing: whether its random draws are compared: then it gets a key.

    Raises:
        TypeError: if params are missing and cannot be made, or a state is missing beside them.
    """
    names = list(inspect.signature(model.apply).parameters)
    stateful = "state" in names[1:2]
    random = any(name in KEYS for name in names[1 + stateful : 2 + stateful])
    key = jax.random.key(0) if drawing else None
    if params is None:
        # Haiku's statistics come to be in training mode only.
        training = {
            name: name not in INFERRING if isinstance(value, bool) else value for name, value in modes.items()
        }
        init = initialiser(model.init, model.init, 1, inputs, training)
        if init is None:
            raise TypeError(
                "the JAX model comes without params; give `template`, e.g. jax.eval_shape(init, key, x)"
            )
        params = jax.eval_shape(init)
        if stateful:  # statistics and counters have values of their own
            params = (params[0], jax.jit(lambda: init()[1])())
    if not stateful:

        def stateless(own: PyTree, *args: object, **kwargs: object) -> PyTree:
            return model.apply(own, *((key,) if random else ()), *args, **kwargs)

        return from_tree(params, stateless)._replace(target=model.apply, skip=1 + random)
    if not isinstance(params, tuple | list) or len(params) != 2:
        raise TypeError("the JAX model has a state beside its params; give both as (params, state)")

    updated: set[str] = set()

    def run(own: PyTree, *args: object, **kwargs: object) -> tuple[PyTree, dict[str, jax.Array]]:
        leading = (own["params"], own["state"], *((key,) if random else ()))
        out, after = model.apply(*leading, *args, **kwargs)
        found = {f"state/{path}": leaf for path, leaf in replaced(own["state"], after).items()}
        updated.update(found)
        return out, found

    return with_updates({"params": params[0], "state": params[1]}, run)._replace(
        target=model.apply, skip=2 + random, updated=updated
    )
