"""No false alarm: the harness passes every right port, with no mapping given."""

from typing import Any

import jax
import pytest

import parity
from parity.report.results import Verdict
from tests.pairs.zoo import PAIRS


def sampled(number: int, name: str) -> Any:
    """Every fourth port by default; all with `-m whole`."""
    return pytest.param(name, marks=() if number % 4 == 0 else (pytest.mark.whole,), id=name)


@pytest.mark.filterwarnings("ignore")  # the models under test may warn
@pytest.mark.parametrize("name", [sampled(*numbered) for numbered in enumerate(sorted(PAIRS))])
def test_a_right_port_passes(name: str) -> None:
    jax.clear_caches()
    report = parity.check(**PAIRS[name](), name=name, dtypes=["float64"], differences=False)
    assert report.verdict is Verdict.PASS, str(report)
    assert report.divergences == ()
