"""How a case is declared: a right pair and, where there is one, its faulty twin; what a report says of it.

Each case was a wrong outcome once: a false alarm, a false pass, an error of the harness, a wrong place or a
wrong cause. The lines that compute the wrong thing carry `# FAULT: <name of the case>`; others that
may be named as well, mostly the first that read it, carry `# USE: <name of the case>`.
"""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from parity.report.divergences import Cause, Divergence, once_each
from parity.report.kinds import Stage
from parity.report.results import Report, Verdict
from tests.faults.plain_runs import leaves_of
from tests.kit.checking import check
from tests.kit.conversion import Convert
from tests.kit.marks import marked_lines
from tests.kit.pairs import Pair
from tests.kit.weights import Arrays

Line = tuple[str, int]


class Case(NamedTuple):
    """A pair that the harness once got wrong.

    Attributes:
        id: its name.
        pair: `pair(faulty)` -> the right pair, or its faulty twin.
        convert: PyTorch's weights as JAX leaves by path, for the plain runs.
        twins: whether there is a faulty twin, with the same weights.
        stage: where the faulty twin shows: in the outputs or in the gradients alone.
        within: how far apart the right twins may lie in float64 (tables rounded to float32: more).
    """

    id: str
    pair: Callable[[bool], Pair]
    convert: Convert | None
    twins: bool = True
    stage: Stage = Stage.FORWARD
    within: float = 1e-12

    @property
    def right(self) -> Pair:
        """The right pair."""
        return self.pair(False)

    @property
    def faulty(self) -> Pair:
        """Its faulty twin."""
        return self.pair(True)

    @property
    def fault(self) -> set[Line]:
        """The lines that are wrong."""
        return set(marked_lines(self.id, [self._file]))

    @property
    def use(self) -> set[Line]:
        """The lines that are wrong, and those that may be named for them."""
        return self.fault | set(marked_lines(self.id, [self._file], mark="USE"))

    @property
    def _file(self) -> Path:
        return Path(inspect.getfile(self.pair))


def twins(tree: Callable[[Arrays], Any] | None, **rest: Any) -> Callable[[Callable[[bool], Pair]], Case]:
    """Decorator that makes a case of `pair(faulty)`; `tree` converts PyTorch's weights to JAX's params."""
    return lambda pair: Case(pair.__name__, pair, _by_path(tree), **rest)


def right_only(tree: Callable[[Arrays], Any] | None, **rest: Any) -> Callable[[Callable[[], Pair]], Case]:
    """The same of a pair without a faulty twin."""

    def of(pair: Callable[[], Pair]) -> Case:
        return Case(pair.__name__, lambda faulty: pair(), _by_path(tree), twins=False, **rest)

    return of


def plain(case: Case) -> Any:
    """A case as a parameter of a test that it passes."""
    return pytest.param(case, id=case.id)


QUICK = {"dtypes": ["float64"], "finite_differences": False, "moved_weights": False}
"""What a case whose place or cause is in question is checked with: float64, and the weights as they are."""


def right_report(case: Case) -> Report:
    """A quick report on the right twin."""
    return check(case.right, **QUICK)


@functools.cache
def faulty_report(case: Case, whole: bool = False) -> Report:
    """The report on a faulty twin, made once: a quick one, or one of a whole check."""
    return check(case.faulty, **({} if whole else QUICK))


def require_pass(report: Report) -> None:
    """The verdict is pass, and no place is named."""
    assert report.verdict is Verdict.PASS, str(report)
    assert report.divergences == ()


def first(report: Report) -> Divergence:
    """The first place of a report that fails."""
    assert report.verdict is Verdict.FAIL, str(report)
    assert report.divergences, str(report)
    return report.divergences[0]


def only(report: Report) -> Divergence:
    """The one fault of a report that fails, wherever else it shows."""
    fault = first(report)
    assert len(once_each(report.divergences)) == 1, str(report)
    return fault


def lines(divergence: Divergence) -> list[Line]:
    """The candidate's lines, the likeliest culprit first."""
    return [(place.file, place.line) for place in divergence.candidate]


def cause(divergence: Divergence) -> Cause:
    """The cause, which must have been found."""
    assert divergence.cause is not None, str(divergence)
    return divergence.cause


def _by_path(tree: Callable[[Arrays], Any] | None) -> Convert | None:
    return None if tree is None else lambda own: leaves_of(tree(own))[0]
