"""What a candidate loses in a narrow dtype alone has a line, with what happens there in words and figures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import parity
from parity.pipeline import accuracy_search

Forward = Callable[[torch.Tensor], torch.Tensor]
Port = Callable[[jax.Array], jax.Array]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


class Scaled(nn.Module):
    """A function of the input times a gain."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.gain, self.function = nn.Parameter(torch.ones(8)), forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x * self.gain)


def of(port: Port) -> Callable[..., jax.Array]:
    return lambda params, x: port(x * params["gain"])


def check(reference: nn.Module, candidate: object, x: np.ndarray, **settings: Any) -> parity.Report:
    weights = None if isinstance(candidate, nn.Module) else parity.Weights(template={"gain": jnp.zeros(8)})
    return parity.check(reference, candidate, {"x": x}, weights=weights, settings=parity.Settings(**settings))


def softmax(z: jax.Array) -> jax.Array:
    e = jnp.exp(z)  # overflow
    return e / e.sum(-1, keepdims=True)


def log_of_softmax(z: jax.Array) -> jax.Array:
    p = jax.nn.softmax(z)
    return jnp.log(p)  # zero


def variance(z: jax.Array) -> jax.Array:
    squares, mean = jnp.mean(z * z, -1), jnp.mean(z, -1)
    return squares - mean * mean  # cancellation


def sine(z: jax.Array) -> jax.Array:
    angles = jnp.arange(z.shape[0])[:, None] * (1000 * jnp.sqrt(jnp.arange(1.0, 9.0)))
    return z * jnp.sin(angles)  # large


def joint(z: jax.Array) -> jax.Array:
    p = jnp.prod(jax.nn.sigmoid(z), 0)  # underflow
    return jnp.log(p)


def elu(z: jax.Array) -> jax.Array:
    return jnp.where(z > 0, z, jnp.exp(z) - 1)  # masked


def exact_sine(z: torch.Tensor) -> torch.Tensor:
    steps = torch.arange(z.shape[0], dtype=torch.float64)
    angles = steps[:, None] * (1000 * torch.arange(1, 9, dtype=torch.float64).sqrt())
    return z * torch.sin(angles).to(z.dtype)


def log_softmax(z: torch.Tensor) -> torch.Tensor:
    return F.log_softmax(z, -1)


LOSSES: dict[str, tuple[Forward, Port, np.ndarray, str, str]] = {
    "overflow": (lambda z: F.softmax(z, -1), softmax, 80 * normal(4, 8), "exp(", "overflows"),
    "zero": (log_softmax, log_of_softmax, 80 * normal(4, 8), "log(0) is -inf", "is rounded to 0"),
    "cancellation": (lambda z: z.var(-1, correction=0), variance, 300 + normal(4, 8), "cancel", "7.2 digits"),
    "large": (exact_sine, sine, normal(90, 8), "sin of a number near", "which float32 holds to"),
    "underflow": (lambda z: F.logsigmoid(z).sum(0), joint, normal(200, 8), "prod underflows", "1.2e-38"),
    "masked": (F.elu, elu, 80 * normal(4, 8), "0 * inf is nan", "in float64 0 * "),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_the_line_is_named_and_what_happens_there_in_figures(kind: str) -> None:
    forward, port, x, *said = LOSSES[kind]
    report = check(Scaled(forward), of(port), x, finite_differences=False)
    assert report.verdict is parity.Verdict.FAIL
    first = report.divergences[0]
    assert f"# {kind}" in first.candidate[0].code, str(report)
    assert first.kind == "accuracy"
    assert first.stage == ("gradients" if kind == "masked" else "forward")
    assert all(part in first.detail for part in ("in float32: ", *said)), first.detail


def test_a_port_of_pytorch_in_pytorch_is_traced_likewise() -> None:
    class Port(Scaled):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            e = torch.exp(x * self.gain)  # here
            return e / e.sum(-1, keepdim=True)

    report = check(Scaled(lambda z: F.softmax(z, -1)), Port(torch.exp), 120 * normal(4, 8))
    assert "# here" in report.divergences[0].candidate[0].code, str(report)


def test_a_right_port_and_one_that_loses_as_much_have_no_place() -> None:
    right = check(Scaled(lambda z: F.softmax(z, -1)), of(jax.nn.softmax), 5 * normal(4, 8))
    assert right.verdict is parity.Verdict.PASS
    same = check(
        Scaled(lambda z: (z * z).mean(-1) - z.mean(-1) * z.mean(-1)), of(variance), 300 + normal(4, 8)
    )
    assert not same.divergences


def test_what_the_reference_loses_too_is_not_the_place() -> None:
    def forward(z: torch.Tensor) -> torch.Tensor:
        spread = (z * z).mean(-1) - z.mean(-1) ** 2
        return 2 * torch.sin(spread * 0.5e-3) ** 2

    def port(z: jax.Array) -> jax.Array:
        return 1 - jnp.cos(1e-3 * variance(z))  # own

    report = check(Scaled(forward), of(port), 1 + normal(4, 8))
    assert "# own" in report.divergences[0].candidate[0].code, str(report)


def test_with_float32_alone_another_function_is_told_from_a_less_accurate_one() -> None:
    def shifted(z: jax.Array) -> jax.Array:
        return jnp.log(jax.nn.softmax(z) + 1e-3)

    report = check(Scaled(log_softmax), of(shifted), normal(4, 8), dtypes=["float32"])
    assert report.divergences[0].kind == "value"
    report = check(Scaled(log_softmax), of(log_of_softmax), 80 * normal(4, 8), dtypes=["float32"])
    assert report.divergences[0].kind == "accuracy"


def test_against_a_recording_the_candidate_alone_says_where(tmp_path: Path) -> None:
    reference = Scaled(lambda z: F.softmax(z, -1))
    parity.record(tmp_path / "reference", reference, inputs={"x": 80 * normal(4, 8)})
    report = parity.compare(
        tmp_path / "reference", {"candidate": of(softmax), "template": {"gain": jnp.zeros(8)}}
    )
    assert "# overflow" in report.divergences[0].candidate[0].code, str(report)
    assert report.divergences[0].reference == ()


def test_an_error_on_the_way_costs_the_place_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object) -> None:
        raise RuntimeError("no trace today")

    monkeypatch.delenv("PARITY_DEBUG", raising=False)
    monkeypatch.setattr(accuracy_search, "_searched", fails)
    report = check(Scaled(lambda z: F.softmax(z, -1)), of(softmax), 80 * normal(4, 8))
    assert report.verdict is parity.Verdict.FAIL
    assert not report.divergences
    assert "the place in float32 was not found: RuntimeError: no trace today" in report.findings
