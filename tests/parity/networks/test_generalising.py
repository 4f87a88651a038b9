"""The cases of sections 4.4.3 and 4.5: both frameworks agree, and a difference in what they add is found."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxnn
import torchref
from data.draws import augmentation
from parity.networks.registry import CASES
from parity.networks.run_case import run_case
from parity.networks.samples import draw_numbers
from parity.report.results import Verdict


def run(name: str, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Any:
    """A case, small, where the recipe of the JAX side is changed."""
    recipe = jaxnn.RECIPES[name]
    changed = {**jaxnn.RECIPES, name: recipe._replace(**changes)}
    monkeypatch.setattr("parity.networks.drawing.jaxnn.RECIPES", changed)
    return run_case(CASES[name], samples=70, epochs=3, dtypes=["float64"])


# The others are the same mechanisms on the other network; `parity run --all` has them.
@pytest.mark.parametrize("name", ["linear_exponential", "mlp_l1", "mlp_dropout", "cnn_augmented"])
def test_a_case_passes_in_both_precisions(name: str) -> None:
    result = run_case(CASES[name], samples=70, epochs=2)
    assert result.verdict is Verdict.PASS, str(result.report)
    stages = {(q.stage, q.dtype) for q in result.report.quantities}
    assert {
        (s, d) for s in ("forward", "gradients", "step", "curve") for d in ("float64", "float32")
    } <= stages


def test_early_stopping_ends_the_case_and_its_best_weights_are_compared() -> None:
    case = CASES["linear_early_stop"]
    result = run_case(case, dtypes=["float64"])
    assert result.verdict is Verdict.PASS, str(result.report)
    curves = {q.name: q.curve.reference for q in result.report.select("curve") if q.curve is not None}
    (stop,), (best,) = curves["last_epoch"], curves["best_epoch"]
    assert 1 < best < stop < case.quick_epochs  # neither at the start nor at the end
    assert best == 1 + np.argmin(curves["val_loss"])
    assert {q.name for q in result.report.select("step")} >= {"weight", "weight (best)"}


@pytest.mark.parametrize(
    ("name", "changes", "stage"),
    [
        ("linear_adam", {"optimizer": functools.partial(jaxnn.optimizers.adam, eps=1e-6)}, "step"),
        ("linear_exponential", {"schedule": lambda epoch: 0.9**epoch}, "curve"),
        (
            "mlp_l2",  # the factor of a weight decay
            {"penalty": functools.partial(jaxnn.penalties.l2, factor=0.0005, biases=False)},
            "step",
        ),
        ("mlp_l2", {"penalty": functools.partial(jaxnn.penalties.l2, factor=0.001, biases=True)}, "step"),
    ],
)
def test_another_training_fails(
    name: str, changes: Mapping[str, Any], stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(name, monkeypatch, **changes)
    assert result.verdict is Verdict.FAIL
    assert result.report.failures(stage)
    assert result.report.failures("forward") == ()


def test_another_patience_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    case, recipe = CASES["linear_early_stop"], jaxnn.RECIPES["linear_early_stop"]
    patient = recipe._replace(early_stopping=jaxnn.EarlyStopping(recipe.early_stopping.patience + 1))
    changed = {**jaxnn.RECIPES, case.name: patient}
    monkeypatch.setattr("parity.networks.drawing.jaxnn.RECIPES", changed)
    result = run_case(case, dtypes=["float64"])
    assert result.verdict is Verdict.FAIL
    assert "last_epoch" in {q.name for q in result.report.failures("curve")}


def test_another_mask_fails_from_the_forward_pass_on(monkeypatch: pytest.MonkeyPatch) -> None:
    model = jaxnn.RECIPES["mlp_dropout"].model

    def turned(shape: tuple[int, ...], num_outputs: int) -> jaxnn.Model:
        built = model(shape, num_outputs)

        def apply(params: Any, x: Any, keep: Any = None) -> Any:
            return built.apply(params, x, keep=None if keep is None else keep[::-1])

        return jaxnn.Model(built.init, apply)

    result = run("mlp_dropout", monkeypatch, model=turned)
    assert result.verdict is Verdict.FAIL
    assert result.report.failures("forward")


def test_numbers_are_drawn_for_the_recipes_that_take_them_and_no_other() -> None:
    for name, recipe in jaxnn.RECIPES.items():
        drawn = draw_numbers(name, 5, epochs=2, seed=0)
        assert tuple(drawn) == recipe.draws == torchref.RECIPES[name].draws
        assert all(array.shape[:2] == (2, 5) for array in drawn.values())


augment = jax.jit(jaxnn.augmentation.augment)


@settings(derandomize=True, deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 1000),
    limits=st.fixed_dictionaries(
        {"angle": st.floats(0, 4), "scale": st.floats(1, 3), "shift": st.floats(0, 9)}
    ),
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_augmented_batches_agree_to_rounding(dtype: str, seed: int, limits: Mapping[str, float]) -> None:
    images = np.random.default_rng(seed).random((4, 16, 16))
    numbers = {name: rows[0] for name, rows in augmentation(4, seed=seed, **limits).items()}
    cast = {name: a if a.dtype == bool else a.astype(dtype) for name, a in numbers.items()}
    with jax.enable_x64(dtype == "float64"):
        by_jax = np.asarray(augment(images[..., None].astype(dtype), **cast))[..., 0]
    tensors = {name: torch.tensor(a) for name, a in cast.items()}
    by_torch = torchref.augmentation.augment(torch.tensor(images[:, None].astype(dtype)), **tensors)
    # A position is at most 16 + 9 pixels from the middle, and a few roundings away from the other
    # framework's; a value changes by at most 2 from pixel to pixel.
    assert np.abs(by_jax - by_torch.numpy()[:, 0]).max() <= 25 * 2 * 4 * np.finfo(dtype).eps
