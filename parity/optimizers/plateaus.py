"""ReduceLROnPlateau as a state: the rate falls when a metric has stopped improving."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from torch.optim.lr_scheduler import ReduceLROnPlateau


class PlateauState(NamedTuple):
    """What the schedule has seen.

    Attributes:
        rates: the rate of each group in force, shape (groups,).
        best: the best metric so far.
        num_bad: scheduler steps without improvement.
        cooldown: scheduler steps left in which none is counted.
        updates: updates so far.
    """

    rates: Float[Array, " groups"]
    best: Float[Array, ""]
    num_bad: Int[Array, ""]
    cooldown: Int[Array, ""]
    updates: Int[Array, ""]


def start(scheduler: ReduceLROnPlateau) -> PlateauState:
    """The state of a scheduler as it is.

    Args:
        scheduler: of PyTorch.
    """
    zero = jnp.zeros((), jnp.int32)
    rates = [float(group["lr"]) for group in scheduler.optimizer.param_groups]
    return PlateauState(
        jnp.asarray(rates), jnp.asarray(float(scheduler.best)), zero + scheduler.num_bad_epochs,
        zero + scheduler.cooldown_counter, zero,
    )  # fmt: skip


def advance(
    scheduler: ReduceLROnPlateau, state: PlateauState, metric: Float[Array, ""], every: int
) -> PlateauState:
    """The state after an update; the metric is looked at behind every `every`-th.

    Args:
        scheduler: of PyTorch, for its settings.
        state: before.
        metric: what PyTorch's `scheduler.step(metric)` is given, shape ().
        every: updates for one step of the scheduler.

    Differs: the rate falls when the patience is exceeded and acts from the next update on;
    `optax.contrib.reduce_on_plateau` cuts when it is reached, and in the same update.
    """
    better = _is_better(scheduler, metric, state.best)
    num_bad = jnp.where(better, 0, state.num_bad + 1)
    cooling = state.cooldown > 0
    cooldown = jnp.where(cooling, state.cooldown - 1, state.cooldown)
    num_bad = jnp.where(cooling, 0, num_bad)
    cut = num_bad > scheduler.patience
    floors = jnp.asarray([float(rate) for rate in scheduler.min_lrs])
    lower = jnp.maximum(state.rates * scheduler.factor, floors)
    after = PlateauState(
        jnp.where(cut & (state.rates - lower > scheduler.eps), lower, state.rates),
        jnp.where(better, metric, state.best).astype(state.best.dtype),
        jnp.where(cut, 0, num_bad),
        jnp.where(cut, scheduler.cooldown, cooldown),
        state.updates + 1,
    )
    looked = after.updates % every == 0
    kept = state._replace(updates=after.updates)
    return PlateauState(*(jnp.where(looked, new, old) for new, old in zip(after, kept, strict=True)))


def _is_better(
    scheduler: ReduceLROnPlateau, metric: Float[Array, ""], best: Float[Array, ""]
) -> Bool[Array, ""]:
    sign = 1 if scheduler.mode == "min" else -1
    threshold = float(scheduler.threshold)
    if scheduler.threshold_mode == "rel":
        return sign * metric < sign * best * (1 - sign * threshold)
    return sign * metric < sign * best - threshold
