"""Faults of a training set-up, one line each, and the right set-ups beside them.

Of each: what PyTorch is given, what JAX is given, and the step, the phase and a part of the cause that the
report must name. The model is one and the same; nothing but the set-up differs.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import optim
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

import parity
from parity.report.partings import Phase

STEPS = 16


@dataclasses.dataclass(frozen=True)
class Case:
    """A set-up.

    Attributes:
        torch: the optimiser of PyTorch, from named parameters.
        optax: JAX's transformation; None to have it translated.
        scheduler: of PyTorch.
        clip: of `check_training`.
        losses: both losses; None for the mean square.
        step, phase, cause: what the report must say; no phase: it must pass; no step: it depends on the data.
        every: updates for one step of the scheduler.
        accumulate: of `check_training`.
        data: the reference's batches -> the candidate's own.
        average: likewise; of a pair the first may be a function of the module.
    """

    torch: Callable[[Any], optim.Optimizer]
    optax: Any = None
    scheduler: Callable[[Any], Any] | None = None
    clip: Any = None
    losses: tuple[Any, Any] | None = None
    step: int | None = 0
    phase: Phase | None = None
    cause: str = ""
    every: int = 1
    accumulate: int = 1
    average: Any = None
    data: Callable[[Any], Any] | None = None


def mean_square_torch(outputs: Any, targets: Any) -> Any:
    return ((outputs - targets) ** 2).mean()


def mean_square(outputs: Any, targets: Any) -> Any:
    return jnp.mean((outputs - targets) ** 2)


def sgd(**options: Any) -> Callable[[Any], optim.Optimizer]:
    return lambda p: optim.SGD(p, **{"lr": 0.05, **options})


def adam(**options: Any) -> Callable[[Any], optim.Optimizer]:
    return lambda p: optim.Adam(p, **{"lr": 0.01, **options})


def adamw(**options: Any) -> Callable[[Any], optim.Optimizer]:
    return lambda p: optim.AdamW(p, **{"lr": 0.01, "weight_decay": 0.1, **options})


def decayed_only(name: str) -> Callable[[Any], Any]:
    """A mask of optax: leaves of this name."""

    def mask(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, leaf: path[-1].key == name, params)

    return mask


def two_groups(parameters: Any) -> optim.Optimizer:
    """AdamW that decays the weights and not the biases."""
    held = list(parameters)
    return optim.AdamW(
        [
            {"params": [p for p in held if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in held if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=0.01,
    )


def two_rates(parameters: Any) -> optim.Optimizer:
    """SGD that moves the head ten times as fast."""
    held = list(parameters)
    return optim.SGD([{"params": held[:2]}, {"params": held[2:], "lr": 0.5}], lr=0.05)


def each_to_norm(limit: float) -> optax.GradientTransformation:
    """Clips the norm of each leaf by itself."""

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        del params
        return jax.tree.map(lambda g: g * jnp.minimum(1, limit / jnp.linalg.norm(g)), grads), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def frozen_first(parameters: Any) -> optim.Optimizer:
    """SGD over the last layer alone."""
    return optim.SGD(list(parameters)[2:], lr=0.05)


def needs_no_gradient(parameters: Any) -> optim.Optimizer:
    """SGD over all parameters, of which the first layer's need no gradient."""
    held = list(parameters)
    for p in held[:2]:
        p.requires_grad_(False)
    return optim.SGD(held, lr=0.05)


def step_at(*milestones: int) -> Callable[[Any], Any]:
    return lambda o: lr_scheduler.MultiStepLR(o, list(milestones), gamma=0.1)


def head(params: Any) -> Any:
    return {layer: dict.fromkeys(held, layer) for layer, held in params.items()}


def counted(schedule: Any, shift: int) -> Any:
    return lambda count: schedule(count + shift)


def plateau(optimizer: Any) -> Any:
    """Halves the rate after two steps in which the loss did not fall by a half."""
    return lr_scheduler.ReduceLROnPlateau(optimizer, patience=1, factor=0.5, threshold=0.5)


def exponential(decay: float) -> Callable[[Any, Any, int], Any]:
    """An average as PyTorch keeps it: the first update copies."""
    return lambda average, params, count: optax.incremental_update(
        params, average, 1 - decay if count else 1.0
    )


