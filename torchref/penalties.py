"""Penalties on large weights: functions of named parameters, to be added to a loss.

`torchref.fit` takes one as `penalty`, a function of the parameters alone:

    penalty = functools.partial(torchref.penalties.l2, factor=1e-3, biases=False)

Source:
    Notebook, section 4.5 (later editions).
"""

import re
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

BIAS = re.compile(r"(.*\.)?(bias|b\d*)")
"""Names of biases: those of `torch.nn`, and `b`, `b1`, `b2` of the networks of bare tensors."""


def l1(parameters: Mapping[str, Tensor], factor: float, *, biases: bool) -> Float[Tensor, ""]:
    """Sum of absolute weights, `factor * sum |w|`; its gradient is `factor * sign(w)`, 0 at 0.

    Args:
        parameters: tensors by name; `bias` or `b` at the end of a name says that it is a bias.
        factor: strength of the penalty, per unit of loss.
        biases: whether biases count, too.

    Returns:
        Scalar in the dtype of the parameters.

    Raises:
        ValueError: if there is no weight.

    >>> l1({"weight": torch.tensor([[1.0, -2.0]]), "bias": torch.tensor([5.0])}, 0.5, biases=False)
    tensor(1.5000)
    """
    return factor * torch.stack([p.abs().sum() for p in _penalised(parameters, biases=biases)]).sum()


def l2(parameters: Mapping[str, Tensor], factor: float, *, biases: bool) -> Float[Tensor, ""]:
    """Sum of squared weights, `factor * sum w^2`; its gradient is `2 * factor * w`.

    Args:
        parameters: tensors by name; `bias` or `b` at the end of a name says that it is a bias.
        factor: strength of the penalty, per unit of loss.
        biases: whether biases count, too.

    Returns:
        Scalar in the dtype of the parameters.

    Raises:
        ValueError: if there is no weight.

    Differs:
        With biases included, and under `torch.optim.SGD`, this is `weight_decay=2 * factor`, which adds
        `weight_decay * w` to the gradient. `torch.optim.Adam` adds it there, too; where the decay is
        decoupled from the gradient, as in `torch.optim.AdamW` and `optax.adamw`, it is another algorithm.

    >>> l2({"weight": torch.tensor([[1.0, -2.0]]), "bias": torch.tensor([5.0])}, 0.5, biases=True)
    tensor(15.)
    """
    return factor * torch.stack([p.square().sum() for p in _penalised(parameters, biases=biases)]).sum()


def _penalised(parameters: Mapping[str, Tensor], *, biases: bool) -> list[Tensor]:
    chosen = [p for name, p in parameters.items() if biases or not BIAS.fullmatch(name)]
    if not chosen:
        raise ValueError("`parameters` holds no weight to penalise: all are biases, and `biases` is False.")
    return chosen
