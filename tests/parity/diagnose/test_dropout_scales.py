"""Dropout whose kept entries are not scaled."""

from typing import Any

import jax
from torch import nn

from tests.parity.diagnose.diagnosed import cause_of, numbers


def unscaled(p: Any, x: Any) -> Any:
    h = x @ p["w"]
    return (h * jax.random.bernoulli(jax.random.key(0), 0.7, h.shape)) @ p["v"]


def test_dropout_that_does_not_scale_what_it_keeps() -> None:
    params = {"w": numbers(4, 5), "v": numbers(5, 3)}
    cause = cause_of(
        lambda p, x: nn.functional.dropout(x @ p["w"], 0.3, training=True) @ p["v"],
        unscaled,
        params,
        numbers(9, 4),
    )
    assert cause is not None
    assert cause.name == "scale", cause
    assert "0.7" in cause.text, cause.text
