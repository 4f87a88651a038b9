"""Early stopping in a training loop: when to end it, and the best weights on the way.

Source:
    Notebook, section 4.5.
"""

import dataclasses
import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """When to stop: after `patience` epochs in a row whose validation loss is no better than the best.

    Better is lower than the best so far by more than `min_delta`. NaN is never better. The weights that are
    kept are those of the last epoch that was better; if none was, those from before training.

    Attributes:
        patience: at least 1.
        min_delta: in the unit of the loss, at least 0.

    Raises:
        ValueError: if a number is out of its range.
    """

    patience: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.patience, int) or self.patience < 1:
            raise ValueError(f"`patience` must be an integer of at least 1, got {self.patience!r}.")
        if not (math.isfinite(self.min_delta) and self.min_delta >= 0):
            raise ValueError(f"`min_delta` must be finite and at least 0, got {self.min_delta!r}.")


class Watch:
    """What a training loop remembers from epoch to epoch.

    Args:
        rule: when to stop.
        parameters: tensors by name, as they are before training.

    Attributes:
        best_epoch: the epoch, counted from 1, in which the kept weights were measured; 0 before the first.
        loss: their validation loss; infinite before the first epoch.

    >>> w = torch.tensor([3.0])
    >>> watch = Watch(EarlyStopping(patience=1), {"w": w})
    >>> for epoch, loss in enumerate([0.5, 0.7], start=1):
    ...     watch.see({"w": w + epoch}, torch.tensor(loss), epoch)
    >>> watch.stops, watch.best_epoch
    (True, 1)
    """

    def __init__(self, rule: EarlyStopping, parameters: Mapping[str, Tensor]) -> None:
        self._rule = rule
        self._waited = 0
        self.best_epoch = 0
        self.loss = torch.tensor(torch.inf)
        self._keep(parameters)

    @property
    def stops(self) -> bool:
        """Whether training is to stop."""
        return self._waited >= self._rule.patience

    def see(self, parameters: Mapping[str, Tensor], loss: Float[Tensor, ""], epoch: int) -> None:
        """Take in an epoch.

        Args:
            parameters: the weights that were measured; they are copied if they are the best.
            loss: their validation loss.
            epoch: counted from 1.
        """
        if loss < self.loss.to(loss) - self._rule.min_delta:  # False for NaN
            self.loss, self.best_epoch, self._waited = loss, epoch, 0
            self._keep(parameters)
        else:
            self._waited += 1

    def restore(self, parameters: Mapping[str, Tensor]) -> None:
        """Write the kept weights into the parameters.

        Args:
            parameters: tensors by the same names, changed in place.
        """
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(self._kept[name])

    def _keep(self, parameters: Mapping[str, Tensor]) -> None:
        self._kept = {name: p.detach().clone() for name, p in parameters.items()}
