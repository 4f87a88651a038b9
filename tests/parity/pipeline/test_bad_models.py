"""Models and inputs that cannot be compared, or only with a word of warning: each says what to do."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity.pipeline.arguments import sorted_arguments
from parity.report.results import Verdict
from tests.kit.errors import told

TEMPLATE = {"l": {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}}
X = {"x": np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)}


class Around(nn.Module):
    """A linear layer, and a function of it that the test chooses."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.l = nn.Linear(4, 3)
        self.drop = nn.Dropout(0.5)
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


def linear(params: Any, x: jax.Array) -> jax.Array:
    return x @ params["l"]["kernel"] + params["l"]["bias"]


def plain() -> Around:
    return Around(lambda model, x: model.l(x)).eval()


def check(module: nn.Module, port: Any = linear, **rest: Any) -> Any:
    given = {"inputs": X, "template": TEMPLATE, "finite_differences": False} | rest
    return parity.check(module, port, **sorted_arguments(given))


@pytest.mark.parametrize(
    ("module", "port", "message"),
    [
        (Around(lambda model, x: None).eval(), linear, "without an array"),
        (plain(), lambda params, x: 1 / 0, "ZeroDivisionError: division by zero (raised by the JAX model)"),
    ],
)
def test_models_that_cannot_run_say_why(module: nn.Module, port: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError, ZeroDivisionError)) as caught:
        check(module, port)
    assert message in told(caught.value)


def test_a_leaked_tracer_is_called_one() -> None:
    kept: list[Any] = []

    def leaky(params: Any, x: jax.Array) -> jax.Array:
        @jax.jit
        def inner(v: jax.Array) -> jax.Array:
            kept.append(v * 2)
            return v

        inner(x)
        return kept[-1][:, :3]

    with pytest.raises(TypeError, match="traced value"):
        check(plain(), leaky)


@pytest.mark.parametrize("value", [np.array(["a"]), object()])
def test_inputs_that_hold_no_numbers_are_named(value: Any) -> None:
    with pytest.raises(TypeError, match="`x` has dtype"):
        check(plain(), inputs={"x": value})


def test_weights_with_nan_are_named() -> None:
    module = plain()
    with torch.no_grad():
        module.l.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"l\.weight have NaN"):
        check(module)


def test_integer_outputs_are_compared_and_said_to_have_no_gradient() -> None:
    module = Around(lambda model, x: model.l(x).argmax(-1)).eval()
    report = check(module, lambda params, x: jnp.argmax(linear(params, x), -1))
    assert report.verdict is Verdict.PASS
    assert any("no output is floating" in finding for finding in report.findings)
    wrong = check(module, lambda params, x: jnp.argmin(linear(params, x), -1))
    assert wrong.verdict is Verdict.FAIL


def test_float16_weights_and_hard_coded_dtypes_are_said() -> None:
    half = check(plain().half())
    assert half.verdict is Verdict.PASS
    assert any("stored in float16" in finding for finding in half.findings)

    def by_name(model: Around, x: torch.Tensor) -> torch.Tensor:
        return model.l(x).float() * torch.tensor(0.1, dtype=torch.float32)

    def port(params: Any, x: jax.Array) -> jax.Array:
        return linear(params, x).astype(jnp.float32) * jnp.float32(0.1)

    assert check(Around(by_name).eval(), port).verdict is Verdict.PASS, "float32 by name is lifted"

    def narrow(params: Any, x: jax.Array) -> jax.Array:
        return linear(params, x.astype(jnp.bfloat16).astype(jnp.float32))

    report = check(plain(), narrow)
    assert report.verdict is Verdict.FAIL
    assert any("computes in bfloat16" in finding for finding in report.findings)
    assert "bfloat16" in report.divergences[0].candidate[0].code


def test_dropout_left_on_in_pytorch_is_said() -> None:
    report = check(Around(lambda model, x: model.drop(model.l(x))), localise=False)
    assert report.verdict is Verdict.FAIL
    assert any("draws nothing at all" in f and "`model.eval()`" in f for f in report.findings)


def test_random_numbers_in_jax_are_placed() -> None:
    def dropped(params: Any, x: jax.Array) -> jax.Array:
        out = linear(params, x)
        return out * jax.random.bernoulli(jax.random.key(0), 0.5, out.shape)

    report = check(plain(), dropped)
    assert report.verdict is Verdict.FAIL
    assert any("draws random numbers" in f and "test_bad_models.py" in f for f in report.findings)


def test_a_loop_that_cannot_be_differentiated_is_compared_forward() -> None:
    def doubled(params: Any, x: jax.Array) -> jax.Array:
        start = (0, linear(params, x))
        return jax.lax.while_loop(lambda v: v[0] < 3, lambda v: (v[0] + 1, v[1] * 2), start)[1]

    report = check(Around(lambda model, x: model.l(x) * 8).eval(), doubled)
    assert report.verdict is Verdict.PASS
    assert "cannot be differentiated" in report.not_checked[0]
    assert report.select("gradients") == ()


def test_inference_mode_around_the_check_changes_nothing() -> None:
    with torch.inference_mode():
        assert check(plain()).verdict is Verdict.PASS


def test_several_inputs_are_one_check() -> None:
    def short(params: Any, x: jax.Array) -> jax.Array:
        return linear(params, x) * (1.0 if x.shape[0] == 2 else 1.001)

    report = check(plain(), short, inputs=[X, {"x": np.ones((1, 4), np.float32)}])
    assert {q.program for q in report.failures()} == {"candidate, inputs 2"}
    assert report.divergences
