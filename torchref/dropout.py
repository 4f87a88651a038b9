"""Dropout whose masks are given, so that another program can train with the same ones.

Source:
    Notebook, section 4.5; Srivastava et al. 2014.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def dropout(x: Float[Tensor, "N K *image"], keep: Bool[Tensor, "N K"], rate: float) -> Tensor:
    """Leave out units, of images whole channels, and scale up the others: `x / (1 - rate)` or 0.

    Args:
        x: hidden units, or images NCHW.
        keep: which units of each sample stay, as `data.draws.keep` draws them.
        rate: share of the units that is left out, in [0, 1).

    Returns:
        A tensor like `x`; over the draws of `keep` its mean is `x`.

    Raises:
        ValueError: if `keep` is not (N, K).

    Differs:
        `torch.nn.Dropout` and `torch.nn.Dropout2d` draw the mask themselves, from the global random state.

    >>> dropout(torch.ones(1, 4), torch.tensor([[True, False, True, True]]), 0.5)
    tensor([[2., 0., 2., 2.]])
    """
    if keep.shape != x.shape[:2]:
        raise ValueError(f"`keep` must be {tuple(x.shape[:2])}, got {tuple(keep.shape)}.")
    return torch.where(keep[(...,) + (None,) * (x.ndim - 2)], x / (1 - rate), torch.zeros_like(x))


class Dropout(nn.Module):
    """The place in a `DropoutSequential` where units are left out.

    Args:
        num_units: units of the layer before, or channels.
        rate: share of them that is left out, in [0, 1).

    Raises:
        ValueError: if `rate` is out of its range.
    """

    def __init__(self, num_units: int, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"`rate` must be at least 0 and below 1, got {rate}.")
        self.num_units = num_units
        self.rate = rate

    def forward(self, x: Float[Tensor, "N K *image"], keep: Bool[Tensor, "N K"]) -> Tensor:
        """What is left of a batch."""
        return dropout(x, keep, self.rate)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"num_units={self.num_units}, rate={self.rate}"


class DropoutSequential(nn.Sequential):
    """Layers in sequence, some of them `Dropout`: `forward(x)` to evaluate, `forward(x, keep=...)` to train.

    Differs:
        With `torch.nn.Dropout` the mode of the module says which of the two it is (`train`, `eval`).
    """

    def forward(self, x: Tensor, keep: Bool[Tensor, "N M"] | None = None) -> Tensor:
        """Logits of a batch.

        Args:
            x: the batch.
            keep: which hidden units stay, those of all layers beside one another; None for all.

        Raises:
            ValueError: if `keep` has another shape.
        """
        widths = [layer.num_units for layer in self if isinstance(layer, Dropout)]
        if keep is not None and keep.shape != (len(x), sum(widths)):
            raise ValueError(
                f"`keep` must be {(len(x), sum(widths))}, the layers' {widths} beside one another, "
                f"got {tuple(keep.shape)}."
            )
        masks = iter(() if keep is None else keep.split(widths, dim=1))
        for layer in self:
            if not isinstance(layer, Dropout):
                x = layer(x)
            elif keep is not None:
                x = layer(x, next(masks))
        return x
