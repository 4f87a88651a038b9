"""Rules that a port may have by mistake: those of PyTorch with one thing in another place."""

from collections.abc import Callable

import jax.numpy as jnp

from parity.optimizers.history import Options
from parity.optimizers.moment_rules import decayed, moments
from parity.optimizers.rules import Rule, Scalar, Slots, Tensor, with_penalty, zeros


def decay_behind(rule: Rule, *, scaled: str) -> Rule:
    """The rule without decay, and decay behind it.

    Args:
        rule: of PyTorch.
        scaled: by which rate the decay is multiplied: that of the step ("now"), the first, which a scheduler
            of PyTorch notes in its group ("first"), or none ("never").
    """

    def change(
        grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar
    ) -> tuple[Tensor, Slots]:
        update, after = rule.change(grad, slots, param, {**options, "weight_decay": 0.0}, step)
        rate = {"now": options["lr"], "first": options.get("initial_lr"), "never": 1.0}[scaled]
        return update - rate * options["weight_decay"] * param, after

    return Rule(rule.slots, change)


def adam_with(epsilon: str, corrected: str = "both") -> Rule:
    """Adam with epsilon elsewhere, or other bias corrections.

    Args:
        epsilon: "outside" of the root, "inside" of it, "hat": before the correction, or "both": `eps_root`
            inside besides.
        corrected: the moments whose bias is corrected: "both", "first", "second" or "none"; "late" and
            "early" count from 0 and from 2, "clamped" 1, 1, 2.
    """

    def change(
        grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar
    ) -> tuple[Tensor, Slots]:
        grad, decay = decayed(grad, param, options)
        betas, after = options["betas"], moments(grad, slots, options)
        other = {"late": step - 1, "early": step + 1, "clamped": jnp.maximum(step - 1, 1)}
        count = other.get(corrected, step)
        first, second = (1 - beta**count for beta in betas)
        first = 1.0 if corrected in ("none", "second") else first
        second = 1.0 if corrected in ("none", "first") else second
        square, eps = after["exp_avg_sq"] / second, options["eps"]
        root = jnp.sqrt(square + eps) if epsilon == "inside" else jnp.sqrt(square) + eps
        if epsilon == "both":
            root = jnp.sqrt(square + options["eps_root"]) + eps
        if epsilon == "hat":
            root = (jnp.sqrt(after["exp_avg_sq"]) + eps) / jnp.sqrt(second)
        return decay - options["lr"] * (after["exp_avg"] / first) / root, after

    return Rule(zeros("exp_avg", "exp_avg_sq"), change)


def _constant_momentum(
    grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar
) -> tuple[Tensor, Slots]:
    grad, decay = decayed(grad, param, options)
    first, second = options["betas"]
    after = moments(grad, slots, options)
    ahead = first * after["exp_avg"] / (1 - first ** (step + 1)) + (1 - first) * grad / (1 - first**step)
    root = jnp.sqrt(after["exp_avg_sq"] / (1 - second**step)) + options["eps"]
    return decay - options["lr"] * ahead / root, after


CONSTANT_MOMENTUM = Rule(zeros("exp_avg", "exp_avg_sq"), _constant_momentum)
"""NAdam without a warm-up of the momentum, as optax has it."""


def _rate_inside(
    grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar
) -> tuple[Tensor, Slots]:
    del step
    grad = options["lr"] * with_penalty(grad, param, options)
    buffer = options["momentum"] * slots["momentum_buffer"] + grad
    return -(grad + options["momentum"] * buffer if options["nesterov"] else buffer), {
        "momentum_buffer": buffer
    }


RATE_INSIDE = Rule(zeros("momentum_buffer"), _rate_inside)
"""SGD whose buffer holds steps, not gradients."""


def under_root(slot: str, held: Callable[[Tensor, Tensor, Options], Tensor], start: float = 0.0) -> Rule:
    """A rule that divides by the root of a slot with epsilon inside, and has a momentum behind.

    Args:
        slot: its name.
        held: (slot, gradient, options) -> the slot after a step.
        start: what it starts from.
    """

    def change(
        grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar
    ) -> tuple[Tensor, Slots]:
        del step
        grad = with_penalty(grad, param, options)
        after = {slot: held(slots[slot], grad, options)}
        square = after[slot]
        if options.get("centered"):
            after["grad_avg"] = options["alpha"] * slots["grad_avg"] + (1 - options["alpha"]) * grad
            square = square - after["grad_avg"] ** 2
        update = jnp.where(square + options["eps"] > 0, grad / jnp.sqrt(square + options["eps"]), 0.0)
        if options.get("momentum"):
            update = after["buffer"] = options["momentum"] * slots["buffer"] + update
        return -options["lr"] * update, after

    def slots(param: Tensor, options: Options) -> Slots:
        begun = {slot: jnp.full_like(param, start)}
        if options.get("centered"):
            begun["grad_avg"] = jnp.zeros_like(param)
        if options.get("momentum"):
            begun["buffer"] = jnp.zeros_like(param)
        return begun

    return Rule(slots, change)
