"""Losses whose formulas have little in common: what goes into them and what divides them is the cause."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import nn

import parity
from tests.parity.diagnose.diagnosed import numbers, report_of

F = nn.functional
CHOSEN = np.asarray([3, 0, 1, 4, 2, 2, -1, 0, 1, -1, 4, 3])
"""Classes of twelve samples, two of which do not count."""


def logits_of(p: Any, x: Any) -> Any:
    return x @ p["w"]


def checked(loss: Any, candidate: Any, targets: np.ndarray, *, width: int = 5, **options: Any) -> Any:
    """The check of one matrix under two losses."""
    params = {"w": numbers(4, width)}
    given = {"loss": (loss, candidate), "targets": targets, **options}
    return report_of(logits_of, logits_of, params, numbers(12, 4), **given)


def says(report: parity.Report, name: str, *words: str) -> None:
    """The first cause, and that there is one divergence."""
    cause = report.divergences[0].cause
    assert cause is not None, str(report)
    assert cause.name == name, cause
    assert all(word in cause.text for word in words), cause.text
    assert len(report.divergences) == 1, str(report)


def per_sample(o: Any, y: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(o, jnp.where(y < 0, 0, y))


def weighted(o: Any, y: Any) -> Any:
    return F.cross_entropy(o, y, torch.tensor([1.0, 2.0, 0.25, 3.0, 0.5], dtype=o.dtype))


@pytest.mark.parametrize(
    ("loss", "candidate", "targets", "name", "words"),
    [
        (
            lambda o, y: F.cross_entropy(o, y, ignore_index=-1),
            lambda o, y: jnp.sum(jnp.where(y >= 0, per_sample(o, y), 0.0)) / 12,
            CHOSEN,
            "reduction",
            ["the number of targets other than -1", "12, all of them"],
        ),
        (
            lambda o, y: F.cross_entropy(o, y, ignore_index=-1),
            lambda o, y: per_sample(o, y).mean(),
            CHOSEN,
            "mask",
            ["leaves out what its mask excludes"],
        ),
        (
            weighted,
            lambda o, y: jnp.mean(jnp.asarray([1.0, 2.0, 0.25, 3.0, 0.5], o.dtype)[y] * per_sample(o, y)),
            np.maximum(CHOSEN, 0),
            "reduction",
            ["the sum of the weights", "12, all of them"],
        ),
        (
            lambda o, y: 9 * F.mse_loss(o / 3, y / 3),
            lambda o, y: jnp.mean((o / 3 - y / 3) ** 2),
            numbers(12, 5, seed=1),
            "scale",
            ["9 times"],
        ),
    ],
    ids=["ignored", "not-masked", "weights", "factor"],
)
def test_divisors_made_of_targets(
    loss: Any, candidate: Any, targets: np.ndarray, name: str, words: list[str]
) -> None:
    says(checked(loss, candidate, targets), name, *words)


ZERO_OR_ONE = (numbers(12, 5, seed=2) > 0).astype(np.float32)


@pytest.mark.parametrize(
    ("loss", "candidate", "targets", "words"),
    [
        (
            F.binary_cross_entropy_with_logits,
            lambda o, y: optax.sigmoid_focal_loss(jax.nn.sigmoid(o), y, gamma=0.0).mean(),
            ZERO_OR_ONE,
            ["<jax> applies sigmoid to the model's output", "leave it out"],
        ),
        (
            lambda o, y: F.binary_cross_entropy(o.sigmoid(), y),
            lambda o, y: -jnp.mean(y * jax.nn.log_sigmoid(jnp.tanh(o)) + (1 - y) * jnp.log(0.5)),
            ZERO_OR_ONE,
            [],
        ),
        (
            lambda o, y: F.nll_loss(F.log_softmax(o, 1), y),
            lambda o, y: -jnp.mean(jnp.take_along_axis(jax.nn.softmax(o), y[:, None], 1)),
            np.maximum(CHOSEN, 0),
            ["applies log softmax along axis 1", "softmax along axis 1: use"],
        ),
        (
            lambda o, y: F.poisson_nll_loss(o, y.exp(), log_input=True),
            lambda o, y: jnp.mean(jnp.exp(jnp.exp(o)) - jnp.exp(y) * jnp.exp(o)),
            numbers(12, 5, seed=3),
            ["applies exponential to the model's output"],
        ),
    ],
    ids=["sigmoid-twice", "not-one-change", "logarithm-missing", "exponential"],
)
def test_activation_before_a_loss(loss: Any, candidate: Any, targets: np.ndarray, words: list[str]) -> None:
    report = checked(loss, candidate, targets)
    cause = report.divergences[0].cause
    if not words:  # two changes at once are none that was tried
        assert cause is None or "before the loss" not in cause.text
        return
    says(report, "activation", *(word.replace("<jax>", "JAX") for word in words))


def test_the_larger_where_the_smaller_belongs() -> None:
    says(
        checked(
            lambda o, y: torch.maximum((o - y).abs(), 0.5 * (o + y)).sum(),
            lambda o, y: jnp.minimum(jnp.abs(o - y), 0.5 * (o + y)).sum(),
            numbers(12, 5, seed=4),
        ),
        "selection",
        "takes the larger of the two values where JAX takes the smaller",
    )


def test_the_arguments_of_a_divergence_exchanged() -> None:
    targets = np.asarray(jax.nn.softmax(numbers(12, 5, seed=5)))

    def reversed_divergence(o: Any, y: Any) -> Any:
        log_q = jax.nn.log_softmax(o)
        return jnp.sum(jnp.exp(log_q) * (log_q - jnp.log(y))) / 12

    says(
        checked(
            lambda o, y: F.kl_div(F.log_softmax(o, 1), y, reduction="batchmean"), reversed_divergence, targets
        ),
        "operands",
        "the model's output and the targets are exchanged",
    )


def test_rows_that_are_divided_by_their_own_counts() -> None:
    def mean_of_means(o: Any, y: Any) -> Any:
        o, y = o.reshape(3, 4, -1), y.reshape(3, 4)
        kept = (y >= 0).astype(o.dtype)
        return jnp.mean((per_sample(o, y) * kept).sum(1) / kept.sum(1))

    report = checked(lambda o, y: F.cross_entropy(o, y, ignore_index=-1), mean_of_means, CHOSEN)
    says(report, "reduction", "JAX each of 3 rows by its own share")


def test_right_losses_of_targets_pass() -> None:
    for loss, candidate in (
        (
            lambda o, y: F.cross_entropy(o, y, ignore_index=-1),
            lambda o, y: jnp.sum(jnp.where(y >= 0, per_sample(o, y), 0)) / jnp.sum(y >= 0),
        ),
    ):
        report = checked(loss, candidate, CHOSEN)
        assert report.verdict is parity.Verdict.PASS, str(report)
