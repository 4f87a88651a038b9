"""Losses of labels that are smoothed, shifted, paired or added up in another way."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from torch import nn

from tests.parity.diagnose.diagnosed import numbers, report_of
from tests.parity.diagnose.test_loss_causes import CHOSEN, checked, says

F = nn.functional
CLASSES = np.abs(CHOSEN)
SHARE = 0.2
POSITIVE = (numbers(12, 5, seed=6) > 0).astype(np.float32)


def smoothed(y: Any, share: float) -> Any:
    return optax.smooth_labels(jax.nn.one_hot(y, 5), share)


def over_the_others(y: Any) -> Any:
    own = jax.nn.one_hot(y, 5)
    return own * (1 - SHARE) + (1 - own) * SHARE / 4


@pytest.mark.parametrize(
    ("share", "labels", "name", "words"),
    [
        (
            SHARE,
            lambda y: smoothed(y, 0.05),
            "constant",
            ["spreads 0.2 over all 5", "spreads 0.05 over all 5"],
        ),
        (SHARE, over_the_others, "constant", ["spreads 0.2 over all 5", "spreads 0.2 over the 4 other"]),
        (SHARE, lambda y: jax.nn.one_hot(y, 5), "missing term", ["JAX does not smooth"]),
        (0.0, lambda y: smoothed(y, SHARE), "extra term", ["PyTorch does not smooth", "0.2 over all 5"]),
    ],
    ids=["amount", "others", "lost", "added"],
)
def test_smoothed_labels(share: float, labels: Any, name: str, words: list[str]) -> None:
    def candidate(o: Any, y: Any) -> Any:
        return optax.softmax_cross_entropy(o, labels(y)).sum()

    def loss(o: Any, y: Any) -> Any:
        return F.cross_entropy(o, y, label_smoothing=share, reduction="sum")

    says(checked(loss, candidate, CLASSES), name, "label smoothing", *words)


def test_smoothing_lost_in_a_loss_of_class_numbers() -> None:
    report = checked(
        lambda o, y: F.cross_entropy(o, y, label_smoothing=SHARE),
        lambda o, y: optax.softmax_cross_entropy_with_integer_labels(o, y).mean(),
        CLASSES,
    )
    says(report, "missing term", "label smoothing: PyTorch spreads 0.2 over all 5")


def test_pairs_that_are_broadcast() -> None:
    report = checked(
        lambda o, y: F.l1_loss(o[:, 0], y),
        lambda o, y: jnp.abs(o - y[None, :]).mean(),
        numbers(12, seed=7),
        width=1,
    )
    says(report, "broadcast", "(12, 1)", "to shape (12, 12) in JAX")


def of_each(o: Any, y: Any) -> Any:
    p = o.softmax(1)
    return ((p * y).sum(1) / (p.sum(1) + y.sum(1) - (p * y).sum(1))).sum()


def of_the_batch(o: Any, y: Any) -> Any:
    p = jax.nn.softmax(o)
    return (p * y).sum() / (p.sum() + y.sum() - (p * y).sum())


def test_overlap_of_the_batch_for_that_of_each_sample() -> None:
    report = checked(of_each, of_the_batch, POSITIVE)
    says(report, "reduction", "of each sample and takes their sum", "12 losses")


def test_overlap_of_each_sample_for_that_of_the_batch() -> None:
    def loss(o: Any, y: Any) -> Any:
        p = o.sigmoid()
        return 1 - 2 * (p * y).sum() / (p.sum() + y.sum())

    def candidate(o: Any, y: Any) -> Any:
        p = jax.nn.sigmoid(o)
        return (1 - 2 * (p * y).sum(1) / (p.sum(1) + y.sum(1))).mean()

    report = checked(loss, candidate, POSITIVE)
    says(report, "reduction", "PyTorch adds up the whole batch")


def shifted(loss: Any, candidate: Any, name: str, *words: str) -> None:
    params = {"w": numbers(4, 5)}
    targets = np.random.default_rng(8).integers(0, 5, (3, 6))

    def model(p: Any, x: Any) -> Any:
        return x @ p["w"]

    says(
        report_of(model, model, params, numbers(3, 6, 4), loss=(loss, candidate), targets=targets),
        name,
        *words,
    )


def entropy(o: Any, y: Any) -> Any:
    return F.cross_entropy(o.transpose(1, 2), y, reduction="sum")


def jax_entropy(o: Any, y: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(o, y).sum()


def test_targets_shifted_twice() -> None:
    shifted(entropy, lambda o, y: jax_entropy(o[:, :-1], y[:, 1:]), "shift", "once too often in JAX")


def test_targets_that_are_not_shifted() -> None:
    shifted(
        lambda o, y: entropy(o[:, :-1], y[:, 1:]) / 15,
        lambda o, y: jax_entropy(o, y) / 18,
        "shift",
        "JAX with that of the same place",
    )


def test_targets_shifted_the_other_way() -> None:
    shifted(
        lambda o, y: entropy(o[:, :-1], y[:, 1:]),
        lambda o, y: jax_entropy(o[:, 1:], y[:, :-1]),
        "shift",
        "PyTorch compares each output with the target at the next place",
    )


def test_huber_and_smooth_l1() -> None:
    report = checked(
        lambda o, y: F.huber_loss(o, y, delta=0.4),
        lambda o, y: optax.huber_loss(o, y, delta=0.4).mean() / 0.4,
        numbers(12, 5, seed=9),
    )
    says(
        report,
        "scale",
        "PyTorch takes Huber's loss of delta 0.4",
        "JAX smooth L1 of beta 0.4",
        "multiply by 0.4",
    )


def test_right_smoothing_passes() -> None:
    params = {"w": numbers(4, 5)}
    report = report_of(
        lambda p, x: x @ p["w"],
        lambda p, x: x @ p["w"],
        params,
        numbers(12, 4),
        loss=(
            lambda o, y: F.cross_entropy(o, y, label_smoothing=SHARE),
            lambda o, y: optax.softmax_cross_entropy(o, smoothed(y, SHARE)).mean(),
        ),
        targets=CLASSES,
    )
    assert report.verdict.value == "pass", str(report)
