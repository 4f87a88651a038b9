"""Averages of weights over a run, as PyTorch's `swa_utils` keeps them: EMA and SWA."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree


class AverageState(NamedTuple):
    """Averaged weights.

    Attributes:
        num_averaged: how many have gone into the average, shape (), int32.
        average: a tree like the weights.
    """

    num_averaged: Int[Array, ""]
    average: PyTree


class Averaging(NamedTuple):
    """Two pure functions, in the manner of optax.

    Attributes:
        init: params -> state.
        update: (params, state) -> state, after each optimiser step that is to count.
    """

    init: Callable[[PyTree], AverageState]
    update: Callable[[PyTree, AverageState], AverageState]


def average_weights(decay: float | None = None) -> Averaging:
    """Average weights over a run: exponentially, or all alike.

        EMA   average + (1 - decay) (params - average)
        SWA   average + (params - average) / (n + 1)

    The first update copies the weights. Give it running statistics beside the weights for PyTorch's
    `use_buffers=True`; without them, they stay those of the last step. What `update_bn` computes is an equal
    average of the statistics of batches: `average_weights()` over these, from a fresh state.

    Args:
        decay: of the exponential average, in [0, 1]; None for the equal average.

    Returns:
        `init` and `update`.

    Raises:
        ValueError: if `decay` is outside of [0, 1].

    Differs: `optax.ema` averages updates and starts at zero; `optax.incremental_update` is one step of the
    exponential average, without the copy at the first.

    Source: ``torch.optim.swa_utils.AveragedModel``; Polyak and Juditsky 1992; Izmailov et al. 2018,
    algorithm 1.

    >>> averaging = average_weights()
    >>> state = averaging.init(jnp.zeros(()))
    >>> for value in (1.0, 2.0, 6.0):
    ...     state = averaging.update(jnp.asarray(value), state)
    >>> float(state.average)
    3.0
    """
    if decay is not None and not 0 <= decay <= 1:
        raise ValueError(f"`decay` is {decay}; it must be from 0 to 1, or None for an equal average")

    def init(params: PyTree) -> AverageState:
        return AverageState(jnp.zeros((), jnp.int32), params)

    def update(params: PyTree, state: AverageState) -> AverageState:
        def averaged(average: Array, param: Array) -> Array:
            count = (state.num_averaged + 1).astype(jnp.promote_types(average.dtype, jnp.float32))
            fresh = 1 / count if decay is None else jnp.where(state.num_averaged == 0, 1, 1 - decay)
            return jnp.asarray(average + fresh * (param - average), average.dtype)

        def moved(average: Array, param: Array) -> Array:
            inexact = jnp.issubdtype(jnp.result_type(average), jnp.inexact)
            return averaged(jnp.asarray(average), jnp.asarray(param)) if inexact else param

        return AverageState(state.num_averaged + 1, jax.tree.map(moved, state.average, params))

    return Averaging(init, update)


def averaging_of(function: object) -> Averaging:
    """An average of the user's own, from its `Averaging` or from one function.

    Args:
        function: an `Averaging`; or (average, params) -> average, or (average, params, num_averaged) ->
            average, called after every update of the params with trees alike, beginning at the first params.

    Returns:
        `init` and `update`.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(function, Averaging):
        return function
    if not callable(function):
        raise TypeError(
            f"`average` ends with a {type(function).__name__}; it must be the decay of an exponential "
            "average, a `parity.optimizers.Averaging`, or a function (average, params) -> average"
        )
    kinds = inspect.Parameter
    taken = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]

    def update(params: PyTree, state: AverageState) -> AverageState:
        counted = (int(state.num_averaged),) if len(taken) > 2 else ()
        return AverageState(state.num_averaged + 1, function(state.average, params, *counted))

    return Averaging(lambda params: AverageState(jnp.zeros((), jnp.int32), params), update)
