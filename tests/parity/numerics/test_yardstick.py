"""The yardstick's terms one by one, on programs whose right answer is known."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from parity.numerics.measured_leaf import Criterion
from parity.numerics.noise import Side, Subject, measure, ordinary
from parity.numerics.perturbing import noisy, perturb
from parity.numerics.yardstick import judge_quantities
from parity.report.results import Verdict

finite = st.floats(-1e6, 1e6, allow_nan=False, width=32)


@given(npst.arrays(np.float64, st.integers(1, 20), elements=finite), st.integers(0, 3))
def test_noise_is_at_most_one_ulp_equal_for_equal_values_and_reproducible(x: Any, k: int) -> None:
    eps = 2.0**-23
    noisy = perturb({"w": np.concatenate([x, x])}, k, eps, inputs=False)["w"]
    assert np.array_equal(noisy[: len(x)], noisy[len(x) :])
    assert np.all(np.abs(noisy[: len(x)] - x) <= eps * np.abs(x) * (1 + 1e-9))
    assert np.array_equal(noisy, perturb({"v": np.concatenate([x, x])}, k, eps, inputs=False)["v"])


def test_noise_takes_all_three_values_evenly_and_differs_between_runs() -> None:
    w = np.random.default_rng(0).standard_normal(30000)
    runs = [perturb({"w": w}, k, 2.0**-20, inputs=False)["w"] for k in range(2)]
    u = np.round((runs[0] / w - 1) * 2.0**20)
    shares = [np.mean(u == value) for value in (-1, 0, 1)]
    # Binomial: standard deviation 0.0027, so 0.02 is over seven of them.
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)
    assert not np.array_equal(*runs)


def test_inputs_of_few_bits_and_integers_are_left_alone() -> None:
    exact = {"pixels": np.arange(256) / 255 * 255, "one_hot": np.eye(3), "index": np.arange(5)}
    for k in range(4):
        noisy = perturb(exact, k, 2.0**-23, inputs=True)
        assert all(np.array_equal(noisy[name], exact[name]) for name in exact)
    assert noisy["index"].dtype == np.int64
    moved = perturb({"x": np.array([0.1, 0.3, 257.0])}, 0, 2.0**-23, inputs=True)["x"]
    weights = [perturb({"w": np.array([0.5, 1.0, 3.0])}, k, 0.1, inputs=False)["w"] for k in range(4)]
    assert moved.shape == (3,)
    assert any(not np.array_equal(w, [0.5, 1.0, 3.0]) for w in weights)


def judge(
    reference: Any, candidate: Any, *, over_time: bool = False, dtypes: Any = ("float64",), **rule: Any
) -> Any:
    """Compare two functions of a weight vector; the only quantity is group "q", leaf "q" (unless a dict)."""
    w = {"w": np.linspace(0.3, 1.7, 8, dtype=np.float32).astype(np.float64)}

    def subject(function: Any) -> Subject:
        def run(weights: Any, inputs: Any, dtype: str) -> Any:
            value = function(weights["w"].astype(dtype), dtype)
            leaves = value if isinstance(value, dict) else {"q": value}
            return {"q": {name: np.asarray(leaf).astype(np.float64) for name, leaf in leaves.items()}}

        return Subject(run, w)

    sides = measure({"reference": subject(reference), "candidate": subject(candidate)}, {}, dtypes)
    rules = {"q": Criterion("forward", over_time=over_time, **rule)}
    return judge_quantities(sides["reference"], sides["candidate"], rules)


def one(*args: Any, **kwargs: Any) -> Any:
    (quantity,) = judge(*args, **kwargs)
    return quantity


def test_two_orders_of_summation_pass_and_another_function_fails() -> None:
    assert one(lambda w, _: np.sum(w * w), lambda w, _: np.sum((w * w)[::-1])).verdict is Verdict.PASS
    fault = one(
        lambda w, _: w / np.sqrt(np.mean(w * w) + 1e-5), lambda w, _: w / np.sqrt(np.mean(w * w) + 1e-6)
    )
    assert fault.verdict is Verdict.FAIL
    assert fault.rho > 1e3


def test_the_floor_alone_judges_a_constant() -> None:
    def value(shift: float) -> Any:
        return one(lambda w, _: np.float64(1.0), lambda w, _: np.float64(1.0 + shift))

    floor = 4 * 2.0**-52
    assert value(0.0).rho == 0
    assert value(0.0).floor == pytest.approx(floor)
    assert value(9 * floor).verdict is Verdict.PASS
    assert value(11 * floor).verdict is Verdict.FAIL


def test_an_update_is_scaled_by_its_weights() -> None:
    tiny, off = 1e-9, 1e-15
    assert one(lambda w, _: np.float64(tiny), lambda w, _: np.float64(tiny + off)).verdict is Verdict.FAIL
    scaled = one(lambda w, _: np.float64(tiny), lambda w, _: np.float64(tiny + off), scale={"q": 1.7})
    assert scaled.verdict is Verdict.PASS
    assert scaled.floor == pytest.approx(4 * 2.0**-52 * 1.7)


def test_a_small_difference_of_large_numbers_is_as_exact_as_those() -> None:
    small, ulp_of_one = np.array([1e-4]), 2.0**-52
    cancelled = {"over_time": True}
    assert one(lambda w, _: small, lambda w, _: small + ulp_of_one, **cancelled).verdict is Verdict.FAIL
    scaled = one(lambda w, _: small, lambda w, _: small + ulp_of_one, scale={"q": 1.0}, **cancelled)
    assert scaled.verdict is Verdict.PASS
    assert (
        one(lambda w, _: small, lambda w, _: small + 50 * ulp_of_one, scale={"q": 1.0}, **cancelled).rho > 10
    )


def test_rounding_of_long_sums_is_measured_in_float32_and_granted_in_float64() -> None:
    # One side loses 1e-3 in float32 and 1e-12 in float64, as naive accumulation over many terms does.
    loss = {"float32": 1e-3, "float64": 1e-12}
    q = one(lambda w, d: np.float64(3.0), lambda w, d: np.float64(3.0 + loss[d]))
    assert q.rounding == pytest.approx(2.0**-26 * 1e-3)
    assert q.verdict is Verdict.PASS
    # A different function does not shrink with the precision.
    assert one(lambda w, d: np.float64(3.0), lambda w, d: np.float64(3.0 + 1e-3)).verdict is Verdict.FAIL


def test_a_quantity_that_is_zero_in_theory_passes_as_such() -> None:
    def leaves(noise: float) -> Any:
        return lambda w, _: {"bias": np.full(3, noise), "kernel": np.full(3, 1.0)}

    bias = judge(leaves(3e-17), leaves(-5e-17))[0]
    assert bias.verdict is Verdict.FAIL  # no noise reaches it, so nothing says that it is zero

    def centred(order: int) -> Any:
        def values(w: Any, _: str) -> Any:
            centred = w - np.mean(w)  # its sum is zero in theory
            return {"bias": np.sum(centred[::order]), "kernel": w}

        return values

    bias = judge(centred(1), centred(-1))[0]
    assert bias.verdict is Verdict.PASS


def test_noise_over_a_tenth_of_the_scale_is_inconclusive() -> None:
    chaotic = one(lambda w, _: np.sin(1e17 * w), lambda w, _: np.sin(1e17 * w + 0.3))
    assert chaotic.verdict is Verdict.INCONCLUSIVE
    assert "nothing can be said" in chaotic.notes[0]


def test_curves_name_the_first_point_that_fails_and_the_horizon() -> None:
    steps = np.arange(6)
    fails = one(lambda w, _: np.ones(6), lambda w, _: np.where(steps >= 3, 1.1, 1.0), over_time=True)
    assert fails.verdict is Verdict.FAIL
    assert fails.curve.first_failure == 3
    assert fails.curve.candidate[3] == 1.1
    blurred = one(
        lambda w, _: np.where(steps >= 4, np.sin(1e17 * w[0]), 1.0),
        lambda w, _: np.where(steps >= 4, np.sin(1e17 * w[0]), 1.0),
        over_time=True,
    )
    assert blurred.verdict is Verdict.INCONCLUSIVE
    assert blurred.curve.horizon == 4
    late = one(lambda w, _: np.ones(3), lambda w, _: np.array([1.0, np.nan, 1.0]), over_time=True)
    assert (late.verdict, late.curve.first_failure) == (Verdict.FAIL, 1)


def test_an_accuracy_may_differ_by_the_samples_on_the_boundary_and_no_others() -> None:
    def accuracy(margins: Any, flipped: float) -> Any:
        def values(w: Any, _: str) -> Any:
            moved = margins + 1e-15 * w[0]  # noise far below all margins but the first
            return {"accuracy": np.array([0.5 + flipped]), "margin": moved[None]}

        return values

    rule = {"over_time": True, "decided_by": {"accuracy": "margin"}}
    close, far = np.array([1e-16, 1.0, 2.0, 3.0]), np.array([0.5, 1.0, 2.0, 3.0])
    assert judge(accuracy(close, 0.0), accuracy(close, 0.25), **rule)[0].verdict is Verdict.PASS
    assert judge(accuracy(close, 0.0), accuracy(close, 0.5), **rule)[0].verdict is Verdict.FAIL
    assert judge(accuracy(far, 0.0), accuracy(far, 0.25), **rule)[0].verdict is Verdict.FAIL


def test_overflow_in_float32_excuses_nothing_in_float64() -> None:
    def value(factor: float) -> Any:
        return lambda w, dtype: np.float64(np.inf if dtype == "float32" else factor)

    quantity = one(value(1.0), value(1.5))
    assert quantity.verdict is Verdict.FAIL
    assert quantity.rounding == 0


def test_nan_under_noise_is_never_a_pass() -> None:
    base = np.linspace(0.3, 1.7, 8, dtype=np.float32).astype(np.float64)

    def fragile(w: Any, dtype: str) -> Any:
        return np.float64(1.0 if np.array_equal(w, base) else np.nan)

    assert one(fragile, fragile).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e200])
def test_verdicts_do_not_depend_on_the_units(scale: float) -> None:
    assert one(lambda w, _: scale * np.float64(w), lambda w, _: scale * np.float64(w)).verdict is Verdict.PASS
    fault = one(lambda w, _: scale * np.float64(w), lambda w, _: 2 * scale * np.float64(w))
    assert fault.verdict is Verdict.FAIL
    assert any("<candidate> = 2 x <reference>" in note for note in fault.notes)


def test_shapes_and_missing_leaves_fail() -> None:
    assert one(lambda w, _: w, lambda w, _: w[None]).verdict is Verdict.FAIL
    quantities = judge(lambda w, _: {"a": w, "b": w}, lambda w, _: {"a": w, "c": w})
    assert {q.name: q.verdict for q in quantities} == {
        "a": Verdict.PASS,
        "b": Verdict.FAIL,
        "c": Verdict.FAIL,
    }
    assert "only <candidate side>" in next(q.notes[0] for q in quantities if q.name == "c")


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (lambda w: w[::-1], "another order"),
        (lambda w: 3 * w, "<candidate> = 3 x <reference>"),
        (lambda w: -w, "<candidate> = -1 x <reference>"),
        (lambda w: (1 + 2e-9) * w, "<candidate> = (1 +2e-09) x <reference>"),
        (lambda w: 0 * w, "zero on <candidate side>"),
    ],
)
def test_what_is_said_of_a_difference(candidate: Any, words: str) -> None:
    quantity = one(lambda w, _: w, lambda w, _: candidate(w))
    assert quantity.verdict is Verdict.FAIL
    assert any(words in note for note in quantity.notes)


def test_nothing_is_said_when_nothing_matches() -> None:
    assert one(lambda w, _: w, lambda w, _: np.sin(w)).notes == ()


def test_a_filler_sets_no_scale_even_where_it_fills_most() -> None:
    rng = np.random.default_rng(0)
    scores = np.where(rng.random((4, 5)) < 0.7, -1e9, rng.standard_normal((4, 5)))
    assert ordinary(scores).tolist() == (scores > -1e8).tolist()
    assert ordinary(rng.standard_normal(100)).all()
    assert ordinary(np.array([1.0, 1e-9, 1e-12, 1.0])).all(), "probabilities are no fillers"
    assert ordinary(np.zeros(3)).all()
    assert ordinary(np.array([np.inf, 1.0, 2.0])).tolist() == [False, True, True]


def test_inputs_move_in_bfloat16_unless_nobody_rounded_them() -> None:
    x = np.float32([0.1, 0.5, 3.0, 1 / 3]).astype(np.float64)
    moved = [noisy({"x": x}, k, "bfloat16", inputs=True)["x"] for k in range(8)]
    steps = np.ptp(np.stack(moved), axis=0)
    assert (steps[[1, 2]] == 0).all()
    assert (steps[[0, 3]] > 0).all()


@pytest.mark.parametrize(("scale", "verdict"), [(1.0, Verdict.PASS), (1e-20, Verdict.INCONCLUSIVE)])
def test_what_moves_within_the_rounding_of_what_it_is_added_to_hides_nothing(scale, verdict):
    """An update of zero that noise moves by an ulp of its weight; of one without size that says nothing."""
    still = {"update": {"w": np.zeros((3, 2))}}
    side = Side(still, {"update": {"w": np.array([0.0, 2.0**-53, 0.0])}}, still)
    rules = {"update": Criterion("step", over_time=True, scale={"w": scale})}
    (quantity,) = judge_quantities({"float64": side}, {"float64": side}, rules)
    assert quantity.verdict is verdict
