"""A candidate that loses accuracy by its own rounding fails, whatever its noise; a reference does not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from parity.numerics.measured_leaf import Criterion
from parity.numerics.noise import Subject, measure
from parity.numerics.yardstick import judge_quantities
from parity.report.results import Quantity, Verdict

Function = Callable[[Any, Any], Any]
BOTH = ("float64", "float32")


def judged(
    reference: Function, candidate: Function, w: Any, *, dtypes: Any = BOTH, **rule: Any
) -> dict[str, Quantity]:
    """Two functions of a weight vector and its dtype, judged: the quantity of each dtype."""

    def subject(function: Function) -> Subject:
        def run(weights: Any, inputs: Any, dtype: str) -> Any:
            value = function(weights["w"].astype(dtype), dtype)
            return {"q": {"q": np.asarray(value).astype(np.float64)}}

        return Subject(run, {"w": np.asarray(w, np.float32).astype(np.float64)})

    sides = measure({"reference": subject(reference), "candidate": subject(candidate)}, {}, dtypes)
    rules = {"q": Criterion("forward", **rule)}
    return {q.dtype: q for q in judge_quantities(sides["reference"], sides["candidate"], rules)}


def two_pass(x: Any, _: str) -> Any:
    return np.mean((x - np.mean(x, -1, keepdims=True)) ** 2, -1)


def one_pass(x: Any, _: str) -> Any:
    return np.mean(x * x, -1) - np.mean(x, -1) ** 2


def values(mean: float) -> Any:
    return mean + np.random.default_rng(0).standard_normal((16, 64))


@pytest.mark.parametrize("mean", [1e3, 3e3, 1e4])
def test_a_variance_as_a_difference_of_large_numbers_fails_for_accuracy(mean: float) -> None:
    found = judged(two_pass, one_pass, values(mean))
    assert found["float64"].verdict is Verdict.PASS, "the same function"
    assert found["float32"].verdict is Verdict.FAIL
    (note,) = found["float32"].notes
    assert note.startswith("accuracy: the same function in float64, but float32 on <candidate side> loses")
    assert "times as far as <reference side>" in note
    assert "E[x^2] - E[x]^2" in note


@pytest.mark.parametrize("mean", [0.0, 1.0, 5.0])
def test_the_same_variance_of_ordinary_values_passes(mean: float) -> None:
    found = judged(two_pass, one_pass, values(mean))
    assert {q.verdict for q in found.values()} == {Verdict.PASS}


@pytest.mark.parametrize("mean", [1e3, 1e4])
def test_a_reference_that_loses_accuracy_is_a_note(mean: float) -> None:
    found = judged(one_pass, two_pass, values(mean))
    assert {q.verdict for q in found.values()} == {Verdict.PASS}
    assert any(note.startswith("stability: <reference side> moves") for note in found["float32"].notes)


def test_two_sides_that_lose_it_alike_are_not_blamed() -> None:
    found = judged(one_pass, lambda x, _: one_pass(x[:, ::-1], _), values(1e3))
    assert found["float32"].verdict is not Verdict.FAIL


def test_noise_without_an_error_is_no_loss() -> None:
    # As a constant of one side alone would: it moves with the noise, and changes no unperturbed number.
    w = values(1.0)
    kept = np.asarray(w, np.float32).astype(np.float64)

    def moved(x: Any, dtype: str) -> Any:
        return two_pass(x, dtype) + 1e4 * np.max(np.abs(x - kept.astype(dtype)))

    found = judged(two_pass, moved, w)
    assert found["float32"].noise_candidate > 100 * found["float32"].noise_reference
    assert found["float32"].verdict is not Verdict.FAIL


def test_another_function_is_not_put_down_to_accuracy() -> None:
    found = judged(two_pass, lambda x, d: one_pass(x, d) + 0.5, values(1e3))
    assert found["float64"].verdict is Verdict.FAIL
    assert not any(note.startswith("accuracy") for q in found.values() for note in q.notes)


def test_what_was_not_judged_in_float64_must_shrink_with_the_precision() -> None:
    lost = judged(two_pass, one_pass, values(1e3), dtypes=("float32",))
    assert lost["float32"].verdict is Verdict.FAIL
    assert lost["float32"].notes[0].startswith("accuracy")


def test_what_is_zero_in_theory_is_rounding_on_both_sides() -> None:
    def centred(x: Any, _: str) -> Any:
        large = np.sum((x - np.mean(x, -1, keepdims=True)), -1) * (1 + 0 * x[:, 0])
        return np.concatenate([large, x[:, 0] * 1e3])

    found = judged(lambda x, d: np.concatenate([0 * x[:, 0], x[:, 0] * 1e3]), centred, values(1.0))
    assert found["float32"].verdict is Verdict.PASS


def test_of_curves_nothing_is_said() -> None:
    found = judged(two_pass, one_pass, values(1e3), over_time=True)
    assert not any("times as far as <reference" in note for note in found["float32"].notes)


def test_a_constant_of_one_side_alone_is_no_instability() -> None:
    w = values(1.0)
    kept = np.asarray(w, np.float32).astype(np.float64)

    def moved(x: Any, dtype: str) -> Any:
        return two_pass(x, dtype) + 1e4 * np.max(np.abs(x - kept.astype(dtype)))

    for quantity in judged(two_pass, moved, w).values():
        assert quantity.noise_candidate > 100 * quantity.noise_reference
        assert quantity.notes == ()


def test_a_side_that_is_less_accurate_is_said_to_be_less_stable_in_float64_too() -> None:
    found = judged(two_pass, one_pass, values(1e2))["float64"]
    assert found.verdict is Verdict.PASS
    assert found.notes[0].startswith("stability: <candidate side> moves")
