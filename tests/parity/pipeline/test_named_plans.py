"""What the two sides call alike is paired so: a port that exchanges it fails, and is told what it exchanged.

Beside them stand right ports that call it otherwise, or use it in another order.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from flax import nnx
from torch import nn

import parity
from parity.report.results import Report, Verdict
from tests.kit.inputs import normal
from tests.kit.weights import randomise, shapes

Apply = Callable[[Any, jax.Array], jax.Array]

QUICK = parity.Settings(finite_differences=False, moved_weights=False)


def checked(module: nn.Module, apply: Any, x: Any, template: Any = None, settings: Any = QUICK) -> Report:
    weights = parity.Weights() if template is None else parity.Weights(template=shapes(template))
    inputs = x if isinstance(x, dict) else {"x": x}
    return parity.check(randomise(module), apply, inputs, weights=weights, settings=settings)


def causes(report: Report) -> str:
    return "\n".join(d.cause.text for d in report.divergences if d.cause)


class Scaled(nn.Module):
    """Two norms around one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(5), nn.LayerNorm(5)
        self.fc = nn.Linear(5, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(x + torch.sin(self.fc(self.before(x))))


class ScaledPort(nnx.Module):
    def __init__(self, first: str, names: tuple[str, str] = ("before", "after")) -> None:
        rngs = nnx.Rngs(0)
        for name in names:
            setattr(self, name, nnx.LayerNorm(5, epsilon=1e-5, rngs=rngs))
        self.fc = nnx.Linear(5, 5, rngs=rngs)
        self.order = (first, names[1 - names.index(first)])

    def __call__(self, x: jax.Array) -> jax.Array:
        before, after = (getattr(self, name) for name in self.order)
        result: jax.Array = after(x + jnp.sin(self.fc(before(x))))
        return result


def test_two_norms_that_are_exchanged() -> None:
    report = checked(Scaled(), ScaledPort("after"), normal(3, 5))
    assert report.verdict is Verdict.FAIL
    assert "reads after/scale and after/bias where those of before belong" in causes(report), str(report)


@pytest.mark.parametrize("names", [("before", "after"), ("norm_a", "norm_b"), ("LayerNorm_0", "LayerNorm_1")])
def test_two_norms_in_their_order(names: tuple[str, str]) -> None:
    report = checked(Scaled(), ScaledPort(names[0], names), normal(3, 5))
    assert report.verdict is Verdict.PASS, str(report)


class Steps(nn.Module):
    """Linear layers in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for step in self.steps:
            x = x + torch.tanh(step(x))
        return x


def steps(order: list[int], first: int = 0) -> Apply:
    """The list in an order, its numbers starting anywhere."""

    def apply(p: Any, x: jax.Array) -> jax.Array:
        for number in order:
            own = p["steps"][f"{number + first}"]
            x = x + jnp.tanh(x @ own["kernel"] + own["bias"])
        return x

    return apply


def listed(first: int = 0) -> Any:
    return {"steps": {f"{n + first}": {"kernel": (4, 4), "bias": (4,)} for n in range(4)}}


def test_a_list_in_another_order() -> None:
    report = checked(Steps(), steps([0, 2, 1, 3]), normal(3, 4), listed())
    assert report.verdict is Verdict.FAIL
    assert report.divergences[0].cause is not None, str(report)


@pytest.mark.parametrize("first", [0, 1, 7])
def test_a_list_whose_numbers_start_elsewhere(first: int) -> None:
    assert checked(Steps(), steps([0, 1, 2, 3], first), normal(3, 4), listed(first)).verdict is Verdict.PASS


def test_a_stack_of_layers() -> None:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        def step(x: jax.Array, own: Any) -> Any:
            return x + jnp.tanh(x @ own["kernel"] + own["bias"]), None

        return jax.lax.scan(step, x, p["steps"])[0]

    template = {"steps": {"kernel": (4, 4, 4), "bias": (4, 4)}}
    assert checked(Steps(), apply, normal(3, 4), template).verdict is Verdict.PASS


class Gated(nn.Module):
    """A gate and what it lets through, called by letters."""

    def __init__(self) -> None:
        super().__init__()
        self.g, self.b, self.out = (nn.Linear(6, 6, bias=False) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.sigmoid(self.g(x)) * self.b(x))


def gated(gate: str, let: str, out: str = "out") -> Apply:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        through = x @ p[let]["kernel"]  # used before the gate, as a port may
        return (jax.nn.sigmoid(x @ p[gate]["kernel"]) * through) @ p[out]["kernel"]

    return apply


def square(*names: str) -> Any:
    return {name: {"kernel": (6, 6)} for name in names}


def test_a_gate_that_is_exchanged_with_what_it_lets_through() -> None:
    assert checked(Gated(), gated("b", "g"), normal(3, 6), square("b", "g", "out")).verdict is Verdict.FAIL


@pytest.mark.parametrize("names", [("g", "b", "out"), ("b", "g", "last"), ("x1", "x2", "x3")])
def test_a_gate_by_its_name_or_by_names_that_do_not_line_up(names: tuple[str, str, str]) -> None:
    assert checked(Gated(), gated(*names), normal(3, 6), square(*names)).verdict is Verdict.PASS


class Scores(nn.Module):
    """A bilinear form of two inputs, or of one and a product."""

    def __init__(self) -> None:
        super().__init__()
        self.form = nn.Parameter(torch.zeros(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ self.form) @ x.mT


def scores(name: str, *, is_turned: bool) -> Apply:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        form = p[name].T if is_turned else p[name]
        return jnp.tanh(x @ form) @ x.swapaxes(-1, -2)

    return apply


def test_a_bare_square_parameter_that_is_used_transposed() -> None:
    report = checked(Scores(), scores("form", is_turned=True), normal(2, 3, 4), {"form": (4, 4)})
    assert report.verdict is Verdict.FAIL
    assert "with axes (1, 0)" in causes(report), str(report)


def test_a_bare_square_parameter_as_it_is() -> None:
    right = checked(Scores(), scores("form", is_turned=False), normal(2, 3, 4), {"form": (4, 4)})
    renamed = checked(Scores(), scores("m", is_turned=True), normal(2, 3, 4), {"m": (4, 4)})
    assert right.verdict is renamed.verdict is Verdict.PASS


class Bare(nn.Module):
    """A bare matrix that is used as a linear layer's, (out, in)."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.w)


def test_a_bare_matrix_that_each_framework_holds_in_its_way() -> None:
    assert checked(Bare(), lambda p, x: x @ p["w"], normal(3, 4), {"w": (4, 4)}).verdict is Verdict.PASS


class Heads(nn.Module):
    """Attention whose layer gives queries, keys and values one after the other, each of two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return (torch.softmax(q @ k.mT / 2, -1) @ v).transpose(1, 2).flatten(2)


def heads(p: Any, x: jax.Array) -> jax.Array:
    q, k, v = jnp.moveaxis((x @ p["qkv"]["kernel"]).reshape(*x.shape[:2], 2, 3, 4), (3, 2), (0, 2))
    h = jax.nn.softmax(q @ k.swapaxes(-1, -2) / 2, -1) @ v
    return h.swapaxes(1, 2).reshape(x.shape)


def test_what_a_pass_rests_on_is_said_right_after_it() -> None:
    report = checked(Heads(), heads, normal(2, 5, 8), {"qkv": {"kernel": (8, 24)}})
    assert report.verdict is Verdict.PASS, str(report)
    said = "the two agree only if `qkv.weight` lies with its 24 outputs as (3, 2, 4), in the order (1, 0, 2),"
    assert [line.startswith(said) for line in report.conditions] == [True], report.findings
    assert report.conditions[0] in report.findings
    text = " ".join(str(report).split())
    assert text.startswith(f"check: PASS {said}")
    assert text.count(said) == 1
