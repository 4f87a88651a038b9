"""JAX programs that must run in float64: captured arrays, linear systems, loops with integers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from parity.report.kinds import CauseKind
from tests.cases.declare import (
    Case,
    cause,
    faulty_report,
    lines,
    only,
    plain,
    require_pass,
    right_only,
    twins,
)
from tests.kit.checking import check
from tests.kit.conversion import dense
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import Arrays, randomise, shapes

pytestmark = pytest.mark.filterwarnings("ignore")

FILL = jnp.asarray(normal(5, seed=7))
"""A float32 array that jitted functions capture."""


@jax.jit
def where_positive(x: jax.Array, h: jax.Array) -> jax.Array:
    return jnp.where(x > 0, h, FILL)


@jax.jit
def select_positive(x: jax.Array, h: jax.Array) -> jax.Array:
    return jax.lax.select(x > 0, h, jnp.broadcast_to(FILL, h.shape).astype(h.dtype))


@jax.jit
def add_where_positive(x: jax.Array, h: jax.Array) -> jax.Array:
    return (x > 0) * (h - FILL) + FILL


@jax.checkpoint
def remembered(x: jax.Array, h: jax.Array) -> jax.Array:
    return jnp.where(x > 0, h, FILL)


def filled(function: Callable[[jax.Array, jax.Array], jax.Array]) -> Pair:
    class Filled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.zeros(5, 5))
            self.register_buffer("fill", torch.tensor(np.asarray(FILL)), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(x > 0, x @ self.kernel, self.fill)

    def port(params: Any, x: jax.Array) -> jax.Array:
        return function(x, x @ params["kernel"])

    return Pair(randomise(Filled()), port, {"x": normal(4, 5)}, template=shapes({"kernel": (5, 5)}))


@right_only(None)
def captured_by_where() -> Pair:
    return filled(where_positive)


@right_only(None)
def captured_by_select() -> Pair:
    return filled(select_positive)


@right_only(None)
def captured_by_arithmetic() -> Pair:
    return filled(add_where_positive)


@right_only(None)
def captured_under_checkpoint() -> Pair:
    return filled(remembered)


@pytest.mark.parametrize(
    "case",
    [
        plain(captured_by_where),
        plain(captured_by_select),
        plain(captured_by_arithmetic),
        plain(captured_under_checkpoint),
    ],
)
def test_an_array_that_a_jitted_function_captures_is_lifted(case: Case) -> None:
    require_pass(check(case.right))


def solving(own: Callable[[Any, Any], torch.Tensor], port: Callable[[Any, Any], jax.Array]) -> Pair:
    class Solving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.zeros(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return own(self.matrix, x)

    reference = randomise(Solving())
    with torch.no_grad():
        reference.matrix += 2 * torch.eye(4)
    template = shapes({"matrix": (4, 4)})
    pins = {"matrix": ("matrix", (0, 1))}
    return Pair(
        reference,
        lambda params, x: port(params["matrix"], x),
        {"x": normal(3, 4)},
        template=template,
        pins=pins,
    )


@right_only(None)
def solve() -> Pair:
    return solving(lambda m, x: torch.linalg.solve(m, x.mT).mT, lambda m, x: jnp.linalg.solve(m, x.T).T)


@right_only(None)
def inverse() -> Pair:
    return solving(lambda m, x: x @ torch.linalg.inv(m), lambda m, x: x @ jnp.linalg.inv(m))


@right_only(None)
def triangular() -> Pair:
    def own(m: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.solve_triangular(m.tril(), x.mT, upper=False).mT

    def port(m: jax.Array, x: jax.Array) -> jax.Array:
        return jax.scipy.linalg.solve_triangular(m, x.T, lower=True).T

    return solving(own, port)


@right_only(None)
def by_cholesky() -> Pair:
    def own(m: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.cholesky_solve(x.mT, torch.linalg.cholesky(m @ m.mT)).mT

    def port(m: jax.Array, x: jax.Array) -> jax.Array:
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(m @ m.T, lower=True), x.T).T

    return solving(own, port)


@pytest.mark.parametrize(
    "case",
    [plain(solve), plain(inverse), plain(triangular), plain(by_cholesky)],
)
def test_linear_systems_are_solved_in_float64(case: Case) -> None:
    require_pass(check(case.right))


def first_layer(t: Arrays) -> Any:
    return dense(t, "inner")


@twins(first_layer)
def chunks(faulty: bool) -> Pair:
    """Rows in chunks of two, cut out where the carry of a scan says, which starts at Python's 0."""

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(5, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.gelu(self.inner(x))

    def port(params: Any, x: jax.Array) -> jax.Array:
        def chunk(start: Any, _: None) -> tuple[Any, jax.Array]:
            h = jax.lax.dynamic_slice(x, (start, 0), (2, 5)) @ params["kernel"] + params["bias"]
            return start + 2, jax.nn.gelu(h, approximate=faulty)  # FAULT: chunks

        return jax.lax.scan(chunk, 0, None, length=4)[1].reshape(8, 4)

    return Pair(
        randomise(Whole()), port, {"x": normal(8, 5)}, template=shapes({"kernel": (5, 4), "bias": (4,)})
    )


def test_chunks_in_a_loop_pass() -> None:
    require_pass(check(chunks.right))


def test_a_fault_in_a_loop_over_chunks_is_placed() -> None:
    fault = only(faulty_report(chunks))
    assert lines(fault)[0] in chunks.fault
    assert cause(fault).name is CauseKind.ACTIVATION
