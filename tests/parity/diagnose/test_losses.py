"""Losses, their means, and single numbers that make up a loss."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from tests.parity.diagnose.diagnosed import cause_of, numbers

F = nn.functional


def off_diagonal(c: Any) -> Any:
    return c[:3].square().sum() - c[:3].diagonal().square().sum()


def weighted(p: Any, x: Any) -> Any:
    loss = jnp.square(x @ p["w"]).sum((1, 2, 3))
    return (loss * p["u"]).sum() / p["u"].sum()


@pytest.mark.parametrize(
    ("reference", "candidate", "name", "words"),
    [
        (
            lambda p, x: ((x @ p["w"]).square().sum((1, 2, 3)) * p["u"]).mean(),
            weighted,
            "reduction",
            ["the count 4"],
        ),
        (
            lambda p, x: F.huber_loss(x @ p["w"], torch.zeros_like(x), reduction="none", delta=0.5),
            lambda p, x: jnp.square(x @ p["w"]) / 2,
            "activation",
            ["Huber's function of delta 0.5", "half the square"],
        ),
        (
            lambda p, x: torch.where(x @ p["w"] > 0, 0.3 * (x @ p["w"]).exp(), (x @ p["w"]).cos()),
            lambda p, x: jnp.where(x @ p["w"] > 0, jnp.exp(x @ p["w"]), jnp.cos(x @ p["w"])),
            "scale",
            ["0.3"],
        ),
        (
            lambda p, x: off_diagonal(x[:, 0, :3] @ p["w"]) / 5 + 1,
            lambda p, x: jnp.square(x[:, 0, :3] @ p["w"])[:3].sum() / 5 + 1,
            "missing term",
            ["subtracts the sum of line"],
        ),
    ],
    ids=["weighted-mean", "huber", "one-case", "off-diagonal"],
)
def test_losses_and_their_means(reference: Any, candidate: Any, name: str, words: list[str]) -> None:
    params = {"w": numbers(3, 3), "u": np.abs(numbers(4)) + np.float32(0.5)}
    cause = cause_of(reference, candidate, params, numbers(4, 2, 5, 3))
    assert cause is not None
    assert cause.name == name, cause
    assert all(word in cause.text for word in words), cause.text
