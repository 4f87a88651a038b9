"""The rules that follow the gradient itself or its sign: SGD, ASGD, Rprop."""

import jax.numpy as jnp

from parity.optimizers.history import Options
from parity.optimizers.rules import Rule, Scalar, Slots, Tensor, ascent, with_penalty


def _sgd_slots(param: Tensor, options: Options) -> Slots:
    return {"momentum_buffer": jnp.zeros_like(param)} if options["momentum"] else {}


def _sgd(grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar) -> tuple[Tensor, Slots]:
    grad = with_penalty(grad, param, options)
    if "momentum_buffer" not in slots:
        return -options["lr"] * grad, {}
    momentum = options["momentum"]
    # The first gradient enters the buffer whole, whatever the dampening.
    fresh = jnp.where(step == 1, 1.0, 1 - options["dampening"])
    buffer = momentum * slots["momentum_buffer"] + fresh * grad
    direction = grad + momentum * buffer if options["nesterov"] else buffer
    return -options["lr"] * direction, {"momentum_buffer": buffer}


def _asgd_slots(param: Tensor, options: Options) -> Slots:
    return {
        "eta": jnp.asarray(options["lr"], param.dtype),
        "mu": jnp.ones((), param.dtype),
        "ax": jnp.zeros_like(param),
    }


def _asgd(grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar) -> tuple[Tensor, Slots]:
    eta, mu, decay = slots["eta"], slots["mu"], options["lambd"]
    change = -eta * (decay * param + with_penalty(grad, param, options))
    average = jnp.where(mu == 1, param + change, slots["ax"] + mu * (param + change - slots["ax"]))
    rate = options["lr"]
    return change, {
        "eta": (rate / (1 + decay * rate * step) ** options["alpha"]).astype(param.dtype),
        "mu": 1 / jnp.maximum(1, step - options["t0"]).astype(param.dtype),
        "ax": average,
    }


def _rprop_slots(param: Tensor, options: Options) -> Slots:
    return {"prev": jnp.zeros_like(param), "step_size": jnp.full_like(param, options["lr"])}


def _rprop(grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar) -> tuple[Tensor, Slots]:
    del param, step
    grad = ascent(grad, options)
    (smaller, larger), bounds = options["etas"], options["step_sizes"]
    agreement = jnp.sign(grad * slots["prev"])
    factor = jnp.where(agreement > 0, larger, jnp.where(agreement < 0, smaller, 1))
    size = jnp.clip(slots["step_size"] * factor, *bounds).astype(grad.dtype)
    grad = jnp.where(factor == smaller, 0, grad)
    return -jnp.sign(grad) * size, {"prev": grad, "step_size": size}


SGD = Rule(_sgd_slots, _sgd)
"""Stochastic gradient descent with the momentum of Polyak 1964 or of Nesterov, as Sutskever et al. 2013.

Differs: the rate stands outside of the buffer. Weight decay is a penalty, added before the momentum. A
dampening weighs every gradient but the first; `optax.sgd` has none.
"""

ASGD = Rule(_asgd_slots, _asgd)
"""Averaged gradient descent: Polyak and Juditsky 1992.

Differs: optax has none. A step uses the `eta` of the step before, so a schedule acts one step later. The
average is a slot, "ax"; PyTorch never puts it into the parameter.
"""

RPROP = Rule(_rprop_slots, _rprop)
"""Resilient propagation, the form without backtracking of weights: Riedmiller and Braun 1993.

Differs: `optax.rprop` has no `maximize`, keeps the last change where PyTorch keeps the last gradient, and
bounds no step size where a gradient is zero. Only the rate before the first step counts.
"""
