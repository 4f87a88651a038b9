"""No false alarm: the harness passes every right port, with no mapping given."""

from typing import Any

import jax
import pytest

from parity.report.results import Verdict
from tests.kit.checking import check
from tests.pairs.ports import ports

PORTS = ports()


def sampled(number: int, name: str) -> Any:
    """Every fourth port by default; all with `-m whole`."""
    return pytest.param(name, marks=() if number % 4 == 0 else (pytest.mark.whole,), id=name)


@pytest.mark.filterwarnings("ignore")  # the models under test may warn
@pytest.mark.parametrize("name", [sampled(*numbered) for numbered in enumerate(sorted(PORTS))])
def test_a_right_port_passes(name: str) -> None:
    jax.clear_caches()
    how = {"dtypes": ["float64"], "finite_differences": False}
    report = check(PORTS[name]().unaided(), name=name, **how)
    assert report.verdict is Verdict.PASS, str(report)
    assert report.divergences == ()
