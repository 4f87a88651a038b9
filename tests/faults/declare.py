"""How a seeded fault is declared: a pair with a faulty twin, what is wrong, and what must be said of it.

A row module holds functions under `@fault(...)`. Each takes `faulty` and returns the right pair (False) or
the one with the fault (True); the lines that compute the wrong thing carry the comment `# FAULT: <id>`.
`cases()` collects them all.
"""

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from parity.report.kinds import CauseKind, Stage
from tests.kit.conversion import Convert
from tests.kit.marks import marked_lines
from tests.kit.pairs import Pair

HERE = Path(__file__).parent

STAGES = (Stage.FORWARD, Stage.GRADIENTS, Stage.WEIGHTS)
MODES = ("float64", "float32", "bfloat16", "accelerator", "compiled")


class Case(NamedTuple):
    """One row of the catalogue as a right and a faulty port.

    Attributes:
        id: of the catalogue, e.g. "A01".
        title: what is wrong, in a few words.
        pair: `pair(faulty)` -> the right pair, or its faulty twin.
        cause: what the diagnosis must name; None where the cause is not local.
        stage: where it must fail: forward, gradients (forward agrees) or weights (wrong `params`).
        module: PyTorch's module path at the fault; "" for the root or any.
        tensors: PyTorch tensors of which the weights stage must fail one; with wrongly converted `params`.
        mode: in which runs it shows; "float64" on any CPU.
        benign: a control, which must not get the verdict fail.
        convert: only for the self-check: PyTorch's weights as JAX leaves by path; None: the names are equal.
        also: other causes that describe the same fault as truly.
    """

    id: str
    title: str
    pair: Callable[[bool], Pair]
    cause: CauseKind | None = None
    stage: Stage = Stage.FORWARD
    module: str = ""
    tensors: tuple[str, ...] = ()
    mode: str = "float64"
    benign: bool = False
    convert: Convert | None = None
    also: tuple[CauseKind, ...] = ()


def fault(id: str, title: str, **rest: Any) -> Callable[[Callable[[bool], Pair]], Case]:
    """Decorator that makes a case of `pair(faulty)`; keywords are the fields of `Case`."""
    return lambda pair: Case(id, title, pair, **rest)


@functools.cache
def cases() -> tuple[Case, ...]:
    """Every case of every row module beside this file, by class and number."""
    found: dict[str, Case] = {}
    for name in _row_modules():
        module = importlib.import_module(f"{__package__}.{name}")
        for case in [value for value in vars(module).values() if isinstance(value, Case)]:
            if found.setdefault(case.id, case) is not case:
                raise ValueError(f"two cases have the id {case.id}; the second is in {name}.py")
    return tuple(sorted(found.values(), key=lambda case: (case.id[0], int(case.id[1:]))))


def fault_lines(id: str) -> tuple[tuple[str, int], ...]:
    """(file, line number) of every line marked with this id (`# FAULT: A01`, or several: `A01, A02`)."""
    return marked_lines(id, [HERE / f"{name}.py" for name in _row_modules()])


def _row_modules() -> list[str]:
    """Names of the modules beside this one, tests left out."""
    names = sorted(path.stem for path in HERE.glob("[a-z]*.py"))
    return [
        name
        for name in names
        if name not in ("declare", "conftest", "suite", "plain_runs") and not name.startswith("test_")
    ]
