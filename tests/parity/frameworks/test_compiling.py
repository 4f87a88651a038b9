"""Programs of the harness are compiled soon; large ones, and a user's own, are compiled as usual."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import parity
from parity.frameworks.jax.compiling import LARGE, SOON, compiled_soon
from tests.kit.inputs import normal


def test_a_small_program_is_compiled_soon_and_a_large_one_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(jax, "jit", lambda function, compiler_options: given.append(compiler_options))
    compiled_soon(jnp.sin)
    compiled_soon(jnp.sin, entries=LARGE)
    assert given == [SOON, None]


def test_xla_knows_the_options_and_the_result_is_that_of_a_program_compiled_as_usual() -> None:
    def function(x: jax.Array) -> jax.Array:
        return jax.nn.softmax(jnp.tanh(x @ x.T), -1).sum(0)

    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).standard_normal((5, 4)))
        np.testing.assert_allclose(compiled_soon(function)(x), jax.jit(function)(x), rtol=1e-14)


def test_a_user_s_program_in_its_own_dtype_is_compiled_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a check's programs only those in float64 get the options."""
    seen: list[tuple[bool, bool]] = []
    compile_it = jax._src.compiler.compile_or_get_cached  # type: ignore[attr-defined]

    def noting(backend: Any, module: Any, devices: Any, options: Any, *rest: Any, **named: Any) -> Any:
        text = str(module)
        if "dot_general" in text:
            soon = bool(options.env_option_overrides)
            seen.append((soon, "xf64>" in text))
        return compile_it(backend, module, devices, options, *rest, **named)

    monkeypatch.setattr(jax._src.compiler, "compile_or_get_cached", noting)  # type: ignore[attr-defined]
    template = {"kernel": np.zeros((4, 3), np.float32), "bias": np.zeros(3, np.float32)}
    report = parity.check(
        torch.nn.Linear(4, 3),
        lambda p, x: x @ p["kernel"] + p["bias"],
        (normal(2, 4),),
        weights=parity.Weights(template=template),
    )
    assert report.verdict is parity.Verdict.PASS
    assert {(True, True), (False, False)} <= set(seen)
    assert (True, False) not in seen
