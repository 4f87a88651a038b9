"""A loss of the user's own is a stage of its own: its faults are found beside those before it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import parity
from parity.report.kinds import CauseKind, Stage
from tests.kit.checking import check
from tests.kit.pairs import Pair
from tests.kit.weights import randomise
from tests.parity.diagnose.diagnosed import numbers

X, TARGETS = numbers(6, 5), np.random.default_rng(1).integers(0, 4, 6)


def own_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)


def report_of(scale: float, smoothing: float) -> parity.Report:
    """The check of a layer with tanh, and of its loss."""

    def port(params: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(scale * (x @ params["0.weight"].T + params["0.bias"]))  # MODEL

    def loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
        one_hot = jax.nn.one_hot(targets, 4, dtype=logits.dtype)
        wanted = (1 - smoothing) * one_hot + smoothing / 4  # LOSS
        return -(wanted * jax.nn.log_softmax(logits)).sum(-1).mean()

    module = randomise(torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh()))
    template = {n: jax.ShapeDtypeStruct(p.shape, np.float32) for n, p in module.named_parameters()}
    pair = Pair(module, port, {"x": X}, template=template, targets=TARGETS, loss=(own_loss, loss))
    return check(pair, dtypes=["float64"], finite_differences=False, moved_weights=False)


def test_both_are_found() -> None:
    first, second = report_of(0.5, 0.2).divergences
    assert (first.stage, second.stage) == (Stage.FORWARD, Stage.LOSS)
    assert "# MODEL" in first.candidate[0].code
    assert "# LOSS" in second.candidate[0].code
    assert second.cause is not None
    assert second.cause.name is CauseKind.CONSTANT, second.cause
    assert "label smoothing: PyTorch spreads 0.1 over all 4 classes" in second.cause.text
    assert "JAX spreads 0.2" in second.cause.text


def test_the_loss_alone() -> None:
    report = report_of(1.0, 0.2)
    (fault,) = report.divergences
    assert fault.stage is Stage.LOSS
    assert "# LOSS" in fault.candidate[0].code
    assert "first divergence (loss)" in str(report)


def test_a_loss_that_differs_because_the_outputs_do_is_no_fault() -> None:
    (fault,) = report_of(0.5, 0.1).divergences
    assert fault.stage is Stage.FORWARD


def test_a_right_loss() -> None:
    assert report_of(1.0, 0.1).verdict is parity.Verdict.PASS
