"""Faults of a training set-up, continued: between gradient and optimiser, forms of schedules, and data."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from torch import optim
from torch.nn.utils import clip_grad_norm_
from torch.optim import lr_scheduler

from parity.report.partings import Phase
from tests.training_faults.cases import Case, adam, adamw, head, sgd

CLIPPING, SCHEDULE, UPDATE = Phase.CLIPPING, Phase.SCHEDULE, Phase.UPDATE


def changed(change: Callable[[Any], Any]) -> optax.GradientTransformation:
    """A function of all gradients."""
    return optax.stateless(lambda grads, params: change(grads))


def by_norm(scale: Callable[[Any], Any]) -> optax.GradientTransformation:
    """All gradients times a function of their norm."""

    def change(grads: Any) -> Any:
        factor = scale(optax.tree.norm(grads))
        return jax.tree.map(lambda g: factor * g, grads)

    return changed(change)


def each_layer(limit: float) -> optax.GradientTransformation:
    """Clips each layer's gradients by themselves."""

    def clipped(layer: Any) -> Any:
        factor = jnp.minimum(1, limit / optax.tree.norm(layer))
        return jax.tree.map(lambda g: factor * g, layer)

    return changed(lambda grads: {name: clipped(layer) for name, layer in grads.items()})


def begun_anew(inner: optax.GradientTransformation, at: int) -> optax.GradientTransformation:
    """An optimiser whose state is made again in one step."""

    def init(params: Any) -> Any:
        return jnp.zeros((), jnp.int32), inner.init(params)

    def update(grads: Any, state: Any, params: Any = None) -> Any:
        count, held = state
        held = jax.tree.map(lambda new, old: jnp.where(count == at, new, old), inner.init(params), held)
        updates, held = inner.update(grads, held, params)
        return updates, (count + 1, held)

    return optax.GradientTransformation(init, update)


def every_two_steps(average: Any, params: Any, count: Any) -> Any:
    """An exponential average that moves in every second step; it begins with the weights."""

    def moved(held: Any, weight: Any) -> Any:
        share = jnp.where(count == 0, 1.0, jnp.where(count % 2 == 0, 0.1, 0.0))
        return held + share * (weight - held)

    return jax.tree.map(moved, average, params)


def frozen_adamw(parameters: Any) -> optim.Optimizer:
    """AdamW over all parameters, of which the first layer's need no gradient."""
    held = list(parameters)
    for p in held[:2]:
        p.requires_grad_(False)
    return optim.AdamW(held, lr=0.01, weight_decay=0.1)


def scheduled_twice(schedule: Any, rate: float) -> optax.GradientTransformation:
    return optax.chain(optax.sgd(schedule), optax.scale_by_schedule(lambda n: schedule(n) / rate))


def two_lambdas(optimizer: Any) -> Any:
    """The second group falls, the first stays."""
    return lr_scheduler.LambdaLR(optimizer, [lambda t: 1.0, lambda t: 0.9**t])


def halves(parameters: Any) -> optim.Optimizer:
    held = list(parameters)
    return optim.SGD([{"params": held[:2]}, {"params": held[2:]}], lr=0.05)


def decay_at_first_rate(schedule: Any, decay: float, rate: float) -> optax.GradientTransformation:
    return optax.chain(
        optax.scale_by_adam(),
        optax.scale_by_learning_rate(schedule),
        optax.add_decayed_weights(-decay * rate),
    )


