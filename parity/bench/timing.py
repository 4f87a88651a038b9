"""Programs timed side by side: in turns, so that what disturbs one disturbs all, compared pair by pair."""

import dataclasses
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.bench.machine import Machine
from parity.bench.programs import History, Program, Setting
from parity.bench.work import Work

LEAST_EPOCHS = 2

SAME = 1e-2
"""Relative difference of the last losses, in float32, up to which two programs did the same."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """One program's figures, times in seconds per epoch.

    Attributes:
        case: the case.
        program: its name.
        note: what sets it apart; if it could not be timed, why.
        epochs: epochs of a run.
        times: one per repetition; empty if it could not be timed.
        compiling: seconds by which the first run was longer than the median one.
        ratios: per repetition, the fastest eager PyTorch form's time over this one's; above 1 is faster.
        own_ratios: the same against the notebook's own form.
        limit: the least time the epoch's work can take on this machine.
    """

    case: str
    program: str
    note: str
    epochs: int
    times: tuple[float, ...] = ()
    compiling: float = 0.0
    ratios: tuple[float, ...] = ()
    own_ratios: tuple[float, ...] = ()
    limit: float = 0.0

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
    def share(self) -> float:
        """How much of the limit is reached: 1 is all that the machine can do."""
        return self.limit / self.median


def compare(
    chosen: Setting,
    programs: Sequence[Program],
    machine: Machine,
    work: Work,
    *,
    repeats: int,
    seconds: float,
    stage: Callable[[str], None] = lambda text: None,
) -> list[Timing]:
    """Time the programs of a case in turns.

    Args:
        chosen: the case.
        programs: the programs; the first of PyTorch's is the notebook's own form.
        machine: the limits.
        work: the least work of an epoch.
        repeats: runs of each.
        seconds: roughly what one run of eager PyTorch may take; epochs are chosen by it.
        stage: told what is being done.

    Returns:
        A row per program; one that raises, or that trains to another loss, has a note and no times.
    """
    epochs = _epochs(next(p for p in programs if p.framework == "torch"), chosen.ours.epochs, seconds, stage)
    runs: dict[str, Callable[[], History]] = {}
    first: dict[str, float] = {}
    notes = {program.name: program.note for program in programs}
    expected: float | None = None
    for program in programs:
        stage(f"{program.name}: first run")
        try:
            run = program.make(epochs)
            first[program.name], history = _timed(run)
        except Exception as error:  # a compiler that is not there must not cost the other rows
            why = str(error).partition("\n")[0][:80]
            notes[program.name] = f"not timed: {type(error).__name__}: {why}"
            continue
        loss = float(np.asarray(history["val_loss"])[-1])
        expected = loss if expected is None else expected
        if not abs(loss - expected) <= SAME * abs(expected):
            notes[program.name] = f"not timed: its last loss is {loss:.5g}, elsewhere {expected:.5g}"
            continue
        runs[program.name] = run
    times: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for repeat in range(repeats):
        stage(f"round {repeat + 1} of {repeats}")
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            times[name].append(_timed(runs[name])[0] / epochs)
    eager = [p.name for p in programs if p.name.startswith("torch") and p.name in runs and "." not in p.name]
    fastest = min(eager, key=lambda name: statistics.median(times[name]))
    limit = machine.seconds(work.num_bytes, work.operations)
    return [
        Timing(
            chosen.case.name,
            program.name,
            notes[program.name],
            epochs,
            tuple(times.get(program.name, ())),
            _compiling(first, times, program.name, epochs),
            _ratios(times, fastest, program.name),
            _ratios(times, eager[0], program.name),
            limit,
        )
        for program in programs
    ]


def _epochs(program: Program, most: int, seconds: float, stage: Callable[[str], None]) -> int:
    """Epochs of a run of about so many seconds."""
    stage(f"{program.name}: choosing the number of epochs")
    run = program.make(LEAST_EPOCHS)
    run()
    each = min(_timed(run)[0] for _ in range(2)) / LEAST_EPOCHS
    return max(LEAST_EPOCHS, min(most, round(seconds / each)))


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        started = time.perf_counter()
        result = run()
        return time.perf_counter() - started, result
    finally:
        if enabled:
            gc.enable()


def _compiling(
    first: Mapping[str, float], times: Mapping[str, Sequence[float]], name: str, epochs: int
) -> float:
    return max(0.0, first[name] - epochs * statistics.median(times[name])) if times.get(name) else 0.0


def _ratios(times: Mapping[str, Sequence[float]], base: str, name: str) -> tuple[float, ...]:
    return tuple(b / own for b, own in zip(times[base], times.get(name, ()), strict=False))
