"""Params that a model draws for itself, from the inputs it is given."""

import functools
import inspect
from collections.abc import Callable

import jax
from jaxtyping import PyTree

from parity.frameworks.jax.functional import Modes, takes
from parity.frameworks.task import bind
from parity.numerics.arrays import Arrays, to_jax


def initialiser(
    init: Callable[..., PyTree],
    target: Callable[..., object],
    skip: int,
    inputs: Arrays | None,
    modes: Modes,
) -> Callable[[], PyTree] | None:
    """Bind `init` to a key and the inputs.

    Args:
        init: `init(key, *inputs, **modes)`.
        target: the function whose signature says which arguments there are.
        skip: how many leading arguments of `target` are not inputs.
        inputs: arrays by argument name; None if they are not known.
        modes: arguments that put the model in inference mode.

    Returns:
        A function without arguments that draws the params; None if the inputs are not known.

    Raises:
        TypeError: if the inputs do not fit the signature.
    """
    if inputs is None:
        return None
    switched = {name: value for name, value in modes.items() if takes(target, name)}
    parameters = list(inspect.signature(target).parameters.values())[skip:]
    if all(parameter.default is not parameter.empty for parameter in parameters):
        return lambda: init(jax.random.key(0), **switched)  # shapes that do not depend on inputs
    given = {name: to_jax(array, "float32") for name, array in inputs.items()}
    args, kwargs = bind(functools.partial(target, **switched), skip, given)
    return lambda: init(jax.random.key(0), *args, **kwargs, **switched)
