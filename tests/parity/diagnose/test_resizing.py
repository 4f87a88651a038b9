"""Interpolations against PyTorch's and JAX's, and ports that resize by another one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from parity.diagnose.resizing import METHODS
from tests.parity.diagnose.diagnosed import cause_of, numbers

F = nn.functional

CUBIC = "by cubic convolution with a = -0.75"


def method(begins: str) -> Any:
    (found,) = [function for name, function in METHODS.items() if name.startswith(begins)]
    return found


@pytest.mark.parametrize("size", [3, 5, 10, 13])
@pytest.mark.parametrize(
    ("begins", "options"),
    [
        ("linearly between", {"mode": "linear", "align_corners": False}),
        ("linearly from corner", {"mode": "linear", "align_corners": True}),
        ("by the nearest entry", {"mode": "nearest"}),
        ("by the nearest middle", {"mode": "nearest-exact"}),
        ("by the mean", {"mode": "area"}),
    ],
)
def test_as_pytorch_interpolates(begins: str, options: dict[str, Any], size: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 6))
    expected = F.interpolate(torch.from_numpy(x), size=size, **options).numpy()
    np.testing.assert_allclose(x @ method(begins)(size, 6).T, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("corners", "begins"),
    [(False, "by cubic convolution with a = -0.75 and"), (True, "by cubic convolution with a = -0.75 from")],
)
@pytest.mark.parametrize("size", [4, 9])
def test_as_pytorch_interpolates_by_cubics(corners: bool, begins: str, size: int) -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 5))
    expected = F.interpolate(torch.from_numpy(x), (size, 5), mode="bicubic", align_corners=corners).numpy()
    found = np.einsum("oi,ncij->ncoj", method(begins)(size, 6), x)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("size", [3, 4, 9])
@pytest.mark.parametrize(
    ("begins", "name"),
    [("linearly and smoothed", "linear"), ("by the nearest middle", "nearest")],
)
def test_as_jax_resizes(begins: str, name: str, size: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    expected = jax.image.resize(x, (2, size), name)
    np.testing.assert_allclose(x @ method(begins)(size, 6).T, expected, rtol=2e-5, atol=2e-6)


def test_as_jax_resizes_by_cubics() -> None:
    x = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
    found = x @ method("by cubic convolution with a = -0.5")(11, 6).T
    np.testing.assert_allclose(found, jax.image.resize(x, (2, 11), "cubic"), rtol=2e-5, atol=2e-6)


PARAMS = {"w": numbers(3, 3)}
X = numbers(2, 3, 6, 5)


@pytest.mark.parametrize(
    ("options", "name", "words"),
    [
        (
            {"mode": "bilinear", "align_corners": True},
            "bilinear",
            ["align_corners=True", "align_corners=False"],
        ),
        ({"mode": "bilinear", "align_corners": False}, "nearest", ["align_corners=False", "nearest"]),
        ({"mode": "bicubic", "align_corners": False}, "cubic", ["a = -0.75", "a = -0.5"]),
        ({"mode": "nearest"}, "bilinear", ["nearest"]),
        ({"mode": "area"}, "bilinear", ["the area"]),
    ],
)
def test_another_interpolation_is_named(options: dict[str, Any], name: str, words: list[str]) -> None:
    def reference(p: Any, x: Any) -> Any:
        return torch.tanh(torch.einsum("oi,nihw->nohw", p["w"], F.interpolate(x, size=(9, 8), **options)))

    def candidate(p: Any, x: Any) -> Any:
        n, _, _, c = (h := jnp.transpose(x, (0, 2, 3, 1))).shape
        return jnp.transpose(jnp.tanh(jax.image.resize(h, (n, 9, 8, c), name) @ p["w"].T), (0, 3, 1, 2))

    cause = cause_of(reference, candidate, PARAMS, X)
    assert cause is not None
    assert cause.name == "interpolation"
    assert all(word in cause.text for word in words), cause.text


def test_smoothing_when_made_smaller_is_named() -> None:
    def reference(p: Any, x: Any) -> Any:
        return torch.tanh(F.interpolate(x, size=(3, 5), mode="bilinear")) * p["w"][0, 0]

    def candidate(p: Any, x: Any) -> Any:
        return jnp.tanh(jax.image.resize(x, (2, 3, 3, 5), "bilinear")) * p["w"][0, 0]

    cause = cause_of(reference, candidate, PARAMS, X)
    assert cause is not None
    assert cause.name == "interpolation"
    assert "antialias" in cause.text
