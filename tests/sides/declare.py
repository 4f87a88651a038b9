"""How a pair of any two kinds of side is declared: right or with a fault, whose line and cause are known.

A module of pairs holds functions under `@pair(...)`. Each takes `faulty` and returns the arguments of
`parity.check`, flat; the line that computes the wrong thing carries the comment `# FAULT: <name>`.
"""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from parity.report.kinds import CauseKind, Stage

HERE = Path(__file__).parent

Arguments = dict[str, Any]
"""Arguments of `parity.check`, flat."""


class PairOfSides(NamedTuple):
    """A right pair and the same pair with a fault in the candidate.

    Attributes:
        name: e.g. "torch-torch/attention".
        build: `build(faulty)` -> the arguments.
        cause: what may be named as the cause, the best first; empty where the cause is not local.
        stage: where the fault must show.
        quick: whether it belongs to the part that always runs.
    """

    name: str
    build: Callable[[bool], Arguments]
    cause: tuple[CauseKind, ...]
    stage: Stage
    quick: bool


def pair(
    name: str, *cause: CauseKind, stage: Stage = Stage.FORWARD, quick: bool = False
) -> Callable[[Callable[[bool], Arguments]], PairOfSides]:
    """Decorator that makes a pair of `build(faulty)`; the arguments are the fields of `PairOfSides`."""
    return lambda build: PairOfSides(name, build, cause, stage, quick)


def pairs() -> tuple[PairOfSides, ...]:
    """Every pair of every module beside this one, by name."""
    names = sorted(path.stem for path in HERE.glob("*_pairs.py"))
    modules = [importlib.import_module(f"{__package__}.{name}") for name in names]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, PairOfSides)]
    return tuple(sorted(found, key=lambda one: one.name))


def fault_lines(name: str) -> set[tuple[str, int]]:
    """(file, line number) of every line marked with this name."""
    return {
        (str(path), number)
        for path in HERE.glob("*_pairs.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(rf"# FAULT: {re.escape(name)}$", line)
    }
