"""PyTorch's schedules as closed forms of the number of scheduler steps, one parameter group at a time.

PyTorch computes most rates from the one before; these are the same numbers to rounding, for any step. `time`
counts the scheduler's steps from 0 and has a floating dtype: an integer divided by an integer would be
float32 in JAX, whatever the dtype of the weights.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from torch.optim import lr_scheduler

from parity.optimizers.history import Options
from parity.optimizers.rules import Scalar

Form = Callable[[Scalar], Options]
"""Scheduler steps so far -> the options that move, by PyTorch's names."""


def _between(low: float, high: float, share: Scalar) -> Scalar:
    """From `low` at a share of 0 to `high` at 1."""
    return low + (high - low) * share


def _half_cosine(share: Scalar) -> Scalar:
    """From 1 at 0 to 0 at 1 along a cosine."""
    return (1 + jnp.cos(math.pi * share)) / 2


def _constant(s: Any, base: float, time: Scalar) -> Scalar:
    return jnp.where(time < s.total_iters, base * s.factor, base)


def _linear(s: Any, base: float, time: Scalar) -> Scalar:
    share = jnp.minimum(time, s.total_iters) / s.total_iters
    return base * _between(s.start_factor, s.end_factor, share)


def _step(s: Any, base: float, time: Scalar) -> Scalar:
    return base * jnp.power(s.gamma, jnp.floor(time / s.step_size))


def _multi_step(s: Any, base: float, time: Scalar) -> Scalar:
    passed = jnp.zeros_like(time)
    for milestone, times in s.milestones.items():
        passed += jnp.where(time >= milestone, float(times), 0.0)
    return base * jnp.power(s.gamma, passed)


def _exponential(s: Any, base: float, time: Scalar) -> Scalar:
    return base * jnp.power(s.gamma, time)


def _polynomial(s: Any, base: float, time: Scalar) -> Scalar:
    # The difference of whole numbers first: exactly 0 at the end, and never below.
    left = s.total_iters - jnp.minimum(time, s.total_iters)
    return base * jnp.power(left / s.total_iters, s.power)


def _cosine(s: Any, base: float, time: Scalar) -> Scalar:
    return _between(s.eta_min, base, _half_cosine(time / s.T_max))


def _warm_restarts(s: Any, base: float, time: Scalar) -> Scalar:
    if s.T_mult == 1:
        return _between(s.eta_min, base, _half_cosine(jnp.mod(time, s.T_0) / s.T_0))

    def start(cycle: Scalar) -> Scalar:
        return jnp.round((jnp.power(float(s.T_mult), cycle) - 1) * (s.T_0 / (s.T_mult - 1)))

    cycle = jnp.floor(jnp.log(time / s.T_0 * (s.T_mult - 1) + 1) / math.log(s.T_mult))
    # The logarithm may round to the other side of a restart.
    cycle = jnp.where(time >= start(cycle + 1), cycle + 1, cycle)
    cycle = jnp.where(time < start(cycle), cycle - 1, cycle)
    length = s.T_0 * jnp.power(float(s.T_mult), cycle)
    return _between(s.eta_min, base, _half_cosine((time - start(cycle)) / length))


_RATES: Mapping[type[Any], Callable[[Any, float, Scalar], Scalar]] = {
    lr_scheduler.ConstantLR: _constant,
    lr_scheduler.LinearLR: _linear,
    lr_scheduler.StepLR: _step,
    lr_scheduler.MultiStepLR: _multi_step,
    lr_scheduler.ExponentialLR: _exponential,
    lr_scheduler.PolynomialLR: _polynomial,
    lr_scheduler.CosineAnnealingLR: _cosine,
    lr_scheduler.CosineAnnealingWarmRestarts: _warm_restarts,
}


def _cyclic(s: Any, number: int) -> Form | None:
    """CyclicLR: Smith 2017; None where it scales by a function of the user's own."""
    if s._scale_fn_custom is not None:
        return None
    ends = {"lr": (s.base_lrs[number], s.max_lrs[number])}
    if s.cycle_momentum:
        ends["momentum"] = (s.max_momentums[number], s.base_momentums[number])

    def form(time: Scalar) -> Options:
        cycle = jnp.floor(1 + time / s.total_size)
        x = 1 + time / s.total_size - cycle
        falling = (x - 1) / (s.step_ratio - 1) if s.step_ratio < 1 else x
        height = jnp.where(x <= s.step_ratio, x / s.step_ratio, falling)
        if s.mode == "triangular2":
            height = height / jnp.power(2.0, cycle - 1)
        elif s.mode == "exp_range":
            height = height * jnp.power(s.gamma, time)
        return {name: _between(low, high, height) for name, (low, high) in ends.items()}

    return form


def _one_cycle(s: Any, number: int) -> Form:
    """OneCycleLR: Smith and Topin 2018; behind the last step it keeps the last rate."""
    group = s.optimizer.param_groups[number]
    moving = ("lr", "momentum") if s.cycle_momentum else ("lr",)

    def form(time: Scalar) -> Options:
        time = jnp.minimum(time, s.total_steps - 1)
        found: dict[str, Scalar] = {}
        begin = 0.0
        for phase in s._schedule_phases:
            share = (time - begin) / (phase["end_step"] - begin)
            way = 1 - _half_cosine(share) if s._anneal_func_type == "cos" else share
            for name in moving:
                value = _between(group[phase[f"start_{name}"]], group[phase[f"end_{name}"]], way)
                found[name] = jnp.where(time > begin, value, found[name]) if begin else value
            begin = phase["end_step"]
        return found

    return form


def _sequential(s: Any, number: int) -> Form | None:
    """Schedules one after another, each from its own step 0."""
    forms = [closed_form(part, number) for part in s._schedulers]
    parts = [form for form in forms if form is not None]
    if len(parts) < len(forms) or any(getattr(part, "cycle_momentum", False) for part in s._schedulers):
        return None

    def form(time: Scalar) -> Options:
        rate = parts[0](time)["lr"]
        for begin, part in zip(s._milestones, parts[1:], strict=True):
            rate = jnp.where(time >= begin, part(jnp.maximum(time - begin, 0.0))["lr"], rate)
        return {"lr": rate}

    return form


def closed_form(scheduler: Any, number: int) -> Form | None:
    """The options of one parameter group as a function of the scheduler's steps.

    Args:
        scheduler: of `torch.optim.lr_scheduler`, as configured.
        number: of the group, from 0.

    Returns:
        The function, with entries "lr" and, where it cycles, "momentum" (Adam's first beta); None where only
        the scheduler itself knows.
    """
    kind = type(scheduler)
    if kind in _RATES:
        return lambda time: {"lr": _RATES[kind](scheduler, scheduler.base_lrs[number], time)}
    if kind is lr_scheduler.CyclicLR:
        return _cyclic(scheduler, number)
    if kind is lr_scheduler.OneCycleLR:
        return _one_cycle(scheduler, number)
    if kind is lr_scheduler.SequentialLR:
        return _sequential(scheduler, number)
    return None
