"""Losses that weigh their entries, add up along other axes, or are another function of the difference."""

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
SAMPLES, CLASSES = 12, 5
WEIGHTS = [1.0, 2.0, 0.25, 3.0, 0.5]
OF_SAMPLES = np.abs(numbers(SAMPLES, seed=3)) + 0.5
CLASS_OF = np.asarray([3, 0, 1, 4, 2, 2, 0, 0, 1, 3, 4, 3])
VALUES = numbers(SAMPLES, CLASSES, seed=4)
SHARES = (VALUES > 0).astype(np.float32)


def checked(loss: Any, candidate: Any, targets: np.ndarray) -> parity.Report:
    """The check of one matrix under two losses."""
    params = {"w": numbers(4, CLASSES)}
    both = {"loss": (loss, candidate), "targets": targets}
    return report_of(lambda p, x: x @ p["w"], lambda p, x: x @ p["w"], params, numbers(SAMPLES, 4), **both)


def entropies(o: Any, y: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(o, y)


def of_classes(o: Any, y: Any) -> Any:
    return F.cross_entropy(o, y, torch.tensor(WEIGHTS, dtype=o.dtype))


def of_samples(o: Any, y: Any) -> Any:
    return (F.cross_entropy(o, y, reduction="none") * torch.tensor(OF_SAMPLES, dtype=o.dtype)).mean()


def dice(o: Any, y: Any) -> Any:
    p = o.sigmoid()
    return 1 - ((2 * (p * y).sum(0) + 1) / (p.sum(0) + y.sum(0) + 1)).mean()


def jax_dice(o: Any, y: Any, axis: int) -> Any:
    p = jax.nn.sigmoid(o)
    return 1 - ((2 * (p * y).sum(axis) + 1) / (p.sum(axis) + y.sum(axis) + 1)).mean()


def root(o: Any, y: Any) -> Any:
    return F.mse_loss(o, y).sqrt()


def root_of_each(o: Any, y: Any) -> Any:
    return (o - y).square().mean(1).sqrt().mean()


@pytest.mark.parametrize(
    ("loss", "candidate", "targets", "name", "words"),
    [
        (
            of_classes,
            lambda o, y: entropies(o, y).mean(),
            CLASS_OF,
            "missing term",
            ["multiplies the entries of the loss by the weights", "in the divisor, too"],
        ),
        (
            lambda o, y: F.cross_entropy(o, y),
            lambda o, y: (entropies(o, y) * jnp.asarray(WEIGHTS)[y]).mean(),
            CLASS_OF,
            "extra term",
            ["JAX multiplies the entries of the loss by weights", "leave them out"],
        ),
        (
            of_samples,
            lambda o, y: entropies(o, y).mean(),
            CLASS_OF,
            "missing term",
            ["use the same weights"],
        ),
        (
            lambda o, y: F.cross_entropy(o, y),
            lambda o, y: (entropies(o, y) * jnp.asarray(OF_SAMPLES)).sum() / jnp.asarray(OF_SAMPLES).sum(),
            CLASS_OF,
            "extra term",
            ["leave them out, in the divisor, too"],
        ),
        (
            lambda o, y: F.mse_loss(o, y),
            lambda o, y: optax.log_cosh(o, y).mean(),
            VALUES,
            "activation",
            ["PyTorch takes the square of the differences, JAX the logarithm of cosh"],
        ),
        (
            lambda o, y: F.l1_loss(o, y, reduction="sum"),
            lambda o, y: jnp.square(y - o).sum(),
            VALUES,
            "activation",
            ["PyTorch takes the magnitude", "JAX the square"],
        ),
        (
            lambda o, y: F.huber_loss(o, y, delta=0.4),
            lambda o, y: optax.huber_loss(o, y).mean(),
            VALUES,
            "activation",
            ["Huber's loss of delta 0.4", "Huber's loss of delta 1"],
        ),
        (
            lambda o, y: torch.where(o < y, 0.9 * (y - o), 0.1 * (o - y)).mean(),
            lambda o, y: jnp.abs(o - y).mean(),
            VALUES,
            "activation",
            ["the quantile loss of 0.9"],
        ),
        (dice, lambda o, y: jax_dice(o, y, 1), SHARES, "axis", ["over axes (0,)", "JAX over axes (1,)"]),
        (
            root,
            lambda o, y: jnp.sqrt(jnp.square(o - y).mean(1)).mean(),
            VALUES,
            "reduction",
            ["adds up the whole batch before it computes the loss"],
        ),
        (
            root_of_each,
            lambda o, y: jnp.sqrt(jnp.square(o - y).mean()),
            VALUES,
            "reduction",
            ["computes the loss of each sample and takes their mean"],
        ),
    ],
    ids=[
        "class-weights",
        "class-weights-too-many",
        "sample-weights",
        "sample-weights-too-many",
        "log-cosh",
        "square-for-magnitude",
        "another-delta",
        "quantile",
        "dice",
        "root-of-each",
        "root-of-all",
    ],
)
def test_cause_of_a_loss(loss: Any, candidate: Any, targets: np.ndarray, name: str, words: list[str]) -> None:
    report = checked(loss, candidate, targets)
    cause = report.divergences[0].cause
    assert cause is not None, str(report)
    assert cause.name == name, cause
    assert all(word in cause.text for word in words), cause.text
    assert len(report.divergences) == 1, str(report)


def test_a_sum_of_the_batch_is_no_loss_of_each_sample() -> None:
    report = checked(
        lambda o, y: (o - y).square().sum(1).mean(), lambda o, y: jnp.square(o - y).sum(), VALUES
    )
    cause = report.divergences[0].cause
    assert cause is not None
    assert "of each sample" not in cause.text
