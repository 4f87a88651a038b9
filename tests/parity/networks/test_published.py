"""The notebook's published results: the rule that judges them, and (off by default) the runs in full."""

from pathlib import Path

import pytest
from rich.console import Console

import jaxnn
from parity.networks.published import (
    PUBLISHED,
    TRAIN_TOLERANCE,
    VAL_TOLERANCE,
    PublishedRow,
    Rerun,
    Result,
    rerun,
)
from parity.networks.published_table import print_reruns
from parity.networks.registry import CASES
from parity.networks.run_case import run_case
from parity.numerics.progress import no_progress
from parity.report.results import Verdict

DIGITS = [e for e in PUBLISHED if e.data == "sign-digits"]


def runs(*accuracies: tuple[float, float]) -> tuple[Result, ...]:
    return tuple(Result(0.5, train, 0.6, val) for train, val in accuracies)


def row(*, within: bool | None) -> PublishedRow:
    return PublishedRow("t", "linear", "embedded", 1, 0.1, Result(0.5, 0.90, 0.6, 0.80), within=within)


def test_medians_must_come_close_in_both_frameworks() -> None:
    near, far = runs((0.88, 0.83), (0.92, 0.50), (0.10, 0.81)), runs((0.86, 0.80), (0.86, 0.80), (0.9, 0.8))
    assert Rerun(row(within=True), near, near).agrees is True
    assert Rerun(row(within=True), near, far).agrees is False
    assert Rerun(row(within=True), far, near).agrees is False


def test_or_the_published_values_must_lie_in_the_range_of_the_seeds() -> None:
    wide, narrow = runs((0.5, 0.4), (0.95, 0.9)), runs((0.5, 0.4), (0.95, 0.7))
    assert Rerun(row(within=False), wide, wide).agrees is True
    assert Rerun(row(within=False), wide, narrow).agrees is False
    assert Rerun(row(within=None), narrow, narrow).agrees is None


def test_the_rows_are_recipes_with_their_epochs() -> None:
    for e in PUBLISHED:
        recipe = jaxnn.RECIPES[e.recipe]
        assert (e.epochs, e.learning_rate) in ((recipe.epochs, recipe.learning_rate), *recipe.also)


def test_the_table_shows_published_and_both_frameworks() -> None:
    console = Console(record=True, width=100)
    print_reruns(console, [Rerun(DIGITS[0], runs((1.0, 0.96)), runs((1.0, 0.97)))], (0.03, 0.04))
    text = console.export_text()
    assert all(word in text for word in ("published", "PyTorch", "JAX", "0.964", "0.970", "agrees"))


def test_rerun_trains_in_both_frameworks_from_the_same_weights() -> None:
    phases: list[str] = []
    short = PublishedRow("t", "linear_minibatch", "embedded", 2, 0.1, None, within=None)
    result = rerun(short, num_seeds=2, progress=phases.append)
    assert phases == ["PyTorch, seed 1 of 2", "PyTorch, seed 2 of 2", "JAX, 2 seeds in one program"]
    assert len(result.torch) == len(result.jax) == 2
    for by_torch, by_jax in zip(result.torch, result.jax, strict=True):
        # Two epochs are far from chaos: float32 rounding only.
        assert by_jax == pytest.approx(by_torch, rel=1e-4)
    assert result.torch[0] != result.torch[1]


def test_a_case_on_the_real_photographs(photographs: Path) -> None:
    result = run_case(CASES["linear_minibatch"], data_name="sign-digits", samples=100, epochs=2)
    assert result.verdict is Verdict.PASS, str(result.report)
    assert result.data == "sign-digits"


@pytest.mark.published
@pytest.mark.parametrize("e", DIGITS, ids=lambda e: e.recipe)
def test_recipes_land_where_the_notebook_did(e: PublishedRow, photographs: Path) -> None:
    result = rerun(e, progress=no_progress)
    print_reruns(Console(width=100), [result], (TRAIN_TOLERANCE, VAL_TOLERANCE))
    assert result.agrees is not False
    if e.recipe == "two_layer_tanh":  # the right gradient learns much more in the same epochs
        printed = next(x for x in DIGITS if x.recipe == "two_layer_as_printed")
        assert printed.published is not None
        for trained in (result.torch, result.jax):
            assert Rerun.median(trained).val_accuracy > printed.published.val_accuracy
