"""Activation functions, accurate and with finite gradients for inputs of any size.

Source:
    Notebook, sections 3.3.1 and 3.4.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def relu(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Rectified linear unit, `max(t, 0)`, with derivative 0 at 0.

    Args:
        t: pre-activations, any shape and floating dtype.

    Returns:
        Tensor of the shape and dtype of `t`, in [0, inf).

    Source:
        Notebook, section 3.4.
    """
    return F.relu(t)


def leaky_relu(t: Float[Tensor, "*shape"], slope: float = 0.01) -> Float[Tensor, "*shape"]:
    """Leaky rectified linear unit, `t` where `t > 0` and `slope * t` elsewhere.

    Args:
        t: pre-activations, any shape and floating dtype.
        slope: derivative of the negative side and at 0. The notebook's text says 0.01, its figure 0.1.

    Returns:
        Tensor of the shape and dtype of `t`.

    Differs:
        The derivative at 0 is `slope`; that of `jax.nn.leaky_relu` is 1.

    Source:
        Notebook, section 3.4.
    """
    return F.leaky_relu(t, slope)


def prelu(t: Float[Tensor, "*shape"], alpha: float | Float[Tensor, ""]) -> Float[Tensor, "*shape"]:
    """Parametric rectified linear unit, `t` where `t > 0` and `alpha * t` elsewhere.

    Right for every `alpha`; the notebook's `max(alpha * t, t)` is the same function only for
    `alpha <= 1`.

    Args:
        t: pre-activations, any shape and floating dtype.
        alpha: derivative of the negative side and at 0; a scalar tensor if it is to be learnt.

    Returns:
        Tensor of the shape and dtype of `t`.

    Differs:
        `torch.nn.functional.prelu` takes tensors only, and one slope for each channel.

    Source:
        Notebook, section 3.4.

    >>> prelu(torch.tensor([-2.0, 0.0, 2.0]), 3.0)
    tensor([-6.,  0.,  2.])
    """
    return torch.where(t > 0, t, alpha * t)


def softplus(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Softplus, `log(1 + exp(t))`, the smooth version of `relu`; its derivative is `logistic`.

    Args:
        t: pre-activations, any shape and floating dtype.

    Returns:
        Tensor of the shape and dtype of `t`, in [0, inf).

    Differs:
        `torch.nn.functional.softplus` returns `t` itself above a threshold, by default 20, where the
        two differ by 2e-9: too much for float64. At 40 they differ by 4e-18, less than rounding.

    Source:
        Notebook, section 3.4.

    >>> softplus(torch.tensor([-1e4, 0.0, 1e4]))
    tensor([0.0000e+00, 6.9315e-01, 1.0000e+04])
    """
    return F.softplus(t, threshold=40.0)


def tanh(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Hyperbolic tangent.

    Args:
        t: pre-activations, any shape and floating dtype.

    Returns:
        Tensor of the shape and dtype of `t`, in [-1, 1].

    Source:
        Notebook, section 3.3.1.
    """
    return torch.tanh(t)


def logistic(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Logistic function, `1 / (1 + exp(-t))`.

    Args:
        t: pre-activations, any shape and floating dtype.

    Returns:
        Tensor of the shape and dtype of `t`, in [0, 1].

    Source:
        Notebook, section 3.1.1.
    """
    return torch.sigmoid(t)


def shifted_logistic(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The hidden activation that the notebook codes, `2 * logistic(t) - 1 = tanh(t / 2)`.

    The notebook calls it tanh, which would be `2 * logistic(2 * t) - 1`. Computed as `tanh(t / 2)`,
    because the subtraction loses digits near 0.

    Args:
        t: pre-activations, any shape and floating dtype.

    Returns:
        Tensor of the shape and dtype of `t`, in [-1, 1].

    Source:
        Notebook, section 3.3.1.
    """
    return torch.tanh(t / 2)


class _AsPrinted(torch.autograd.Function):
    """`shifted_logistic` that reports the derivative the notebook prints."""

    @staticmethod
    def forward(ctx: Any, t: Tensor) -> Tensor:
        h = shifted_logistic(t)
        ctx.save_for_backward(h)
        return h

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        h: Tensor = ctx.saved_tensors[0]
        return grad_outputs[0] * (1 - h) ** 2


def shifted_logistic_as_printed(t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`shifted_logistic` with the WRONG derivative of the notebook, `(1 - h)^2` instead of `(1 - h^2) / 2`.

    Autograd through it gives the hidden-layer gradients as the notebook prints and codes them, so that
    its published runs can be repeated. Values are right, gradients are not.

    Args:
        t: pre-activations, any shape and floating dtype.

    Returns:
        `h`, a tensor of the shape and dtype of `t`, in [-1, 1].

    Source:
        Notebook, section 3.3.1: the square stands on the wrong operand.

    >>> t = torch.zeros(1, requires_grad=True)
    >>> shifted_logistic_as_printed(t).backward()
    >>> t.grad  # the derivative of tanh(t / 2) at 0 is one half
    tensor([1.])
    """
    h: Tensor = _AsPrinted.apply(t)  # type: ignore[no-untyped-call]
    return h
