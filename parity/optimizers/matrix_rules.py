"""The rule that looks at a matrix as a whole: Muon."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from parity.optimizers.history import Options
from parity.optimizers.rules import Rule, Scalar, Slots, Tensor, moving, zeros


def _bfloat16(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Rounds to bfloat16 and stays in float32: a compiler may leave out a cast there and back."""
    return jax.lax.reduce_precision(x.astype(jnp.float32), exponent_bits=8, mantissa_bits=7)


def _orthogonalised(matrix: Float[Array, "rows columns"], options: Options) -> Float[Array, "rows columns"]:
    """The polar factor, roughly: singular values between 0.7 and 1.2, in bfloat16 as in PyTorch.

    Every product is summed in float32 and rounded once, with what is added to it.
    """
    a, b, c = options["ns_coefficients"]
    x = _bfloat16(matrix)
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    norm = _bfloat16(jnp.sqrt(jnp.sum(x * x)))
    x = _bfloat16(x / jnp.maximum(norm, options["eps"]))
    for _ in range(options["ns_steps"]):
        gram = _bfloat16(jnp.matmul(x, x.T, precision="highest"))
        polynomial = _bfloat16(b * gram + c * jnp.matmul(gram, gram, precision="highest"))
        x = _bfloat16(a * x + jnp.matmul(polynomial, x, precision="highest"))
    return x.T if is_tall else x


def _muon(grad: Tensor, slots: Slots, param: Tensor, options: Options, step: Scalar) -> tuple[Tensor, Slots]:
    del step
    momentum = options["momentum"]
    buffer = moving(slots["momentum_buffer"], grad, 1 - momentum)
    direction = moving(grad, buffer, momentum) if options["nesterov"] else buffer
    rows, columns = param.shape
    factor = {
        None: max(1, rows / columns) ** 0.5,
        "original": max(1, rows / columns) ** 0.5,
        "match_rms_adamw": 0.2 * max(rows, columns) ** 0.5,
    }.get(options["adjust_lr_fn"], 1.0)
    update = _orthogonalised(direction, options).astype(param.dtype)
    decay = options["lr"] * options["weight_decay"] * param
    return -decay - options["lr"] * factor * update, {"momentum_buffer": buffer}


MUON = Rule(zeros("momentum_buffer"), _muon)
"""Muon: Jordan 2024; the scales of the rate: Liu et al. 2025.

Differs: PyTorch takes matrices alone and computes the Newton-Schulz iteration in bfloat16 whatever the
dtype of the weights, so two programs agree to roundings of bfloat16, times the rate.
"""
