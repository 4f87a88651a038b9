"""Networks of bare tensors: what autograd offers before `torch.nn` enters.

A model is a pair of functions. `init` draws a dict of tensors that require gradients, `apply` computes
logits from such a dict and a batch. Names and layouts of the tensors are those of the notebook.

Source:
    Notebook, sections 3.1 to 3.3 and 4.4.1.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from torchref import activations, checks

Params = dict[str, Tensor]


class BareModel(NamedTuple):
    """A network without a class: how to draw its parameters and how to apply them.

    Attributes:
        init: `init(generator, dtype=torch.float32) -> params`: leaf tensors that require gradients, on
            the device of the generator (`None`: the global random state of the CPU).
        apply: `apply(params, x) -> logits` for a batch `x` of shape (N, D).

    >>> model = softmax(num_features=4, num_outputs=3)
    >>> params = model.init(torch.Generator().manual_seed(0))
    >>> model.apply(params, torch.ones(2, 4)).shape
    torch.Size([2, 3])
    """

    init: Callable[..., Params]
    apply: Callable[[Params, Tensor], Tensor]


def logistic(num_features: int) -> BareModel:
    """Logistic regression, `o = x w + b`; `w` (D,) and `b` (1,) from 0.1 * N(0, 1).

    Args:
        num_features: D.

    Returns:
        Model with logits of shape (N,).

    Source:
        Notebook, section 3.1.
    """

    def init(generator: Generator | None = None, dtype: torch.dtype = torch.float32) -> Params:
        return {
            "w": _normal(0.1, (num_features,), generator, dtype),
            "b": _normal(0.1, (1,), generator, dtype),
        }

    def apply(params: Params, x: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        return x @ params["w"] + params["b"]

    return BareModel(init, apply)


def softmax(num_features: int, num_outputs: int) -> BareModel:
    """Softmax regression, `o = x W^T + b`; `W` (K, D) and `b` (K,) from 0.1 * N(0, 1).

    Args:
        num_features: D.
        num_outputs: K, the number of classes.

    Returns:
        Model with logits of shape (N, K).

    Source:
        Notebook, section 3.2.
    """

    def init(generator: Generator | None = None, dtype: torch.dtype = torch.float32) -> Params:
        return {
            "W": _normal(0.1, (num_outputs, num_features), generator, dtype),
            "b": _normal(0.1, (num_outputs,), generator, dtype),
        }

    def apply(params: Params, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        return x @ params["W"].T + params["b"]

    return BareModel(init, apply)


def softmax_mean_all(num_features: int, num_outputs: int) -> BareModel:
    """Softmax regression, `o = x W + b`; `W` (D, K) from 0.1 * N(0, 1), `b` (K,) zeros.

    Args:
        num_features: D.
        num_outputs: K, the number of classes.

    Returns:
        Model with logits of shape (N, K).

    Source:
        Notebook, section 4.4.1.
    """

    def init(generator: Generator | None = None, dtype: torch.dtype = torch.float32) -> Params:
        W = _normal(0.1, (num_features, num_outputs), generator, dtype)
        return {"W": W, "b": torch.zeros(num_outputs, dtype=dtype, device=W.device, requires_grad=True)}

    def apply(params: Params, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        return x @ params["W"] + params["b"]

    return BareModel(init, apply)


def two_layer(
    num_features: int,
    num_hidden: int = 5,
    hidden_activation: Callable[[Tensor], Tensor] = activations.tanh,
) -> BareModel:
    """One hidden layer and one logistic unit, `o = g(x W1^T + b1) w2 + b2`.

    `W1` (H, D), `b1` (H,), `w2` (H,) and `b2` (1,) are drawn from 0.01 * N(0, 1).

    Args:
        num_features: D.
        num_hidden: H.
        hidden_activation: g; `activations.shifted_logistic` for the network as the notebook codes it.

    Returns:
        Model with logits of shape (N,).

    Source:
        Notebook, section 3.3.1.
    """

    def init(generator: Generator | None = None, dtype: torch.dtype = torch.float32) -> Params:
        return {
            "W1": _normal(0.01, (num_hidden, num_features), generator, dtype),
            "b1": _normal(0.01, (num_hidden,), generator, dtype),
            "w2": _normal(0.01, (num_hidden,), generator, dtype),
            "b2": _normal(0.01, (1,), generator, dtype),
        }

    def apply(params: Params, x: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        hidden = hidden_activation(x @ params["W1"].T + params["b1"])  # (N, H)
        return hidden @ params["w2"] + params["b2"]

    return BareModel(init, apply)


def _normal(
    scale: float, shape: tuple[int, ...], generator: Generator | None, dtype: torch.dtype
) -> Float[Tensor, "..."]:
    device = "cpu" if generator is None else generator.device
    noise = torch.randn(shape, generator=generator, dtype=dtype, device=device)
    return (scale * noise).requires_grad_()  # after scaling: an optimiser wants leaves


NETWORKS: Mapping[str, Callable[[tuple[int, ...], tuple[int, ...], int], BareModel]] = MappingProxyType(
    {
        "logistic": lambda shape, hidden, num_outputs: logistic(checks.num_features(shape)),
        "softmax": lambda shape, hidden, num_outputs: softmax(checks.num_features(shape), num_outputs),
        "two_layer_tanh": lambda shape, hidden, num_outputs: two_layer(checks.num_features(shape), hidden[0]),
        "two_layer_as_coded": lambda shape, hidden, num_outputs: two_layer(
            checks.num_features(shape), hidden[0], activations.shifted_logistic
        ),
        "two_layer_as_printed": lambda shape, hidden, num_outputs: two_layer(
            checks.num_features(shape), hidden[0], activations.shifted_logistic_as_printed
        ),
        "softmax_mean_all": lambda shape, hidden, num_outputs: softmax_mean_all(
            checks.num_features(shape), num_outputs
        ),
    }
)
"""Experiments by name: from the shape of one input, the hidden units and the number of outputs."""
