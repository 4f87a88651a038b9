"""The building blocks of the diagnosis against PyTorch, JAX and NumPy."""

import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch import nn

from parity.diagnose.arrangements import rearrangements
from parity.diagnose.convolving import convolve
from parity.diagnose.functions import table
from parity.diagnose.normalising import Normalisation, normalised
from parity.diagnose.order import compared
from parity.diagnose.sliding import reduce_windows

F = nn.functional

X = np.random.default_rng(0).standard_normal((4, 6)) * 3
"""Arguments on both sides of every kink."""


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("ReLU", F.relu),
        ("ReLU6", F.relu6),
        ("GELU (erf)", F.gelu),
        ("GELU (tanh approximation)", lambda x: F.gelu(x, approximate="tanh")),
        ("SiLU", F.silu),
        ("sigmoid", torch.sigmoid),
        ("softplus", F.softplus),
        ("mish", F.mish),
        ("ELU", F.elu),
        ("SELU", F.selu),
        ("hard sigmoid", F.hardsigmoid),
        ("hard swish", F.hardswish),
        ("hard tanh", F.hardtanh),
        ("softsign", F.softsign),
        ("tanh shrink", F.tanhshrink),
        ("log sigmoid", F.logsigmoid),
        ("softmax along axis 1", lambda x: F.softmax(x, 1)),
        ("log softmax along axis 0", lambda x: F.log_softmax(x, 0)),
        ("leaky ReLU of slope 0.3", lambda x: F.leaky_relu(x, 0.3)),
        ("ELU of alpha 0.3", lambda x: F.elu(x, 0.3)),
        ("CELU of alpha 0.3", lambda x: F.celu(x, 0.3)),
        ("softplus of beta 0.3", lambda x: F.softplus(x, 0.3)),
        ("soft shrink by 0.3", lambda x: F.softshrink(x, 0.3)),
        ("hard shrink by 0.3", lambda x: F.hardshrink(x, 0.3)),
        ("ReLU capped at 0.3", lambda x: x.clamp(0, 0.3)),
    ],
)
def test_functions_are_pytorchs_of_the_same_name(name: str, function: Any) -> None:
    found = {named.name: named.function for named in table(2, [0.3])}
    np.testing.assert_allclose(found[name](X), function(torch.from_numpy(X)).numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("stride", "padding", "spread", "dilation", "groups"),
    [
        ((1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 1),
        ((2, 1), ((1, 2), (0, 3)), (1, 1), (2, 1), 1),
        ((1, 2), ((2, 1), (1, 1)), (2, 3), (1, 2), 2),
        ((1, 1), ((-1, 2), (0, -1)), (1, 1), (1, 1), 2),
    ],
)
def test_the_convolution_is_that_of_jax(
    stride: Any, padding: Any, spread: Any, dilation: Any, groups: int
) -> None:
    rng = np.random.default_rng(1)
    x, kernel = rng.standard_normal((2, 7, 8, 4)), rng.standard_normal((3, 2, 4 // groups, 6))
    with jax.enable_x64(True):
        numbers = jax.lax.conv_dimension_numbers(x.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))
        settings = {
            "window_strides": stride,
            "padding": padding,
            "lhs_dilation": spread,
            "rhs_dilation": dilation,
            "dimension_numbers": numbers,
            "feature_group_count": groups,
        }
        expected = np.asarray(jax.lax.conv_general_dilated(x, kernel, **settings))
    np.testing.assert_allclose(convolve(x, kernel, settings), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["max", "min", "sum"])
@pytest.mark.parametrize(
    ("window", "strides", "padding", "base", "dilation"),
    [
        ((1, 3, 2), (1, 2, 2), ((0, 0), (1, 1), (0, 1)), (1, 1, 1), (1, 1, 1)),
        ((2, 2, 1), (1, 1, 1), ((0, 1), (2, 0), (0, 0)), (1, 2, 1), (1, 3, 1)),
        ((1, 2, 2), (1, 1, 3), ((0, 0), (-1, 2), (1, -1)), (1, 1, 2), (1, 2, 1)),
    ],
)
def test_reduced_windows_are_those_of_jax(
    kind: str, window: Any, strides: Any, padding: Any, base: Any, dilation: Any
) -> None:
    x = np.random.default_rng(3).standard_normal((2, 7, 5))
    start, reducer = {
        "max": (-np.inf, jax.lax.max),
        "min": (np.inf, jax.lax.min),
        "sum": (0.0, jax.lax.add),
    }[kind]
    with jax.enable_x64(True):
        expected = jax.lax.reduce_window(x, start, reducer, window, strides, padding, base, dilation)
    found = reduce_windows(
        x,
        kind,
        window=window,
        strides=strides,
        padding=padding,
        base_dilation=base,
        window_dilation=dilation,
    )
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-12, atol=1e-12)


def test_the_engine_loads_no_framework() -> None:
    code = (
        "import sys, parity.diagnose, parity.localise.reproducer; print({'jax', 'torch'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_normalisation_is_pytorchs_group_norm_and_layer_norm() -> None:
    x = np.random.default_rng(2).standard_normal((2, 6, 5))
    tensor = torch.from_numpy(x)
    grouped = normalised(x, Normalisation((2,), (1, 3, False), True, 0, 1e-5))
    np.testing.assert_allclose(grouped, F.group_norm(tensor, 3).numpy(), rtol=1e-12)
    layer = normalised(x, Normalisation((2,), None, True, 0, 1e-5))
    np.testing.assert_allclose(layer, F.layer_norm(tensor, (5,)).numpy(), rtol=1e-12)
    rms = normalised(x, Normalisation((2,), None, False, 0, 1e-6))
    np.testing.assert_allclose(rms, F.rms_norm(tensor, (5,), eps=1e-6).numpy(), rtol=1e-12)


def test_every_rearrangement_keeps_the_entries_and_moves_some() -> None:
    value = np.arange(36).reshape(6, 6)
    found = list(rearrangements(value))
    assert {how.move for how in found} == {"transposed", "flipped", "rolled", "blocks", "interleaved"}
    for how in found:
        assert sorted(how.value.reshape(-1)) == list(range(36)), how.text
        assert not np.array_equal(how.value, value), how.text


@pytest.mark.parametrize(
    ("move", "cause", "words"),
    [
        (lambda x: np.roll(x, 1, 1), "shift", "rolled by 1"),
        (lambda x: np.flip(x, 0), "order", "reversed"),
        (lambda x: np.repeat(x, 2, 1), "repeat", "each entry repeated 2 times"),
        (lambda x: np.pad(x, ((0, 0), (2, 2)), mode="reflect"), "padding", "reflect"),
        (lambda x: x[:, 1:], "shift", "the entries from 1 on"),
        (lambda x: x.T, "order", "(1, 0)"),
        (
            lambda x: x.reshape(2, 2, 6).swapaxes(0, 1).reshape(4, 6),
            "order",
            "reshape to (2, 2), transpose to (1, 0)",
        ),
    ],
)
def test_maps_are_described_by_what_made_them(move: Any, cause: str, words: str) -> None:
    places = np.arange(24).reshape(4, 6)
    reference, candidate = move(places), places if move(places).size == 24 else np.tile(places, (1, 2))
    found = compared(reference, candidate, (4, 6))
    assert found is not None
    assert found[0] == cause or "repeated" in found[1], found
    assert words in found[1], found


def test_what_must_be_positive_is_not_tried_with_a_negative_number() -> None:
    """A ReLU capped below zero is the cap for every argument, and would explain any constant."""
    tried = {named.name for named in table(1, [-0.5, 0.25])}
    assert "ReLU capped at 0.25" in tried
    assert "leaky ReLU of slope -0.5" in tried
    assert not any(
        name.startswith(("ReLU capped at -", "soft cap -", "Huber's function of delta -")) for name in tried
    )