def rising_average(average: Any, params: Any, count: int) -> Any:
    """An average whose decay is warmed up."""
    return optax.incremental_update(params, average, 9 / (10 + count) if count else 1.0)


cosine = optax.cosine_decay_schedule(0.05, 20)
UPDATE, SLOTS, SCHEDULE, CLIPPING = Phase.UPDATE, Phase.SLOTS, Phase.SCHEDULE, Phase.CLIPPING

RIGHT = {
    "sgd": Case(sgd(), optax.sgd(0.05)),
    "momentum": Case(sgd(momentum=0.9, nesterov=True), optax.sgd(0.05, momentum=0.9, nesterov=True)),
    "penalty": Case(
        sgd(momentum=0.9, weight_decay=0.1),
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.05, momentum=0.9)),
    ),
    "adam": Case(adam(), optax.adam(0.01)),
    "adamw": Case(adamw(), optax.adamw(0.01, weight_decay=0.1)),
    "adam with a penalty": Case(
        adam(weight_decay=0.1), optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.01))
    ),
    "rmsprop, momentum behind the rate": Case(
        lambda p: optim.RMSprop(p, lr=0.01, momentum=0.9),
        optax.rmsprop(0.01, decay=0.99, momentum=0.9, eps_in_sqrt=False),
    ),
    "two groups": Case(two_groups, optax.adamw(0.01, weight_decay=0.1, mask=decayed_only("kernel"))),
    "frozen": Case(
        frozen_first,
        optax.partition({"hidden": optax.set_to_zero(), "head": optax.sgd(0.05)}, head),
    ),
    "needs no gradient": Case(
        needs_no_gradient,
        optax.partition({"hidden": optax.set_to_zero(), "head": optax.sgd(0.05)}, head),
    ),
    "needs no gradient, translated": Case(needs_no_gradient),
    "cosine": Case(sgd(), optax.sgd(cosine), lambda o: lr_scheduler.CosineAnnealingLR(o, 20)),
    "warm-up": Case(
        sgd(),
        optax.sgd(optax.linear_schedule(0.005, 0.05, 7)),
        lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, 7),
    ),
    "one cycle, translated": Case(
        adam(), None, lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.05, total_steps=STEPS)
    ),
    "amsgrad, translated, clipped": Case(adam(amsgrad=True), None, clip=0.3),
    "adagrad, translated": Case(lambda p: optim.Adagrad(p, lr=0.1)),
    "per epoch, translated": Case(sgd(momentum=0.9), None, step_at(1, 3), every=4),
    "plateau, translated": Case(sgd(), None, plateau),
    "accumulated": Case(adam(), optax.MultiSteps(optax.adam(0.01), 4), accumulate=4),
    "accumulated, translated, clipped": Case(adam(), None, accumulate=4, clip=0.1),
    "exponential average": Case(adam(), optax.adam(0.01), average=(0.9, exponential(0.9))),
    "equal average, accumulated": Case(
        sgd(), None, accumulate=2, average=(AveragedModel, parity.optimizers.average_weights())
    ),
    "clipped by value": Case(
        sgd(),
        optax.chain(optax.clip(0.05), optax.sgd(0.05)),
        clip=lambda parameters: torch.nn.utils.clip_grad_value_(parameters, 0.05),
    ),
}

