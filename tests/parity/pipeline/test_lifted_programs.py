"""JAX programs with solves, captured arrays, loops and callbacks: lifted, judged, placed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.experimental import io_callback
from torch import nn

import parity
from parity.report.results import Verdict

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 3)).astype(np.float32)
TABLE = jnp.asarray(RNG.standard_normal(3), jnp.float32)


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, "float32")


class Linear(nn.Module):
    """A function after a linear layer."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self.layer(x), self.layer.weight)


TEMPLATE = {"layer": {"kernel": shape(3, 3), "bias": shape(3)}}


def check(function: Callable[..., Any], port: Callable[..., Any], **settings: Any) -> parity.Report:
    """A function of (layer's output, its weight as PyTorch holds it), and its port."""

    def candidate(params: Any, x: jax.Array) -> Any:
        kernel = params["layer"]["kernel"]
        return port(x @ kernel + params["layer"]["bias"], kernel.T)

    return parity.check(
        Linear(function),
        candidate,
        {"x": X},
        weights=parity.Weights(template=TEMPLATE),
        settings=parity.Settings(finite_differences=False, **settings),
    )


def code_of(report: parity.Report, number: int = 0) -> str:
    return " ".join(place.code for place in report.divergences[number].candidate[:2])


def solved(h: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    system = weight @ weight.T + torch.eye(3, dtype=weight.dtype)
    return torch.linalg.solve(system, h.T), torch.cholesky_solve(h.T, torch.linalg.cholesky(system))


@pytest.mark.parametrize("fault", [False, True])
def test_linear_solves(fault: bool) -> None:
    def port(h: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        system = weight @ weight.T + jnp.eye(3)
        factor = jax.scipy.linalg.cho_factor(system)
        right = 1.01 * h.T if fault else h.T  # the fault
        return jnp.linalg.solve(system, right), jax.scipy.linalg.cho_solve(factor, h.T)

    report = check(solved, port)
    assert report.verdict is (Verdict.FAIL if fault else Verdict.PASS), str(report)
    assert not fault or "# the fault" in code_of(report)


@jax.jit
def captured(h: jax.Array) -> jax.Array:
    return jnp.where(h > 0, h, TABLE) + jax.lax.select(h > 1, h, jnp.broadcast_to(TABLE, h.shape))


def test_arrays_that_a_compiled_function_captures() -> None:
    table = torch.tensor(np.asarray(TABLE))

    def function(h: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return torch.where(h > 0, h, table) + torch.where(h > 1, h, table)

    report = check(function, lambda h, _: captured(h))
    assert report.verdict is Verdict.PASS, str(report)


@pytest.mark.parametrize("approximate", [False, True])
def test_an_integer_in_the_carry_of_a_loop(approximate: bool) -> None:
    def port(h: jax.Array, _: jax.Array) -> jax.Array:
        def chunk(i: Any, nothing: None) -> tuple[Any, jax.Array]:
            part = jax.lax.dynamic_slice(h, (i, 0), (2, 3))
            return i + 2, jax.nn.gelu(part, approximate=approximate)

        return jax.lax.scan(chunk, 0, None, length=3)[1].reshape(-1, 3)

    report = check(lambda h, _: nn.functional.gelu(h), port)
    assert report.verdict is (Verdict.FAIL if approximate else Verdict.PASS), str(report)
    if approximate:
        assert "jax.nn.gelu" in code_of(report)
        assert not any("bug of the harness" in finding for finding in report.findings)


@pytest.mark.parametrize("fault", [False, True])
def test_a_while_loop(fault: bool) -> None:
    activation = jnp.sin if fault else jnp.tanh

    def port(h: jax.Array, weight: jax.Array) -> jax.Array:
        def once_more(carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
            return carry[0] + 1, activation(carry[1] @ weight)

        return jax.lax.while_loop(lambda carry: carry[0] < 3, once_more, (0, h))[1]

    def function(h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            h = torch.tanh(h @ weight)
        return h

    report = check(function, port)
    assert report.verdict is (Verdict.FAIL if fault else Verdict.PASS), str(report)
    assert not fault or "activation(" in code_of(report)
    assert any("cannot be differentiated" in line for line in report.not_checked)


@pytest.mark.parametrize("fault", [False, True])
def test_a_batch_of_while_loops_that_end_at_different_turns(fault: bool) -> None:
    factor = 0.49 if fault else 0.5

    def halved(row: jax.Array) -> jax.Array:
        return jax.lax.while_loop(lambda u: jnp.max(jnp.abs(u)) > 0.3, lambda u: u * factor, row)

    def function(h: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        rows = []
        for row in h:
            while row.abs().max() > 0.3:
                row = row * 0.5
            rows.append(row)
        return torch.stack(rows)

    report = check(function, lambda h, _: jax.vmap(halved)(h), moved_weights=False)
    assert report.verdict is (Verdict.FAIL if fault else Verdict.PASS), str(report)
    assert not fault or "u * factor" in code_of(report)


def host(value: np.ndarray) -> np.ndarray:
    return np.tanh(value)


def test_a_callback_that_takes_float64_is_lifted() -> None:
    def port(h: jax.Array, _: jax.Array) -> jax.Array:
        return jax.pure_callback(host, jax.ShapeDtypeStruct(h.shape, h.dtype), h)

    report = check(lambda h, _: torch.tanh(h), port)
    assert report.verdict is Verdict.PASS, str(report)
    assert any("calls pure_callback" in finding for finding in report.findings)


def test_a_callback_with_effects_runs_in_its_own_dtype_which_is_said() -> None:
    def port(h: jax.Array, _: jax.Array) -> jax.Array:
        result: jax.Array = io_callback(host, jax.ShapeDtypeStruct(h.shape, h.dtype), h)
        return result

    report = check(lambda h, _: torch.tanh(h), port, dtypes=["float32"])
    assert report.verdict is Verdict.PASS, str(report)
    assert any("io_callback" in f and "run in float32" in f for f in report.findings)


def test_an_error_in_a_callback_is_the_models() -> None:
    def broken(value: np.ndarray) -> np.ndarray:
        raise KeyError("not there")

    def port(h: jax.Array, _: jax.Array) -> jax.Array:
        return jax.pure_callback(broken, jax.ShapeDtypeStruct(h.shape, h.dtype), h)

    with pytest.raises(Exception, match="not there") as caught:
        check(lambda h, _: torch.tanh(h), port)
    assert not isinstance(caught.value, parity.HarnessError)
    assert any("raised by the JAX model" in note for note in caught.value.__notes__)


def test_an_output_of_another_size_costs_no_place() -> None:
    def function(h: torch.Tensor, _: torch.Tensor) -> dict[str, torch.Tensor]:
        h = nn.functional.gelu(h)
        return {"value": h * 2, "error": (h**2).mean()}

    def port(h: jax.Array, _: jax.Array) -> dict[str, jax.Array]:
        h = jax.nn.gelu(h)  # by tanh
        return {"value": h * 2, "error": (h**2).mean(-1)}

    report = check(function, port)
    assert report.verdict is Verdict.FAIL
    assert "# by tanh" in code_of(report)
    assert not any("bug of the harness" in finding for finding in report.findings)


def test_a_model_that_refuses_moved_weights_is_judged_without_them() -> None:
    class Strict(Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not torch.equal(self.layer.bias, torch.zeros(3, dtype=x.dtype)):
                raise ValueError("the bias must be zero")
            return self.layer(x)

    model = Strict(lambda h, _: h)
    nn.init.zeros_(model.layer.bias)

    def candidate(params: Any, x: jax.Array) -> jax.Array:
        return x @ params["layer"]["kernel"] + params["layer"]["bias"]

    report = parity.check(model, candidate, {"x": X}, weights=parity.Weights(template=TEMPLATE))
    assert report.verdict is Verdict.PASS, str(report)
    assert any(
        "refuses weights that are moved (ValueError: the bias must be zero)" in line
        for line in report.not_checked
    )
