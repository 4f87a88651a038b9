"""Complex numbers inside of a JAX model."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from tests.cases.declare import (
    Case,
    faulty_report,
    first,
    lines,
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

FFT, HOP, FRAMES = 12, 3, 7
BINS = FFT // 2 + 1
ANGLES = np.arange(5)[:, None] * 50.0 ** -(np.arange(3) / 3)


def inner_and_outer(t: Arrays) -> Any:
    return {"inner": dense(t, "inner"), "outer": dense(t, "outer")}


def affine(params: Any, x: jax.Array) -> jax.Array:
    return x @ params["kernel"] + params["bias"]


@twins(inner_and_outer)
def overlapping_windows(faulty: bool) -> Pair:
    """A vocoder's inverse STFT: overlapping frames are divided by the sum of the squared windows."""

    class Vocoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(5, 9), nn.Linear(9, 2 * BINS)
            self.register_buffer("window", torch.hann_window(FFT), persistent=False)

        def forward(self, mel: torch.Tensor) -> torch.Tensor:
            level, phase = self.outer(self.inner(mel).sigmoid()).chunk(2, -1)
            frames = torch.polar(level.exp(), phase).mT
            window = torch.hann_window(FFT, dtype=mel.dtype)
            return torch.istft(frames, FFT, HOP, window=window)

    def port(params: Any, mel: jax.Array) -> jax.Array:
        level, phase = jnp.split(affine(params["outer"], jax.nn.sigmoid(affine(params["inner"], mel))), 2, -1)
        spectrum = jnp.exp(level) * (jnp.cos(phase) + 1j * jnp.sin(phase))
        window = 0.5 - 0.5 * jnp.cos(2 * jnp.pi * jnp.arange(FFT, dtype=mel.dtype) / FFT)
        frames = jnp.fft.irfft(spectrum, n=FFT) * window
        length = FFT + HOP * (FRAMES - 1)
        positions = HOP * jnp.arange(FRAMES)[:, None] + jnp.arange(FFT)
        summed = jnp.zeros((len(mel), length), mel.dtype).at[:, positions].add(frames)
        if faulty:
            weight = jnp.broadcast_to(window, positions.shape)  # FAULT: overlapping_windows
        else:
            weight = jnp.broadcast_to(window**2, positions.shape)
        total = jnp.zeros(length, mel.dtype).at[positions].add(weight)  # USE: overlapping_windows
        inside = slice(FFT // 2, length - FFT // 2)
        return summed[:, inside] / total[inside]  # USE: overlapping_windows

    return Pair(
        reference=randomise(Vocoder()),
        candidate=port,
        template=shapes(
            {
                "inner": {"kernel": (5, 9), "bias": (9,)},
                "outer": {"kernel": (9, 2 * BINS), "bias": (2 * BINS,)},
            }
        ),
        inputs={"mel": normal(2, FRAMES, 5)},
    )


def between(own: Callable[[torch.Tensor], torch.Tensor], port: Callable[[jax.Array], jax.Array]) -> Pair:
    """A function of complex numbers between two linear layers: (3, 5, 6) -> (3, 5, 6), real on both ends."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.outer(own(self.inner(x)))

    def mixed(params: Any, x: jax.Array) -> jax.Array:
        return affine(params["outer"], port(affine(params["inner"], x)))

    return Pair(
        reference=randomise(Mixed()),
        candidate=mixed,
        template=shapes(
            {"inner": {"kernel": (6, 6), "bias": (6,)}, "outer": {"kernel": (6, 4), "bias": (4,)}}
        ),
        inputs={"x": normal(3, 5, 6)},
    )


@right_only(inner_and_outer)
def mixing_by_fft() -> Pair:
    return between(lambda h: torch.fft.fft2(h).real, lambda h: jnp.fft.fft2(h).real)


@right_only(inner_and_outer)
def magnitudes() -> Pair:
    def own(h: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.fft.rfft(h).abs(), h[..., :2]], -1)

    def port(h: jax.Array) -> jax.Array:
        return jnp.concatenate([jnp.abs(jnp.fft.rfft(h)), h[..., :2]], -1)

    return between(own, port)


@right_only(inner_and_outer)
def rotary_as_a_product() -> Pair:
    def own(h: torch.Tensor) -> torch.Tensor:
        angles = torch.tensor(ANGLES, dtype=h.dtype)
        turned = torch.view_as_complex(h.unflatten(-1, (3, 2))) * torch.polar(torch.ones_like(angles), angles)
        return torch.view_as_real(turned).flatten(-2)

    def port(h: jax.Array) -> jax.Array:
        pairs = h.reshape(*h.shape[:-1], 3, 2)
        turned = jax.lax.complex(pairs[..., 0], pairs[..., 1]) * jnp.exp(1j * jnp.asarray(ANGLES, h.dtype))
        return jnp.stack([turned.real, turned.imag], -1).reshape(h.shape)

    return between(own, port)


@right_only(inner_and_outer)
def filter_of_frequencies() -> Pair:
    return between(
        lambda h: torch.fft.irfft(torch.fft.rfft(h, dim=1) * 0.75, n=5, dim=1),
        lambda h: jnp.fft.irfft(jnp.fft.rfft(h, axis=1) * 0.75, n=5, axis=1),
    )


@right_only(inner_and_outer)
def imaginary_literal() -> Pair:
    def own(h: torch.Tensor) -> torch.Tensor:
        level, phase = h.chunk(2, -1)
        return torch.fft.irfft(level.exp() * (phase.cos() + 1j * phase.sin()), n=6)

    def port(h: jax.Array) -> jax.Array:
        level, phase = jnp.split(h, 2, -1)
        return jnp.fft.irfft(jnp.exp(level) * (jnp.cos(phase) + 1j * jnp.sin(phase)), n=6)

    return between(own, port)


@right_only(inner_and_outer)
def table_of_complex_numbers() -> Pair:
    """The same for an array that the model holds: twiddle factors, written out."""
    turns = np.exp(-2j * math.pi * np.outer(np.arange(6), np.arange(6)) / 6)

    def own(h: torch.Tensor) -> torch.Tensor:
        table = torch.tensor(turns, dtype=torch.complex128 if h.dtype == torch.float64 else torch.complex64)
        return (h.to(table.dtype) @ table).real

    return between(own, lambda h: (h @ jnp.asarray(turns)).real)


@pytest.mark.parametrize(
    "case",
    [
        plain(mixing_by_fft),
        plain(table_of_complex_numbers),
        plain(overlapping_windows),
        plain(magnitudes),
        plain(rotary_as_a_product),
        plain(filter_of_frequencies),
        plain(imaginary_literal),
    ],
)
def test_a_right_port_passes(case: Case) -> None:
    require_pass(check(case.right))


def test_a_fault_behind_complex_numbers_is_placed() -> None:
    fault = first(faulty_report(overlapping_windows))
    assert lines(fault)[0] in overlapping_windows.use
    assert overlapping_windows.fault & set(lines(fault))
