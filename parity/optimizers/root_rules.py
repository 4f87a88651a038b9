"""The rules that divide by a root of squared gradients: Adagrad, Adadelta, RMSprop, Adafactor."""

import jax.numpy as jnp
import numpy as np

from parity.optimizers.history import Options
from parity.optimizers.rules import Rule, Scalar, Slots, Tensor, ascent, moving, with_penalty, zeros


def _adagrad_slots(param: Tensor, options: Options) -> Slots:
    return {"sum": jnp.full_like(param, options["initial_accumulator_value"])}


def _adagrad(
    grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar
) -> tuple[Tensor, Slots]:
    grad = with_penalty(grad, param, options)
    total = slots["sum"] + grad * grad
    rate = options["lr"] / (1 + (step - 1) * options["lr_decay"])
    return -rate * grad / (jnp.sqrt(total) + options["eps"]), {"sum": total}


def _adadelta(
    grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar
) -> tuple[Tensor, Slots]:
    del step
    grad = with_penalty(grad, param, options)
    rho, eps = options["rho"], options["eps"]
    square = moving(slots["square_avg"], grad * grad, 1 - rho)
    change = jnp.sqrt(slots["acc_delta"] + eps) / jnp.sqrt(square + eps) * grad
    return -options["lr"] * change, {
        "square_avg": square,
        "acc_delta": moving(slots["acc_delta"], change * change, 1 - rho),
    }


def _rmsprop_slots(param: Tensor, options: Options) -> Slots:
    names = ["square_avg"]
    names += ["momentum_buffer"] if options["momentum"] else []
    names += ["grad_avg"] if options["centered"] else []
    return zeros(*names)(param, options)


def _rmsprop(
    grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar
) -> tuple[Tensor, Slots]:
    del step
    grad = with_penalty(grad, param, options)
    fresh = 1 - options["alpha"]
    after = {"square_avg": moving(slots["square_avg"], grad * grad, fresh)}
    square = after["square_avg"]
    if "grad_avg" in slots:
        after["grad_avg"] = moving(slots["grad_avg"], grad, fresh)
        square = square - after["grad_avg"] ** 2
    change = grad / (jnp.sqrt(square) + options["eps"])
    if "momentum_buffer" in slots:
        change = after["momentum_buffer"] = options["momentum"] * slots["momentum_buffer"] + change
    return -options["lr"] * change, after


def _adafactor_slots(param: Tensor, options: Options) -> Slots:
    if param.ndim < 2:
        return zeros("variance")(param, options)
    return {
        "row_var": jnp.zeros((*param.shape[:-1], 1), param.dtype),
        "col_var": jnp.zeros((*param.shape[:-2], 1, param.shape[-1]), param.dtype),
    }


def _adafactor(
    grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar
) -> tuple[Tensor, Slots]:
    grad = ascent(grad, options)
    least_root, least_size = options["eps"]
    least_root = float(np.finfo(param.dtype).eps) if least_root is None else least_root
    fresh = step ** options["beta2_decay"]
    size = jnp.maximum(least_size, jnp.sqrt(jnp.mean(param * param)))
    rate = size * jnp.minimum(options["lr"], 1 / jnp.sqrt(step))
    if "variance" in slots:
        estimate = moving(slots["variance"], grad * grad, fresh)
        after = {"variance": estimate}
    else:
        rows = moving(slots["row_var"], jnp.mean(grad * grad, axis=-1, keepdims=True), fresh)
        columns = moving(slots["col_var"], jnp.mean(grad * grad, axis=-2, keepdims=True), fresh)
        estimate = rows * columns / jnp.maximum(jnp.mean(rows, axis=-2, keepdims=True), least_root)
        after = {"row_var": rows, "col_var": columns}
    update = grad / jnp.sqrt(jnp.maximum(estimate, least_root**2))
    clipped = jnp.maximum(1, jnp.sqrt(jnp.mean(update * update)) / options["d"])
    decay = -options["lr"] * options["weight_decay"] * param
    return decay - rate / clipped * update, after


ADAGRAD = Rule(_adagrad_slots, _adagrad)
"""Adagrad: Duchi et al. 2011.

Differs: the sum starts at zero and epsilon, 1e-10, is added to the root; `optax.adagrad` starts at 0.1 and
adds 1e-7 inside of it.
"""

ADADELTA = Rule(zeros("square_avg", "acc_delta"), _adadelta)
"""Adadelta: Zeiler 2012, algorithm 1.

Differs: by its defaults alone: the rate is 1 and epsilon 1e-6; `optax.adadelta` has no default rate.
"""

RMSPROP = Rule(_rmsprop_slots, _rmsprop)
"""RMSprop: Tieleman and Hinton 2012, lecture 6.5; centred: Graves 2013, equations 38 to 45.

Differs: epsilon is added to the root (`eps_in_sqrt=False` in optax), alpha is 0.99 by default (optax's decay
0.9), and the rate stands outside of the momentum buffer.
"""

ADAFACTOR = Rule(_adafactor_slots, _adafactor)
"""Adafactor: Shazeer and Stern 2018, algorithms 4 to 6, without momentum.

Differs: always the last two axes are factored, in PyTorch's order of axes; `optax.adafactor` factors the two
largest, from 128 on. The rate is capped by ``1 / sqrt(step)`` and scaled by the size of the parameter, and
weight decay by the uncapped rate.
"""
