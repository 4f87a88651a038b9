"""What one process does; JAX and PyTorch are loaded there, after their settings are made."""

import itertools
import os
import signal
import time
import warnings
from typing import Any, NamedTuple

from parity.networks.processes import end_with_parent


class Work(NamedTuple):
    """What one process does in one go: mutants of a port, or the right port itself.

    Attributes:
        name: of the port or pair file.
        seed: of the draw.
        count: how many mutants; 0 for the right port.
        seeds: of the right port's weights and names.
        seconds: that one check may take.
    """

    name: str
    seed: int
    count: int
    seeds: tuple[int, ...]
    seconds: float


_until: float | None = None


def prepared(until: float | None) -> None:
    """A process that steps back for others, leaves Ctrl-C to the first, and ends with it."""
    global _until
    _until = until
    end_with_parent()
    os.nice(5)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)


def worked(work: Work) -> tuple[list[Any], bool]:
    """The rows of one piece of work, and whether these are all: when the time is up the rest is left."""
    from tests.mutants.renamed import renamed_rows
    from tests.mutants.trying import mutants_of

    if work.count:
        rows = mutants_of(work.name, work.seed, work.count, work.seconds)
    else:
        rows = renamed_rows(work.name, work.seeds, work.seconds)
    done = list(itertools.takewhile(lambda _: not _late(), rows)) if not _late() else []
    return done, not _late()


def _late() -> bool:
    return _until is not None and time.monotonic() > _until