FAULTS = {
    "decoupled for penalty": Case(
        adam(weight_decay=0.1),
        optax.adamw(0.01, weight_decay=0.1),
        phase=SLOTS,
        cause="decoupled \\(AdamW\\) in JAX",
    ),
    "penalty for decoupled": Case(
        adamw(),
        optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.01)),
        phase=SLOTS,
        cause="decoupled \\(AdamW\\) in PyTorch and a penalty in the gradient",
    ),
    "default decay": Case(
        adamw(), optax.adamw(0.01), phase=UPDATE, cause="weight decay is 0.1 in PyTorch and 0.0001"
    ),
    "no decay": Case(
        adamw(), optax.adam(0.01), phase=UPDATE, cause="weight decay is 0.1 in PyTorch and 0 in JAX"
    ),
    "decay without the rate": Case(
        adamw(),
        optax.chain(optax.scale_by_adam(), optax.scale(-0.01), optax.add_decayed_weights(-0.1)),
        phase=UPDATE,
        cause="weight decay is multiplied by the learning rate in PyTorch",
    ),
    "decay on biases": Case(
        two_groups,
        optax.adamw(0.01, weight_decay=0.1),
        phase=UPDATE,
        cause="weight decay is 0 .* and 0.1 .*, for 0.bias",
    ),
    "sgd decay behind the momentum": Case(
        sgd(momentum=0.9, weight_decay=0.1),
        optax.chain(optax.trace(0.9), optax.add_decayed_weights(0.1), optax.scale(-0.05)),
        phase=SLOTS,
        cause="added behind the moments in JAX",
    ),
    "epsilon in the root": Case(
        adam(eps=1e-4),
        optax.adam(0.01, eps=0, eps_root=1e-4),
        phase=UPDATE,
        cause="epsilon.*inside of it in JAX",
    ),
    "epsilon before the correction": Case(
        adam(eps=1e-4),
        optax.chain(
            optax.GradientTransformation(
                optax.scale_by_adam().init,
                lambda g, s, p=None: hat(g, s),
            ),
            optax.scale(-0.01),
        ),
        phase=UPDATE,
        cause="added before it in JAX",
    ),
    "another epsilon": Case(
        adam(), optax.adam(0.01, eps=1e-6), phase=UPDATE, cause="epsilon is 1e-08 in PyTorch and 1e-06 in JAX"
    ),
    "no bias correction": Case(
        adam(),
        optax.chain(
            optax.GradientTransformation(optax.scale_by_adam().init, lambda g, s, p=None: uncorrected(g, s)),
            optax.scale(-0.01),
        ),
        phase=UPDATE,
        cause="JAX corrects the bias of no moment",
    ),
    "another beta": Case(
        adam(),
        optax.adam(0.01, b2=0.99),
        phase=SLOTS,
        cause="betas is \\(0.9, 0.999\\) in PyTorch and \\(0.9, 0.99\\)",
    ),
    "amsgrad lost": Case(
        adam(amsgrad=True),
        optax.adam(0.01),
        step=None,
        phase=UPDATE,
        cause="amsgrad is True in PyTorch and False",
    ),
    "no Nesterov": Case(
        sgd(momentum=0.9, nesterov=True),
        optax.sgd(0.05, momentum=0.9),
        phase=UPDATE,
        cause="Nesterov's momentum is on",
    ),
    "no momentum": Case(
        sgd(momentum=0.9),
        optax.sgd(0.05),
        step=1,
        phase=UPDATE,
        cause="momentum is 0.9 in PyTorch and 0 in JAX",
    ),
    "dampening lost": Case(
        sgd(momentum=0.9, dampening=0.5),
        optax.sgd(0.05, momentum=0.9),
        step=1,
        phase=SLOTS,
        cause="dampening is 0.5",
    ),
    "an average of gradients": Case(
        sgd(momentum=0.9),
        optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.05)),
        phase=SCHEDULE,
        cause="0.1 x",
    ),
    "rate inside the buffer": Case(
        sgd(momentum=0.9),
        optax.chain(
            optax.scale_by_schedule(optax.piecewise_constant_schedule(-0.05, {10: 0.1})), optax.trace(0.9)
        ),
        step_at(10),
        step=10,
        phase=UPDATE,
        cause="inside of it in JAX",
    ),
    "rmsprop's epsilon": Case(
        lambda p: optim.RMSprop(p, lr=0.01, eps=1e-4),
        optax.rmsprop(0.01, decay=0.99, eps=1e-4),
        phase=UPDATE,
        cause="eps_in_sqrt",
    ),
    "rmsprop's decay": Case(
        lambda p: optim.RMSprop(p, lr=0.01),
        optax.rmsprop(0.01, eps_in_sqrt=False),
        phase=SLOTS,
        cause="alpha .* is 0.99",
    ),
    "adagrad's start": Case(
        lambda p: optim.Adagrad(p, lr=0.1),
        optax.adagrad(0.1),
        phase=UPDATE,
        cause="0.1, epsilon \\(1e-07\\) inside",
    ),
    "another optimiser": Case(
        lambda p: optim.RAdam(p, lr=0.01),
        optax.adam(0.01),
        phase=UPDATE,
        cause="the optimiser is RAdam .* and Adam",
    ),
    "nadam's momentum": Case(
        lambda p: optim.NAdam(p, lr=0.01),
        optax.nadam(0.01),
        phase=UPDATE,
        cause="warmed up .* and constant in JAX",
    ),
    "twice the gradient from a step on": Case(
        adam(eps=1e-3),
        optax.chain(
            optax.scale_by_schedule(optax.piecewise_constant_schedule(1.0, {8: 2.0})),
            optax.adam(0.01, eps=1e-3),
        ),
        step=8,
        phase=Phase.CLIPPING,
        cause="from step 8 on the optimiser of JAX is given 2 x the gradients",
    ),
    "climbs": Case(sgd(), optax.sgd(-0.05), phase=SCHEDULE, cause="-1 x"),
    "another rate": Case(sgd(), optax.sgd(0.1), phase=SCHEDULE, cause="2 x that of PyTorch"),
    "no schedule": Case(
        sgd(momentum=0.9),
        optax.sgd(0.05, momentum=0.9),
        step_at(10),
        step=10,
        phase=SCHEDULE,
        cause="keeps one rate",
    ),
    "a schedule too many": Case(
        sgd(), optax.sgd(cosine), step=1, phase=SCHEDULE, cause="PyTorch has no schedule"
    ),
    "one step late": Case(
        adam(),
        optax.adam(optax.piecewise_constant_schedule(0.01, {11: 0.1})),
        step_at(10),
        step=10,
        phase=SCHEDULE,
        cause="one step behind",
    ),
    "one step early": Case(
        sgd(),
        optax.sgd(counted(cosine, 1)),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 20),
        phase=SCHEDULE,
        cause="one step ahead",
    ),
    "cosine of T - 1": Case(
        sgd(),
        optax.sgd(optax.cosine_decay_schedule(0.05, 19)),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 20),
        step=1,
        phase=SCHEDULE,
        cause="half a cosine over 20 steps to 0; that of JAX falls as half a cosine over 19 steps",
    ),
    "a longer warm-up": Case(
        sgd(),
        optax.sgd(optax.linear_schedule(0.005, 0.05, 8)),
        lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, 7),
        step=1,
        phase=SCHEDULE,
        cause="the warm-up goes from .* at step 7 in PyTorch and from .* at step 8 in JAX",
    ),
    "per step for per epoch": Case(
        sgd(),
        optax.sgd(optax.exponential_decay(0.05, 1, 0.9)),
        lambda o: lr_scheduler.ExponentialLR(o, 0.9),
        step=1,
        phase=SCHEDULE,
        cause="4 times as fast",
        every=4,
    ),
    "per epoch for per step": Case(
        sgd(),
        optax.sgd(optax.exponential_decay(0.05, 4, 0.9, staircase=True)),
        lambda o: lr_scheduler.ExponentialLR(o, 0.9),
        step=1,
        phase=SCHEDULE,
        cause="once in 4 steps",
    ),
    "clipped by value for norm": Case(
        sgd(),
        optax.chain(optax.clip(0.1), optax.sgd(0.05)),
        clip=0.1,
        phase=CLIPPING,
        cause="a norm of 0.1 in PyTorch and values of at most 0.1",
    ),
    "clipped to another norm": Case(
        adam(),
        optax.chain(optax.clip_by_global_norm(0.2), optax.adam(0.01)),
        clip=0.1,
        phase=CLIPPING,
        cause="a norm of 0.1 in PyTorch and a norm of 0.2 in JAX",
    ),
    "clipped without the 1e-6": Case(
        sgd(),
        optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.05)),
        clip=0.1,
        phase=CLIPPING,
        cause="norm \\+ 1e-6.*clip_grad_norm. is PyTorch's",
    ),
    "clipped tensor by tensor": Case(
        sgd(),
        optax.chain(each_to_norm(0.05), optax.sgd(0.05)),
        clip=0.05,
        phase=CLIPPING,
        cause="JAX each tensor's",
    ),
    "a group's rate lost": Case(
        two_rates, optax.sgd(0.05), phase=SCHEDULE, cause="parameter groups have other rates"
    ),
    "decay of another number": Case(
        adamw(),
        optax.adamw(0.01, weight_decay=0.03),
        phase=UPDATE,
        cause="weight decay is 0.1 .* and 0.03 in JAX",
    ),
    "an unusual beta": Case(
        adam(),
        optax.adam(0.01, b1=0.8),
        phase=SLOTS,
        cause="1 - the first beta is 0.1 in PyTorch and 0.2 in JAX",
    ),
    "an unusual epsilon": Case(
        adam(), optax.adam(0.01, eps=3e-6), phase=UPDATE, cause="epsilon is 1e-08 in PyTorch and 3e-06 in JAX"
    ),
    "an unusual momentum": Case(
        sgd(momentum=0.9),
        optax.sgd(0.05, momentum=0.8),
        step=1,
        phase=SLOTS,
        cause="momentum is 0.9 in PyTorch and 0.8 in JAX",
    ),
    "the mask inverted": Case(
        two_groups,
        optax.adamw(0.01, weight_decay=0.1, mask=decayed_only("bias")),
        phase=UPDATE,
        cause="0 in PyTorch and 0.1 in JAX \\(for 0.bias, 2.bias\\); .* 0.1 in PyTorch and 0 in JAX",
    ),
    "clipping lost": Case(
        sgd(), optax.sgd(0.05), clip=0.1, phase=CLIPPING, cause="clips the gradients, JAX does not"
    ),
    "clipping lost, adam": Case(
        adam(eps=1e-3),
        optax.adam(0.01, eps=1e-3),
        clip=0.1,
        phase=CLIPPING,
        cause="clips the gradients, JAX does not",
    ),
    "clipping added": Case(
        sgd(),
        optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.05)),
        phase=CLIPPING,
        cause="to a norm of 0.1",
    ),
    "masked for frozen": Case(
        frozen_first,
        optax.masked(optax.sgd(0.05), lambda params: {"hidden": False, "head": True}),
        phase=UPDATE,
        cause="adds the raw gradient to 0.bias",
    ),
    "trains what is frozen": Case(
        frozen_first, optax.sgd(0.05), phase=UPDATE, cause="JAX moves 0.bias, 0.weight"
    ),
    "trains what needs no gradient": Case(
        needs_no_gradient, optax.sgd(0.05), phase=UPDATE, cause="JAX moves 0.bias, 0.weight"
    ),
    "freezes what is trained": Case(
        sgd(),
        optax.partition({"hidden": optax.set_to_zero(), "head": optax.sgd(0.05)}, head),
        phase=UPDATE,
        cause="JAX does not move 0.bias, 0.weight",
    ),
    "sum for mean": Case(
        sgd(),
        optax.sgd(0.05),
        losses=(mean_square_torch, lambda o, t: jnp.sum((o - t) ** 2)),
        phase=Phase.LOSS,
        cause="the loss of JAX is 18 x",
    ),
    "half the square": Case(
        sgd(),
        optax.sgd(0.05),
        losses=(mean_square_torch, lambda o, t: jnp.mean(optax.l2_loss(o, t))),
        phase=Phase.LOSS,
        cause="the loss of JAX is 0.5 x",
    ),
    "another loss": Case(
        sgd(),
        optax.sgd(0.05),
        losses=(torch.nn.SmoothL1Loss(), lambda o, t: jnp.mean(optax.huber_loss(o, t, delta=0.5))),
        phase=Phase.LOSS,
    ),
    "no plateau": Case(
        sgd(), optax.sgd(0.05), plateau, step=None, phase=SCHEDULE, cause="JAX keeps one rate"
    ),
    "a plateau cut when patience is reached": Case(
        sgd(),
        optax.chain(optax.sgd(0.05), optax.contrib.reduce_on_plateau(patience=1, factor=0.5, rtol=0.5)),
        plateau,
        step=None,
        phase=SCHEDULE,
        cause="cuts in the update in which patience is reached",
    ),
    "a sum of gradients": Case(
        sgd(),
        optax.MultiSteps(optax.sgd(0.05), 4, use_grad_mean=False),
        accumulate=4,
        phase=SCHEDULE,
        cause="4 x that of PyTorch .* adds up their gradients",
    ),
    "stairs lost": Case(
        sgd(),
        optax.sgd(optax.exponential_decay(0.05, 4, 0.1)),
        lambda o: lr_scheduler.StepLR(o, 4),
        step=1,
        phase=SCHEDULE,
        cause="once in 4: `staircase=True`",
    ),
    "nothing behind the end": Case(
        sgd(),
        optax.sgd(optax.cosine_decay_schedule(0.05, 8)),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 8),
        step=9,
        phase=SCHEDULE,
        cause="the rate of JAX stays from step 9 on",
    ),
    "the update clipped": Case(
        adam(),
        optax.chain(optax.adam(0.01), optax.clip_by_global_norm(0.05)),
        phase=UPDATE,
        cause="clips the update of the optimiser to a norm of 0.05, not the gradients",
    ),
    "lion": Case(adam(), optax.lion(0.01), phase=SLOTS, cause="Adam in PyTorch and `optax.lion` in JAX"),
    "adabelief": Case(adam(), optax.adabelief(0.01), phase=SLOTS, cause="`optax.adabelief` in JAX"),
    "radam's epsilon": Case(
        lambda p: optim.RAdam(p, lr=0.01),
        optax.radam(0.01),
        step=5,
        phase=UPDATE,
        cause="`optax.radam` in JAX, which adds epsilon behind",
    ),
    "the decay of the average warmed up": Case(
        adam(),
        optax.adam(0.01),
        average=(0.9, rising_average),
        step=1,
        phase=Phase.AVERAGES,
        cause="a decay that rises as \\(1 \\+ n\\) / \\(10 \\+ n\\)",
    ),
    "nothing accumulated": Case(
        adam(), optax.adam(0.01), accumulate=4, phase=UPDATE, cause="it does not accumulate gradients"
    ),
    "fewer batches accumulated": Case(
        adam(),
        optax.MultiSteps(optax.adam(0.01), 2),
        accumulate=4,
        phase=UPDATE,
        cause="before the last batch of the step",
    ),
    "another decay of the average": Case(
        adam(),
        optax.adam(0.01),
        average=(0.9, exponential(0.99)),
        step=1,
        phase=Phase.AVERAGES,
        cause="decay 0.9, JAX an exponential average with the decay 0.99",
    ),
    "the shares of the average swapped": Case(
        adam(),
        optax.adam(0.01),
        average=(0.9, exponential(0.1)),
        step=1,
        phase=Phase.AVERAGES,
        cause="the two weights are swapped",
    ),
    "the average begins at the first weights": Case(
        adam(),
        optax.adam(0.01),
        average=(0.9, lambda average, params: optax.incremental_update(params, average, 0.1)),
        phase=Phase.AVERAGES,
        cause="the average of JAX begins at the weights before training",
    ),
    "an exponential average for an equal one": Case(
        adam(),
        optax.adam(0.01),
        average=(AveragedModel, 0.9),
        step=1,
        phase=Phase.AVERAGES,
        cause="the equal average of all steps, JAX an exponential average",
    ),
    "a stopped gradient": Case(
        sgd(),
        optax.sgd(0.05),
        losses=(
            lambda o, t: ((o - t) ** 2).mean() + o.mean() ** 2,
            lambda o, t: jnp.mean((o - t) ** 2) + jax.lax.stop_gradient(jnp.mean(o)) * jnp.mean(o),
        ),
        phase=Phase.GRADIENTS,
        cause="JAX stops a gradient on line",
    ),
}


