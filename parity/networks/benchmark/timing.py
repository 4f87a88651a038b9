"""Programs timed side by side: in turns, so that what disturbs one disturbs all, compared pair by pair."""

import dataclasses
import functools
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from parity.networks.benchmark import memory
from parity.networks.benchmark.busy import launch_share
from parity.networks.benchmark.machine import Limit, Machine
from parity.networks.benchmark.prepared_case import EPOCH, Contender, History, PreparedCase
from parity.networks.benchmark.work import Work
from parity.numerics.progress import Progress, no_progress

Returned = TypeVar("Returned")

LEAST_EPOCHS = 2

SAME = 1e-2
"""Relative difference of the last losses, in float32, up to which two programs did the same."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """One program's figures, times in seconds per epoch, of many runs per model and epoch.

    Attributes:
        case: the case.
        program: its name.
        note: what sets it apart; if it could not be timed, why.
        epochs: epochs of a run, or steps of another algorithm.
        per: what a time is of: "epoch", or a step of another algorithm, which has no limit and no ratios.
        models: runs that one call trains.
        times: one per repetition; empty if it could not be timed.
        compiling: seconds by which the first run was longer than the median one.
        ratios: per repetition, the fastest eager PyTorch form's time over this one's; above 1 is faster.
        own_ratios: the same against the notebook's own form.
        last_loss: of the validation set, at the end, the mean of the models.
        peak_bytes: by how much memory rose at most during a run; None where that cannot be measured.
        limit: the least time the epoch's work can take on this machine.
        launch_share: the share of a run's time in which a GPU was idle; None on a CPU or unknown.
    """

    case: str
    program: str
    note: str
    epochs: int
    per: str = EPOCH
    models: int = 1
    times: tuple[float, ...] = ()
    compiling: float = 0.0
    ratios: tuple[float, ...] = ()
    own_ratios: tuple[float, ...] = ()
    last_loss: float | None = None
    peak_bytes: int | None = None
    limit: Limit | None = None
    launch_share: float | None = None

    @property
    def median(self) -> float:
        """Seconds per epoch."""
        return statistics.median(self.times)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median."""
        low, high = np.quantile(self.times, [0.25, 0.75])
        return float(high - low) / 2 / self.median

    @property
    def share(self) -> float | None:
        """How much of the limit is reached: 1 is all that the machine can do."""
        return None if self.limit is None else self.limit.seconds / self.median

    @property
    def memory_share(self) -> float | None:
        """How much of the time the bytes alone would take."""
        return None if self.limit is None else self.limit.memory / self.median

    @property
    def compute_share(self) -> float | None:
        """How much of the time the operations alone would take."""
        return None if self.limit is None else self.limit.compute / self.median


class _Started(NamedTuple):
    """A program after its first run.

    Attributes:
        program: the program.
        run: trains once more.
        first: seconds of the first run.
        units: epochs of all models of a run, or steps of another algorithm.
        last_loss: at the end, the mean of the models.
        peak_bytes: of memory during a run.
    """

    program: Contender
    run: Callable[[], History]
    first: float
    units: int
    last_loss: float
    peak_bytes: int | None


