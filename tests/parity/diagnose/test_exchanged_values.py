"""Values that both sides compute, read in each other's place by several operations, once or in every step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import parity
from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import numbers

HIDDEN = 4


class Minimal(torch.nn.Module):
    """A gated unit with a layer for each gate; both gates are read twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.keep, self.admit = torch.nn.Linear(3, HIDDEN), torch.nn.Linear(3, HIDDEN)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        keep, admit = torch.sigmoid(self.keep(x)), torch.sigmoid(self.admit(x))
        return torch.tanh(admit * h) * keep + (1 - keep) * h * torch.cos(admit)


def dense(p: Any, x: jax.Array) -> jax.Array:
    return x @ p["kernel"] + p["bias"]


def minimal(p: Any, x: jax.Array, h: jax.Array) -> jax.Array:
    keep, admit = jax.nn.sigmoid(dense(p["keep"], x)), jax.nn.sigmoid(dense(p["admit"], x))
    return jnp.tanh(admit * h) * keep + (1 - keep) * h * jnp.cos(admit)


def minimal_exchanged(p: Any, x: jax.Array, h: jax.Array) -> jax.Array:
    admit, keep = jax.nn.sigmoid(dense(p["keep"], x)), jax.nn.sigmoid(dense(p["admit"], x))  # exchanged
    return jnp.tanh(admit * h) * keep + (1 - keep) * h * jnp.cos(admit)


class Unrolled(torch.nn.Module):
    """A recurrence in a Python loop, whose four gates are packed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.x2h, self.h2h = torch.nn.Linear(3, 4 * HIDDEN), torch.nn.Linear(HIDDEN, 4 * HIDDEN)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(len(x), HIDDEN)
        for t in range(x.shape[1]):
            i, f, g, o = (self.x2h(x[:, t]) + self.h2h(h)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return h


def unrolled(order: str) -> Any:
    """The port that reads the gates in an order."""

    def port(p: Any, x: jax.Array) -> jax.Array:
        h = c = jnp.zeros((len(x), HIDDEN))
        for t in range(x.shape[1]):
            parts = jnp.split(dense(p["x2h"], x[:, t]) + dense(p["h2h"], h), 4, 1)  # the gates
            i, f, g, o = (parts[order.index(name)] for name in "ifgo")
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return h

    return port


def template(**sizes: tuple[int, int]) -> dict[str, dict[str, np.ndarray]]:
    return {
        name: {"kernel": np.zeros(size, np.float32), "bias": np.zeros(size[1], np.float32)}
        for name, size in sizes.items()
    }


def checked(reference: torch.nn.Module, candidate: Any, *inputs: np.ndarray, **sizes: tuple[int, int]) -> Any:
    return parity.check(
        reference,
        candidate,
        inputs,
        weights=parity.Weights(template=template(**sizes)),
        settings=parity.Settings(dtypes=["float64"]),
    )


MINIMAL = {"keep": (3, HIDDEN), "admit": (3, HIDDEN)}
UNROLLED = {"x2h": (3, 4 * HIDDEN), "h2h": (HIDDEN, 4 * HIDDEN)}
X, H, SERIES = numbers(5, 3), numbers(5, HIDDEN, seed=1), numbers(2, 3, 3)


def test_two_gates_of_one_line_that_are_read_everywhere_in_each_other_s_place() -> None:
    report = checked(Minimal(), minimal_exchanged, X, H, **MINIMAL)
    (divergence,) = report.divergences
    assert "# exchanged" in divergence.candidate[0].code, str(report)
    assert "torch.sigmoid(self.keep(x))" in divergence.reference[0].code
    assert divergence.cause is not None
    assert divergence.cause.whole
    assert "are exchanged in JAX" in divergence.cause.text
    assert "keep/kernel" in divergence.cause.text
    assert "admit/kernel" in divergence.cause.text


@pytest.mark.parametrize("order", ["ifog", "fgio"])
def test_gates_of_an_unrolled_loop_in_another_order_are_one_fault(order: str) -> None:
    report = checked(Unrolled(), unrolled(order), SERIES, **UNROLLED)
    (divergence,) = report.divergences
    assert "# the gates" in divergence.candidate[0].code, str(report)
    assert "chunk(4, 1)" in divergence.reference[0].code
    assert divergence.cause is not None
    assert divergence.cause.name is CauseKind.GATE_ORDER
    assert divergence.cause.whole
    assert "give those (`params=`)" in " ".join(str(report).split())


def test_the_right_ports_pass() -> None:
    assert checked(Minimal(), minimal, X, H, **MINIMAL).verdict is parity.Verdict.PASS
    assert checked(Unrolled(), unrolled("ifgo"), SERIES, **UNROLLED).verdict is parity.Verdict.PASS


class Bottleneck(torch.nn.Module):
    """Two convolutions, of which the second halves the image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one = torch.nn.Conv2d(3, 4, 1)
        self.two = torch.nn.Conv2d(4, 2, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(torch.relu(self.one(x)))


def convolved(p: Any, x: jax.Array, stride: int, pad: int) -> jax.Array:
    axes = ("NCHW", "OIHW", "NCHW")
    y = jax.lax.conv_general_dilated(x, p["w"], (stride,) * 2, [(pad, pad)] * 2, dimension_numbers=axes)
    return y + p["b"][:, None, None]


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_strides_of_two_convolutions_exchanged_are_one_fault(first: int, second: int) -> None:
    def port(p: Any, x: jax.Array) -> jax.Array:
        h = jax.nn.relu(convolved(p["one"], x, first, 0))
        return convolved(p["two"], h, second, 1)

    sizes = {"one": (4, 3, 1, 1), "two": (2, 4, 3, 3)}
    given = {name: {"w": np.zeros(size), "b": np.zeros(size[0])} for name, size in sizes.items()}
    report = parity.check(
        Bottleneck(),
        port,
        (numbers(2, 3, 8, 8),),
        weights=parity.Weights(template=given),
        settings=parity.Settings(dtypes=["float64"]),
    )
    assert (report.verdict is parity.Verdict.PASS) == (first == 1), str(report)
    if first == 2:
        (divergence,) = report.divergences
        assert divergence.cause is not None
        assert divergence.cause.name is CauseKind.STRIDE
        assert "(2, 2) and (1, 1) in JAX and (1, 1) and (2, 2) in PyTorch" in divergence.cause.text
