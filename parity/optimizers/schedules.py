"""Schedulers of PyTorch as schedules of optax, and what they move in each parameter group."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
import torch
from jaxtyping import Array, Float, Int
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from parity.optimizers.closed_schedules import Form, closed_form
from parity.optimizers.history import Options
from parity.optimizers.replayed_schedules import Replay


class Moving(NamedTuple):
    """What a schedule moves in one parameter group.

    Attributes:
        options: (updates so far, rates of all groups that a metric has decided or None) -> options by the
            names "lr" and "momentum" (Adam's first beta).
        by_count: whether the count decides, and no metric.
    """

    options: Callable[[Int[Array, ""], Float[Array, " groups"] | None], Options]
    by_count: bool


def to_schedule(scheduler: LRScheduler, *, group: int = 0, updates_per_step: int = 1) -> optax.Schedule:
    """Translate a scheduler of PyTorch to a schedule of optax.

    Closed forms where PyTorch's class has one. Others (a Python function, a product of schedules, a class of
    the user's own) are asked on the host, by a callback: right for every scheduler whose rates depend on
    nothing but its steps, and as slow as Python.

    Args:
        scheduler: of `torch.optim.lr_scheduler`, or a subclass, as configured.
        group: which parameter group, from 0.
        updates_per_step: optimiser updates for one `scheduler.step()`: 1 where it follows every update, the
            number of batches where it follows an epoch.

    Returns:
        A function of the count of updates, from 0, to the learning rate.

    Raises:
        TypeError: if it is no scheduler, or depends on a metric (ReduceLROnPlateau: give it to `to_optax`).
        ValueError: if `updates_per_step` is below 1, there is no such group, or a scheduler that has to be
            asked has stepped already.

    Differs: optax divides an integer count by an integer, which is float32 in JAX in every precision; here
    the count is converted first. OneCycleLR raises behind its last step in PyTorch; here it keeps its last
    rate.

    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> schedule = to_schedule(torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5))
    >>> [float(schedule(jnp.asarray(count))) for count in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    _require_usable(scheduler, updates_per_step)
    if isinstance(scheduler, ReduceLROnPlateau):
        raise TypeError(
            "ReduceLROnPlateau depends on a metric and is no function of the count: pass it to "
            "`to_optax(scheduler=)` and the metric to `update(..., value=)`"
        )
    forms = _forms(scheduler, updates_per_step)
    if not 0 <= group < len(forms):
        raise ValueError(f"`group` is {group}; the optimiser has {len(forms)} groups, counted from 0")
    return lambda count: forms[group](jnp.asarray(count))["lr"]


def moving_options(
    optimizer: torch.optim.Optimizer, scheduler: object, updates_per_step: int
) -> list[Moving | None]:
    """What moves in each parameter group of an optimiser.

    Args:
        optimizer: of PyTorch.
        scheduler: its scheduler, or None.
        updates_per_step: as in `to_schedule`.

    Returns:
        One entry for each group; None where nothing moves.

    Raises:
        TypeError: if it is no scheduler of PyTorch.
        ValueError: as in `to_schedule`, or if it was built over another optimiser.
    """
    numbers = range(len(optimizer.param_groups))
    if scheduler is None:
        return [None for _ in numbers]
    _require_usable(scheduler, updates_per_step)
    if scheduler.optimizer is not optimizer:  # type: ignore[attr-defined]
        raise ValueError("`scheduler` was built over another optimiser than `torch_optimizer`; pass its own")
    if isinstance(scheduler, ReduceLROnPlateau):
        return [_by_metric(number) for number in numbers]
    return [_by_count(form) for form in _forms(scheduler, updates_per_step)]


def _by_metric(number: int) -> Moving:
    def options(count: Int[Array, ""], rates: Float[Array, " groups"] | None) -> Options:
        del count
        return {} if rates is None else {"lr": rates[number]}

    return Moving(options, by_count=False)


def _by_count(form: Callable[[Int[Array, ""]], Options]) -> Moving:
    return Moving(lambda count, rates: form(count), by_count=True)


def _forms(scheduler: Any, updates_per_step: int) -> list[Callable[[Int[Array, ""]], Options]]:
    """Updates so far -> what moves, for each group."""
    closed = [closed_form(scheduler, number) for number in range(len(scheduler.optimizer.param_groups))]
    known = [form for form in closed if form is not None]
    if len(known) == len(closed):
        return [_counted(form, updates_per_step) for form in known]
    replay = Replay(scheduler)

    def asked(number: int) -> Callable[[Int[Array, ""]], Options]:
        return lambda count: replay.form(number, count // updates_per_step)

    return [asked(number) for number in range(len(closed))]


def _counted(form: Form, updates_per_step: int) -> Callable[[Int[Array, ""]], Options]:
    return lambda count: form((count // updates_per_step).astype(jnp.result_type(float)))


def _require_usable(scheduler: object, updates_per_step: int) -> None:
    if not isinstance(scheduler, LRScheduler | ReduceLROnPlateau):
        raise TypeError(
            f"`scheduler` is a {type(scheduler).__name__}; it must be one of `torch.optim.lr_scheduler`, "
            "built over the optimiser"
        )
    if updates_per_step < 1:
        raise ValueError(f"`updates_per_step` is {updates_per_step}; it must be at least 1")
