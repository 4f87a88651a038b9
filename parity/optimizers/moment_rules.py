"""The rules of first and second moments: Adam, AdamW, Adamax, NAdam, RAdam, SparseAdam's dense meaning."""

import jax.numpy as jnp

from parity.optimizers.history import Options
from parity.optimizers.rules import (
    Rule,
    Scalar,
    Slots,
    Tensor,
    ascent,
    correction,
    moving,
    with_penalty,
    zeros,
)


def decayed(grad: Tensor, param: Tensor, options: Options) -> tuple[Tensor, Tensor | float]:
    """The gradient, and what decoupled weight decay adds to the parameter.

    Args:
        grad: as the loss has it.
        param: the parameter before the step.
        options: of the group.
    """
    if options.get("decoupled_weight_decay"):
        return ascent(grad, options), -options["lr"] * options["weight_decay"] * param
    return with_penalty(grad, param, options), 0.0


def moments(grad: Tensor, slots: Slots, options: Options) -> Slots:
    """The first and the second moment after a step.

    Args:
        grad: as the rule uses it.
        slots: before the step.
        options: of the group.
    """
    first, second = options["betas"]
    return {
        "exp_avg": moving(slots["exp_avg"], grad, 1 - first),
        "exp_avg_sq": moving(slots["exp_avg_sq"], grad * grad, 1 - second),
    }


def _adam_slots(param: Tensor, options: Options) -> Slots:
    names = ("exp_avg", "exp_avg_sq", *["max_exp_avg_sq"][: bool(options["amsgrad"])])
    return zeros(*names)(param, options)


def _adam(grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar) -> tuple[Tensor, Slots]:
    grad, decay = decayed(grad, param, options)
    after = moments(grad, slots, options)
    square = after["exp_avg_sq"]
    if "max_exp_avg_sq" in slots:
        square = after["max_exp_avg_sq"] = jnp.maximum(slots["max_exp_avg_sq"], square)
    first, second = (correction(beta, step) for beta in options["betas"])
    root = jnp.sqrt(square) / jnp.sqrt(second) + options["eps"]
    return decay - options["lr"] / first * after["exp_avg"] / root, after


def _sparse_adam(
    grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar
) -> tuple[Tensor, Slots]:
    del param
    after = moments(ascent(grad, options), slots, options)
    first, second = (correction(beta, step) for beta in options["betas"])
    rate = options["lr"] * jnp.sqrt(second) / first
    return -rate * after["exp_avg"] / (jnp.sqrt(after["exp_avg_sq"]) + options["eps"]), after


def _adamax(
    grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar
) -> tuple[Tensor, Slots]:
    grad = with_penalty(grad, param, options)
    first, second = options["betas"]
    average = moving(slots["exp_avg"], grad, 1 - first)
    largest = jnp.maximum(second * slots["exp_inf"], jnp.abs(grad) + options["eps"])
    change = -options["lr"] / correction(first, step) * average / largest
    return change, {"exp_avg": average, "exp_inf": largest}


def _nadam_slots(param: Tensor, options: Options) -> Slots:
    return {**zeros("exp_avg", "exp_avg_sq")(param, options), "mu_product": jnp.ones((), param.dtype)}


def _nadam(grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar) -> tuple[Tensor, Slots]:
    grad, decay = decayed(grad, param, options)
    after = moments(grad, slots, options)
    first, second = options["betas"]
    now, following = (
        first * (1 - 0.5 * jnp.power(0.96, (step + ahead) * options["momentum_decay"])) for ahead in (0, 1)
    )
    product = slots["mu_product"] * now
    root = jnp.sqrt(after["exp_avg_sq"] / correction(second, step)) + options["eps"]
    ahead = (1 - now) / (1 - product) * grad + following / (1 - product * following) * after["exp_avg"]
    return decay - options["lr"] * ahead / root, {**after, "mu_product": product}


def _radam(grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar) -> tuple[Tensor, Slots]:
    grad, decay = decayed(grad, param, options)
    after = moments(grad, slots, options)
    first, second = options["betas"]
    corrected = correction(second, step)
    longest = 2 / (1 - second) - 1
    length = longest - 2 * step * (1 - corrected) / corrected
    inside = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    rectified = jnp.sqrt(jnp.where(length > 5, inside, 0))
    adaptive = rectified * jnp.sqrt(corrected) / (jnp.sqrt(after["exp_avg_sq"]) + options["eps"])
    scale = jnp.where(length > 5, adaptive, 1)
    return decay - options["lr"] * after["exp_avg"] / correction(first, step) * scale, after


ADAM = Rule(_adam_slots, _adam)
"""Adam and AdamW: Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2; AMSGrad: Reddi et
al. 2018.

Differs: epsilon is added to the corrected root. `optax.amsgrad` takes the maximum of corrected second
moments, PyTorch of the moments as they are. AdamW's decay is 1e-2 by default, `optax.adamw`'s 1e-4.
"""

SPARSE_ADAM = Rule(zeros("exp_avg", "exp_avg_sq"), _sparse_adam)
"""SparseAdam, with every row touched in every step.

Differs: epsilon is added to the root before the correction. PyTorch leaves rows that a sparse gradient does
not name as they are; here their moments decay and they move.
"""

ADAMAX = Rule(zeros("exp_avg", "exp_inf"), _adamax)
"""Adamax: Kingma and Ba 2015, algorithm 2, with epsilon added to the size of the gradient."""

NADAM = Rule(_nadam_slots, _nadam)
"""NAdam: Dozat 2016, with his warm-up of the momentum, ``beta1 (1 - 0.96^(step momentum_decay) / 2)``.

Differs: `optax.nadam` has a constant momentum. PyTorch keeps "mu_product" in its default dtype.
"""

RADAM = Rule(zeros("exp_avg", "exp_avg_sq"), _radam)
"""RAdam: Liu et al. 2020, algorithm 2.

Differs: PyTorch adds epsilon before the correction of the second moment, `optax.radam` after it.
"""
