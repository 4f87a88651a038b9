"""What both sides compute at a fault that no known mistake explains, as formulas of the same names."""

from typing import Any

import jax.numpy as jnp
import pytest
import torch

from parity.report.html import page
from tests.parity.diagnose.diagnosed import numbers, report_of

PARAMS = {"w": numbers(5, 6), "v": numbers(6), "u": numbers(6, seed=1)}
X = numbers(7, 5)


@pytest.mark.parametrize(
    ("reference", "candidate", "formulas"),
    [
        (
            lambda p, x: torch.tanh((x @ p["w"]).exp() / (1 + p["v"].square()) - p["u"]),
            lambda p, x: jnp.tanh(jnp.exp(x @ p["w"]) * (2 + jnp.abs(p["u"]))),
            ("[exp, line {c}] / (v ** 2 + 1) - u", "[exp, line {c}] * (2 + abs(u))"),
        ),
        (
            lambda p, x: torch.tanh((x @ p["w"]) ** 2 - p["v"] * (x @ p["w"]).sigmoid()),
            lambda p, x: jnp.tanh(p["u"] / (1 - 2 * (x @ p["w"]))),
            (
                "[dot_general, line {c}] ** 2 - v * sigmoid([dot_general, line {c}])",
                "u / (1 - 2 * [dot_general, line {c}])",
            ),
        ),
    ],
    ids=["quotient", "powers"],
)
def test_the_same_values_bear_the_same_names(
    reference: Any, candidate: Any, formulas: tuple[str, str]
) -> None:
    fault = report_of(reference, candidate, PARAMS, X).divergences[0]
    line = candidate.__code__.co_firstlineno
    assert fault.cause is None
    assert fault.formulas == tuple(text.format(c=line) for text in formulas)


def test_a_report_shows_them() -> None:
    report = report_of(
        lambda p, x: torch.tanh((x @ p["w"]).exp() / (1 + p["v"].square()) - p["u"]),
        lambda p, x: jnp.tanh(jnp.exp(x @ p["w"]) * (2 + jnp.abs(p["u"]))),
        PARAMS,
        X,
    )
    text = str(report)
    assert "formulas PyTorch: [exp" in text
    assert "* (2 + abs(u))" in text
    assert "in brackets: values that agree, by their line in JAX" in text
    assert "make the formulas the same" in " ".join(text.split())
    assert "In brackets: values that agree, by their line in JAX" in page(report)


def test_a_formula_shows_strides() -> None:
    def reference(p: Any, x: Any) -> Any:
        return torch.tanh(torch.nn.functional.conv2d(x, p["k"], stride=2))

    def candidate(p: Any, x: Any) -> Any:
        return jnp.tanh(jnp.exp(x[:, :, ::2, ::2]) * p["k"].sum())

    fault = report_of(reference, candidate, {"k": numbers(2, 2, 1, 1)}, numbers(2, 2, 5, 5)).divergences[0]
    assert fault.formulas is not None, fault
    assert "stride=(2, 2)" in fault.formulas[0], fault.formulas


def test_a_long_way_between_what_agrees_has_none() -> None:
    def reference(p: Any, x: Any) -> Any:
        h = x @ p["w"]
        for step in range(12):
            h = torch.sin(h * p["v"] + step) * p["u"]
        return h

    def candidate(p: Any, x: Any) -> Any:
        h = x @ p["w"]
        for step in range(12):
            h = jnp.cosh(h * p["v"] - step) / (3 + jnp.abs(p["u"]))
        return h

    fault = report_of(reference, candidate, PARAMS, X).divergences[0]
    assert fault.cause is None
    assert fault.formulas is None