def moments(grads: Any, state: Any) -> Any:
    mu = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.mu, grads)
    nu = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, state.nu, grads)
    return state._replace(count=state.count + 1, mu=mu, nu=nu)


def hat(grads: Any, state: Any) -> Any:
    """Adam with epsilon beside the root of the uncorrected moment."""
    state = moments(grads, state)
    first, second = 1 - 0.9**state.count, 1 - 0.999**state.count
    scale = jnp.sqrt(second) / first
    return jax.tree.map(lambda m, v: scale * m / (jnp.sqrt(v) + 1e-4), state.mu, state.nu), state


def uncorrected(grads: Any, state: Any) -> Any:
    """Adam without bias correction."""
    state = moments(grads, state)
    return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + 1e-8), state.mu, state.nu), state


def network() -> tuple[Any, Any, dict[str, Any]]:
    """One model in both frameworks, and the template of JAX's."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))

    def port(params: Any, x: Any) -> Any:
        hidden = jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
        return hidden @ params["head"]["kernel"] + params["head"]["bias"]

    shape = jax.ShapeDtypeStruct
    template = {
        "hidden": {"kernel": shape((4, 5), "float32"), "bias": shape((5,), "float32")},
        "head": {"kernel": shape((5, 3), "float32"), "bias": shape((3,), "float32")},
    }
    return module, port, template


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [
        (rng.standard_normal((6, 4)).astype(np.float32), rng.standard_normal((6, 3)).astype(np.float32))
        for _ in range(STEPS)
    ]