def time_contenders(
    chosen: PreparedCase,
    programs: Sequence[Contender],
    machine: Machine,
    work: Work,
    *,
    repeats: int,
    seconds: float,
    progress: Progress = no_progress,
) -> list[Timing]:
    """Time the programs of a case in turns.

    Args:
        chosen: the case.
        programs: the programs; the first eager one is PyTorch's in the notebook's own form.
        machine: the limits.
        work: the least work of an epoch.
        repeats: runs of each.
        seconds: roughly what one run of eager PyTorch may take; epochs are chosen by it.
        progress: called with a short description as each phase begins.

    Returns:
        A row per program; one that raises, or that trains to another loss, has a note and no times.
    """
    epochs = _epochs(next(p for p in programs if p.eager), chosen.torch_recipe.epochs, seconds, progress)
    started, why = _first_runs(programs, epochs, chosen.device, progress)
    times: dict[str, list[float]] = {one.program.name: [] for one in started}
    for repeat in range(repeats):
        progress(f"round {repeat + 1} of {repeats}")
        turn = repeat % max(1, len(started))
        for one in started[turn:] + started[:turn]:
            times[one.program.name].append(_timed(one.run)[0] / one.units)
    eager = [one.program.name for one in started if one.program.eager]
    fastest = min(eager, key=lambda name: statistics.median(times[name]), default=None)
    limit = machine.limit(work.num_bytes, work.operations)
    rows = {p.name: Timing(chosen.title, p.name, why.get(p.name, p.note), epochs, p.per) for p in programs}
    for one in started:
        program, own = one.program, times[one.program.name]
        progress(f"{program.name}: what the device did")
        rows[program.name] = dataclasses.replace(
            rows[program.name],
            epochs=one.units // len(program.which),
            models=len(program.which),
            times=tuple(own),
            compiling=max(0.0, one.first - one.units * statistics.median(own)),
            last_loss=one.last_loss,
            peak_bytes=one.peak_bytes,
            launch_share=launch_share(one.run, chosen.device),
        )
        if program.per == EPOCH:  # the same work: what a step of another algorithm needs is not known
            rows[program.name] = dataclasses.replace(rows[program.name], limit=limit)
            if fastest is not None:
                rows[program.name] = dataclasses.replace(
                    rows[program.name],
                    ratios=tuple(_ratios(times[fastest], own)),
                    own_ratios=tuple(_ratios(times[eager[0]], own)),
                )
    return list(rows.values())


def _first_runs(
    programs: Sequence[Contender], epochs: int, device: str, progress: Progress
) -> tuple[list[_Started], dict[str, str]]:
    """The programs that run and do the same, and why the others are not timed."""
    started, why = [], {}
    first_losses: dict[int, float] = {}  # last loss by number of the run, of the first program that has it
    for program in programs:
        progress(f"{program.name}: first run")
        try:
            run = program.make(epochs)
            (first, history), peak = memory.rise(functools.partial(_timed, run), program.framework, device)
        except Exception as error:  # a compiler that is not there must not cost the other rows
            text = str(error).partition("\n")[0][:80]
            why[program.name] = f"not timed: {type(error).__name__}: {text}"
            continue
        losses = np.asarray(history["val_loss"], np.float64)[..., -1].reshape(-1)
        if program.per == EPOCH:
            own = dict(zip(program.which, losses, strict=True))
            pairs = [(loss, first_losses.get(number, loss)) for number, loss in own.items()]
            apart = [(loss, other) for loss, other in pairs if not abs(loss - other) <= SAME * abs(other)]
            if apart:
                loss, other = apart[0]
                why[program.name] = f"not timed: its last loss is {loss:.5g}, elsewhere {other:.5g}"
                continue
            first_losses = own | first_losses
        if device == "cpu" or program.framework == "torch":
            # Once more, without what compiling took. JAX's allocator never forgets its peak: the first
            # run is the only one that can be seen to raise it.
            _, peak = memory.rise(run, program.framework, device)
        units = len(program.which) * int(history.get("iterations", epochs))
        started.append(_Started(program, run, first, units, float(losses.mean()), peak))
    return started, why


def _epochs(program: Contender, most: int, seconds: float, progress: Progress) -> int:
    """Epochs of a run of about so many seconds."""
    progress(f"{program.name}: choosing the number of epochs")
    run = program.make(LEAST_EPOCHS)
    run()
    each = min(_timed(run)[0] for _ in range(2)) / LEAST_EPOCHS  # of all the runs that a call trains
    return max(LEAST_EPOCHS, min(most, round(seconds / each)))


def _timed(run: Callable[[], Returned]) -> tuple[float, Returned]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        started = time.perf_counter()
        result = run()
        return time.perf_counter() - started, result
    finally:
        if enabled:
            gc.enable()


def _ratios(base: Sequence[float], own: Sequence[float]) -> Iterator[float]:
    return (b / o for b, o in zip(base, own, strict=True))
