"""The built-in cases: complete registries, the erratum, expectations, samples."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import jaxnn
import torchref
from parity.networks.registry import CASES, CaseResult, Erratum, find_cases
from parity.networks.run_case import run_case
from parity.networks.samples import load_samples
from parity.report.results import Quantity, Report, Verdict


def test_the_two_packages_have_the_same_recipes() -> None:
    assert list(jaxnn.RECIPES) == list(torchref.RECIPES)
    numbers = ("learning_rate", "epochs", "batch_size", "labels", "images", "also")
    for name, jax_recipe in jaxnn.RECIPES.items():
        torch_recipe = torchref.RECIPES[name]
        assert {f: getattr(torch_recipe, f) for f in numbers} == {
            f: getattr(jax_recipe, f) for f in numbers
        }, name
        assert list(torch_recipe.metrics) == list(jax_recipe.metrics)
        # The functions have the same names, too: one word per thing.
        assert torch_recipe.loss.__name__ == jax_recipe.loss.__name__
        assert [m.__name__ for m in torch_recipe.metrics.values()] == [
            m.__name__ for m in jax_recipe.metrics.values()
        ]


def test_every_recipe_has_a_case() -> None:
    assert {case.recipe for case in CASES.values()} == set(jaxnn.RECIPES)
    assert [case.name for case in find_cases((), every=True)] == list(CASES)
    short = [case.name for case in find_cases(())]
    assert short == list(CASES)[: len(short)]
    assert short[-1] == "regression"
    assert [case.name for case in find_cases(("mlp", "cnn", "mlp"))] == ["mlp", "cnn"]
    with pytest.raises(ValueError, match="no case vgg; the cases are logistic"):
        find_cases(("vgg",))
    with pytest.raises(ValueError, match="--all runs every case"):
        find_cases(("mlp",), every=True)


@pytest.mark.parametrize("name", ["two_layer_tanh", "regression", "softmax_module", "cnn"])
def test_a_case_passes_with_all_stages_and_oracles(name: str) -> None:
    result = run_case(CASES[name], samples=70, epochs=2)
    assert result.verdict is Verdict.PASS, str(result.report)
    stages = {(q.stage, q.dtype) for q in result.report.quantities}
    assert {
        (s, d) for s in ("forward", "gradients", "step", "curve") for d in ("float64", "float32")
    } <= stages
    programs = {q.program for q in result.report.quantities}
    assert "candidate against finite differences" in programs
    assert ("flax nnx" in programs) == (name in ("softmax_module", "cnn"))
    assert ("by hand" in programs) == (name == "two_layer_tanh")


def test_the_printed_gradient_fails_at_the_hidden_layer_and_nowhere_else() -> None:
    result = run_case(CASES["two_layer_as_printed"], samples=70, epochs=2)
    assert result.report.verdict is Verdict.FAIL
    assert result.confirmed
    assert result.verdict is Verdict.PASS
    assert {q.name for q in result.report.failures("gradients")} == {"W1", "b1"}
    assert result.report.failures("forward") == ()
    assert {q.name for q in result.report.failures("step")} == {"W1", "b1"}
    blamed = {q.program for q in result.report.failures("gradients") if "differences" in q.program}
    assert blamed == {"candidate against finite differences"}  # and PyTorch's autograd is right


def test_an_erratum_that_does_not_fail_as_it_should_is_a_failure() -> None:
    passing = run_case(
        dataclasses.replace(CASES["two_layer_as_coded"], erratum=ERRATUM), samples=70, epochs=2
    )
    assert passing.report.verdict is Verdict.PASS
    assert passing.verdict is Verdict.FAIL


ERRATUM = Erratum(frozenset({"W1"}), "text")


def quantity(stage: str, name: str, verdict: Verdict) -> Quantity:
    return Quantity(stage, stage, name, "float64", verdict, rho=1.0)


@pytest.mark.parametrize(
    ("changes", "confirmed"),
    [
        ([], True),
        ([quantity("gradients", "b1", Verdict.FAIL)], False),
        ([quantity("forward", "output", Verdict.FAIL)], False),
        ([quantity("weights", "W1", Verdict.FAIL)], False),
        ([quantity("step", "W1", Verdict.FAIL), quantity("curve", "loss", Verdict.FAIL)], True),
        ([quantity("curve", "loss", Verdict.INCONCLUSIVE)], False),
    ],
)
def test_what_confirms_an_erratum(changes: list[Quantity], confirmed: bool) -> None:
    base = [
        quantity("weights", "W1", Verdict.PASS),
        quantity("forward", "output", Verdict.PASS),
        quantity("gradients", "W1", Verdict.FAIL),
    ]
    report = Report("case", tuple(base + changes))
    assert CaseResult(report, "embedded", 1, ERRATUM).confirmed == confirmed
    assert not CaseResult(dataclasses.replace(report, error="stopped"), "embedded", 1, ERRATUM).confirmed


@pytest.mark.parametrize(
    ("labels", "images", "x_shape", "y_shape", "num_outputs"),
    [
        ("binary", False, (4096,), (), 1),
        ("one_hot", False, (4096,), (10,), 10),
        ("index", True, (1, 64, 64), (), 10),
        ("real", False, (10,), (), 1),
    ],
)
def test_samples_have_the_form_a_recipe_wants(
    labels: str, images: bool, x_shape: Any, y_shape: Any, num_outputs: int
) -> None:
    samples = load_samples("embedded", labels=labels, images=images, limit=40)
    assert samples.inputs["x_train"].shape == (40, *x_shape)
    assert samples.inputs["x_val"].shape == (10, *x_shape)
    assert samples.inputs["y_train"].shape == (40, *y_shape)
    assert samples.num_outputs == num_outputs
    assert samples.inputs["x_train"].dtype == np.float64
    assert samples.inputs["y_train"].dtype == (np.int64 if labels == "index" else np.float64)


def test_same_seed_same_figures_and_another_seed_other_figures() -> None:
    def loss(seed: int) -> Any:
        report = run_case(CASES["logistic"], samples=70, epochs=2, seed=seed, dtypes=["float64"]).report
        (curve,) = (q.curve for q in report.select("curve") if q.name == "train_loss")
        return curve

    assert loss(1) == loss(1)
    assert loss(1).reference != loss(2).reference
