"""No false alarm: the harness passes every right port, with no mapping given."""

from typing import Any

import jax
import pytest

from parity.report.results import Verdict
from tests.kit.checking import check
from tests.pairs.ports import ports

PORTS = ports()


def sampled(number: int, name: str) -> Any:
    """Every eighth port by default; all with `-m whole`."""
    return pytest.param(name, marks=() if number % 8 == 0 else (pytest.mark.whole,), id=name)


@pytest.mark.filterwarnings("ignore")  # the models under test may warn
@pytest.mark.parametrize("name", [sampled(*numbered) for numbered in enumerate(sorted(PORTS))])
def test_a_right_port_passes(name: str) -> None:
    jax.clear_caches()
    how = {"dtypes": ["float64"], "finite_differences": False}
    report = check(PORTS[name]().unaided(), name=name, **how)
    assert report.verdict is Verdict.PASS, str(report)
    assert report.divergences == ()


MEANS = ("bare/nnx", "image-norms/linen", "layer-norm/linen", "resnet/linen")
"""Ports that compute means and variances, some of them in one pass: what the rule on accuracy is about."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MEANS)
def test_a_right_port_is_not_said_to_lose_accuracy_in_float32(name: str) -> None:
    jax.clear_caches()
    how = {"dtypes": ["float64", "float32"], "finite_differences": False, "moved_weights": False}
    report = check(PORTS[name]().unaided(), name=name, **how)
    assert report.verdict is Verdict.PASS, str(report)
    notes = [note for q in report.quantities for note in q.notes]
    assert not [note for note in notes if note.startswith("accuracy")]
