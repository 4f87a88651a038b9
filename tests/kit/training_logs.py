"""Plain loops that training in either framework is compared with."""

import math
from collections.abc import Sequence
from typing import NamedTuple


class Stop(NamedTuple):
    """Where early stopping ends.

    Attributes:
        num_epochs: how many epochs run.
        best_epoch: the one whose weights are kept, from 1; 0 for those from before training.
    """

    num_epochs: int
    best_epoch: int


def stop_by_hand(losses: Sequence[float], patience: int, min_delta: float) -> Stop:
    """Early stopping from its definition, looking back over all epochs anew in each."""
    for epoch in range(1, len(losses) + 1):
        best = 0
        for e in range(1, epoch + 1):
            least = math.inf if best == 0 else losses[best - 1]
            if losses[e - 1] < least - min_delta:
                best = e
        if epoch - best >= patience:
            return Stop(epoch, best)
    return Stop(len(losses), best)


SEQUENCES: dict[str, tuple[list[float], int, float, Stop]] = {
    "it stops and keeps the best": ([3, 2, 1, 2, 2, 0, 0], 2, 0.0, Stop(5, 3)),
    "it goes on as long as it gets better": ([3, 2, 1, 0], 1, 0.0, Stop(4, 4)),
    "it never gets better": ([3, 3, 3, 3], 2, 0.0, Stop(3, 1)),
    "it gets better by too little": ([3, 2.9, 2.8, 2.7], 2, 0.5, Stop(3, 1)),
    "small steps add up": ([3, 2.75, 2.25, 3, 3], 2, 0.5, Stop(5, 3)),
    "exactly by min_delta is not better": ([3, 2.5, 2], 1, 0.5, Stop(2, 1)),
    "NaN is no better, and not the end": ([3, math.nan, 2, 3, 3], 2, 0.0, Stop(5, 3)),
    "nothing but NaN": ([math.nan] * 5, 3, 0.0, Stop(3, 0)),
    "infinite from the start": ([math.inf, math.inf, 1, 2, 2, 2], 3, 0.0, Stop(6, 3)),
    "one epoch": ([1], 1, 0.0, Stop(1, 1)),
    "more patience than epochs": ([1, 2, 3], 5, 0.0, Stop(3, 1)),
}
"""Validation losses by epoch, patience, min_delta, and where it ends."""