def other_data(change: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """The candidate's batches: a function of each of the reference's."""
    return lambda given: [change(x, y) for x, y in given]


def one_sample_of(batch: int) -> Callable[[Any], Any]:
    """One number of one batch is another."""

    def changed(given: Any) -> Any:
        x, y = given[batch]
        other = x + np.eye(*x.shape, dtype=x.dtype)
        return [*given[:batch], (other, y), *given[batch + 1 :]]

    return changed


FALLING = optax.exponential_decay(0.05, 1, 0.9)

FAULTS: dict[str, Case] = {
    "normalised": Case(
        sgd(), optax.chain(by_norm(lambda n: 0.3 / n), optax.sgd(0.05)), phase=CLIPPING, cause="it normalises"
    ),
    "clipped by the squared norm": Case(
        adam(),
        optax.chain(by_norm(lambda n: jnp.minimum(1, 0.3 / n**2)), optax.adam(0.01)),
        clip=0.3,
        step=None,
        phase=CLIPPING,
        cause="the root is missing",
    ),
    "clipped layer by layer": Case(
        adam(eps=1e-3),
        optax.chain(each_layer(0.2), optax.adam(0.01, eps=1e-3)),
        clip=0.2,
        phase=CLIPPING,
        cause=r"each of these groups \(0.bias, 0.weight; 2.bias, 2.weight\)",
    ),
    "sums under Adam": Case(
        adam(),
        optax.MultiSteps(optax.adam(0.01), 2, use_grad_mean=False).gradient_transformation(),
        accumulate=2,
        phase=CLIPPING,
        cause="adds up their gradients",
    ),
    "a loss scale that stays in": Case(
        adam(eps=1e-3),
        optax.chain(optax.scale(8.0), optax.adam(0.01, eps=1e-3)),
        phase=CLIPPING,
        cause="given 8 x the gradients",
    ),
    "centralised": Case(
        sgd(momentum=0.9),
        optax.chain(optax.centralize(), optax.sgd(0.05, momentum=0.9)),
        phase=CLIPPING,
        cause="centralisation",
    ),
    "signs": Case(
        sgd(momentum=0.9),
        optax.chain(changed(lambda g: jax.tree.map(jnp.sign, g)), optax.sgd(0.05, momentum=0.9)),
        phase=CLIPPING,
        cause="takes the sign",
    ),
    "a state begun anew": Case(
        adam(), begun_anew(optax.adam(0.01), 6), step=6, phase=Phase.SLOTS, cause="begins anew at step 6"
    ),
    "momentum begun anew": Case(
        sgd(momentum=0.9),
        begun_anew(optax.sgd(0.05, momentum=0.9), 9),
        step=9,
        phase=Phase.SLOTS,
        cause="begins anew at step 9",
    ),
    "decay of the other sign": Case(
        adamw(), optax.adamw(0.01, weight_decay=-0.1), phase=UPDATE, cause="other sign: weights grow"
    ),
    "decay beside the schedule": Case(
        adamw(),
        decay_at_first_rate(optax.exponential_decay(0.01, 1, 0.8), 0.1, 0.01),
        lambda o: lr_scheduler.ExponentialLR(o, 0.8),
        step=1,
        phase=UPDATE,
        cause="does not follow the schedule",
    ),
    "a schedule twice": Case(
        sgd(),
        scheduled_twice(optax.cosine_decay_schedule(0.05, 20), 0.05),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 20),
        step=1,
        phase=SCHEDULE,
        cause="twice",
    ),
    "another floor": Case(
        sgd(),
        optax.sgd(optax.cosine_decay_schedule(0.05, 20)),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 20, eta_min=0.01),
        step=1,
        phase=SCHEDULE,
        cause="over 20 steps to 0.01; that of JAX falls as half a cosine over 20 steps to 0",
    ),
    "a line for a square": Case(
        sgd(),
        optax.sgd(optax.polynomial_schedule(0.05, 0.0, 1, 20)),
        lambda o: lr_scheduler.PolynomialLR(o, 20, 2.0),
        step=1,
        phase=SCHEDULE,
        cause="to the power of 2; that of JAX falls in a line",
    ),
    "an inverse for its root": Case(
        sgd(),
        optax.sgd(lambda n: 0.05 / (1 + n / 4)),
        lambda o: lr_scheduler.LambdaLR(o, lambda t: (1 + t / 4) ** -0.5),
        step=1,
        phase=SCHEDULE,
        cause=r"1 / sqrt\(1 \+ t / 4\); that of JAX falls as 1 / \(1 \+ t / 4\)",
    ),
    "another milestone": Case(
        sgd(),
        optax.sgd(optax.piecewise_constant_schedule(0.05, {4: 0.1, 9: 0.1})),
        lambda o: lr_scheduler.MultiStepLR(o, [5, 9]),
        step=4,
        phase=SCHEDULE,
        cause="changes at step 5, 9 in PyTorch and at 4, 9 in JAX",
    ),
    "another factor": Case(
        sgd(),
        optax.sgd(optax.piecewise_constant_schedule(0.05, {5: 0.2})),
        lambda o: lr_scheduler.MultiStepLR(o, [5], gamma=0.1),
        step=5,
        phase=SCHEDULE,
        cause="multiplied by 0.1 in PyTorch and by 0.2 in JAX",
    ),
    "a step that is skipped": Case(
        sgd(),
        optax.sgd(lambda n: jnp.where(n == 7, 0.0, 0.05)),
        step=7,
        phase=UPDATE,
        cause="a guard that skips steps",
    ),
    "a group's own schedule": Case(
        halves, optax.sgd(0.05), two_lambdas, step=1, phase=SCHEDULE, cause="groups have other rates"
    ),
    "data: another range": Case(
        sgd(),
        optax.sgd(0.05),
        data=other_data(lambda x, y: (255 * x, y)),
        phase=Phase.DATA,
        cause="JAX has 255 x for each x of PyTorch",
    ),
    "data: one batch ahead": Case(
        sgd(), optax.sgd(0.05), data=lambda given: given[1:] + given[:1], phase=Phase.DATA, cause="order"
    ),
    "data: samples shuffled, targets not": Case(
        sgd(),
        optax.sgd(0.05),
        data=other_data(lambda x, y: (x[::-1].copy(), y)),
        phase=Phase.DATA,
        cause="no longer belong together",
    ),
    "data: columns turned round": Case(
        sgd(),
        optax.sgd(0.05),
        data=other_data(lambda x, y: (x[:, ::-1].copy(), y)),
        phase=Phase.DATA,
        cause="turned round along axis 1",
    ),
    "data: a last batch that is dropped": Case(
        sgd(),
        optax.sgd(0.05),
        data=lambda given: given[:-1],
        step=15,
        phase=Phase.DATA,
        cause="ends earlier",
    ),
    "sums of gradients, beside decay": Case(
        adamw(),
        optax.MultiSteps(optax.adamw(0.01, weight_decay=0.1), 4, use_grad_mean=False),
        accumulate=4,
        phase=CLIPPING,
        cause="adds up their gradients",
    ),
    "a loss scale that stays in, beside decay": Case(
        adamw(),
        optax.chain(optax.scale(128.0), optax.adamw(0.01, weight_decay=0.1)),
        phase=CLIPPING,
        cause="128 x the gradients",
    ),
    "clipping by a function, on one side": Case(
        sgd(momentum=0.9),
        optax.sgd(0.05, momentum=0.9),
        clip=lambda parameters: clip_grad_norm_(parameters, 0.3),
        phase=CLIPPING,
        cause="PyTorch clips the gradients, JAX does not",
    ),
    "each batch clipped before it is gathered": Case(
        adam(),
        optax.chain(
            optax.clip_by_global_norm(0.3), optax.MultiSteps(optax.adam(0.01), 4).gradient_transformation()
        ),
        clip=0.3,
        accumulate=4,
        phase=CLIPPING,
        cause="those of each batch",
    ),
    "a penalty beside decay": Case(
        adamw(),
        optax.chain(optax.add_decayed_weights(0.05), optax.adamw(0.01, weight_decay=0.1)),
        phase=CLIPPING,
        cause="0.05 x the weights besides",
    ),
    "an average moved every two steps": Case(
        sgd(),
        optax.sgd(0.05),
        average=(0.9, every_two_steps),
        step=1,
        phase=Phase.AVERAGES,
        cause="moved every 2 steps",
    ),
    "frozen, and decayed": Case(
        frozen_adamw,
        optax.chain(
            changed(lambda g: {**g, "hidden": jax.tree.map(jnp.zeros_like, g["hidden"])}),
            optax.adamw(0.01, weight_decay=0.1),
        ),
        phase=UPDATE,
        cause="weight decay without a gradient",
    ),
    "data: one sample, once": Case(
        sgd(),
        optax.sgd(0.05),
        data=lambda given: [
            (x + (n == 11) * np.eye(*x.shape, dtype=x.dtype), y) for n, (x, y) in enumerate(given)
        ],
        step=11,
        phase=Phase.DATA,
    ),
}

RIGHT: dict[str, Case] = {
    "clipped by hand": Case(
        adam(),
        optax.chain(by_norm(lambda n: jnp.minimum(1, 0.3 / (n + 1e-6))), optax.adam(0.01)),
        clip=0.3,
    ),
    "two groups, two schedules": Case(
        halves,
        optax.partition(
            {"hidden": optax.sgd(0.05), "head": optax.sgd(FALLING)},
            head,
        ),
        two_lambdas,
    ),
    "the same data": Case(sgd(), optax.sgd(0.05), data=other_data(lambda x, y: (x.copy(), y.copy()))),
}
