"""Models with complex weights, inputs and outputs: right ones pass, faulty ones fail with their place."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity.report.results import Stage, Verdict

RNG = np.random.default_rng(0)
SIGNAL = RNG.standard_normal((2, 6, 3)).astype(np.float32)
WAVES = RNG.standard_normal((2, 32)).astype(np.float32)


def shape(*sizes: int, dtype: str = "float32") -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, dtype)


class Spectral(nn.Module):
    """A Fourier layer with a complex filter, and a complex output beside a real one."""

    def __init__(self, conjugated: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.filter = nn.Parameter(torch.randn(4, 3, dtype=torch.complex64, generator=generator))
        self.head = nn.Linear(3, 3)
        self.conjugated = conjugated

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        kept = self.filter.conj() if self.conjugated else self.filter
        z = torch.fft.rfft(x, dim=1) * kept
        return {"spectrum": 2j * z.conj(), "y": self.head(torch.fft.irfft(z, n=x.shape[1], dim=1))}


SPECTRAL = {"filter": shape(4, 3, dtype="complex64"), "head": {"kernel": shape(3, 3), "bias": shape(3)}}


def spectral(p: Any, x: jax.Array, fault: str = "") -> dict[str, jax.Array]:
    kept = p["filter"]
    if fault == "conjugated":
        kept = jnp.conj(kept)  # FAULT conjugated
    z = jnp.fft.rfft(x, axis=1) * kept
    if fault == "scaled":
        z = z * (1 + 0.01j)  # FAULT scaled
    y = jnp.fft.irfft(z, n=x.shape[1], axis=1)
    if fault == "stopped":
        y = y + 0.1 * (jax.lax.stop_gradient(y) - y)  # FAULT stopped
    return {"spectrum": 2j * jnp.conj(z), "y": y @ p["head"]["kernel"] + p["head"]["bias"]}


def fault_line(function: Callable[..., Any], fault: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return next(first + k for k, line in enumerate(lines) if line.rstrip().endswith(f"FAULT {fault}"))


def test_a_right_port_with_complex_weights_and_outputs_passes() -> None:
    report = parity.check(Spectral(), spectral, {"x": SIGNAL}, weights=parity.Weights(template=SPECTRAL))
    assert report.verdict is Verdict.PASS, str(report)
    gradients = {q.name: q for q in report.select("gradients", "float64")}
    assert gradients["filter"].scale > 0  # PyTorch's is the conjugate of JAX's, and compared as one
    oracle = [q for q in report.quantities if q.group == "finite differences"]
    assert len(oracle) == 2
    assert all(q.verdict is Verdict.PASS for q in oracle)


@pytest.mark.parametrize("fault", ["conjugated", "scaled", "stopped"])
def test_a_fault_among_complex_values_is_placed(fault: str) -> None:
    def candidate(p: Any, x: jax.Array) -> dict[str, jax.Array]:
        return spectral(p, x, fault)

    report = parity.check(Spectral(), candidate, {"x": SIGNAL}, weights=parity.Weights(template=SPECTRAL))
    assert report.verdict is Verdict.FAIL
    stage = Stage.GRADIENTS if fault == "stopped" else Stage.FORWARD
    first = report.divergences[0]
    assert first.stage is stage
    assert fault_line(spectral, fault) in [place.line for place in first.candidate[:2]]


@pytest.mark.parametrize("conjugated", [False, True])
def test_two_modules_of_pytorch_with_complex_weights(conjugated: bool) -> None:
    report = parity.check(Spectral(), Spectral(conjugated), {"x": SIGNAL})
    assert report.verdict is (Verdict.FAIL if conjugated else Verdict.PASS)
    if conjugated:
        assert "conj()" in report.divergences[0].candidate[0].code


class Spectrogram(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Linear(32, 32)
        self.register_buffer("window", torch.hann_window(8), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        window = self.get_buffer("window").to(x.dtype)
        return torch.stft(self.mixing(x), 8, 2, window=window, return_complex=True)


@pytest.mark.parametrize("power", [1, 2])
def test_a_short_time_fourier_transform(power: int) -> None:
    def candidate(p: Any, x: jax.Array) -> jax.Array:
        y = jnp.pad(x @ p["mixing"]["kernel"] + p["mixing"]["bias"], ((0, 0), (4, 4)), mode="reflect")
        window = 0.5 - 0.5 * jnp.cos(2 * jnp.pi * jnp.arange(8) / 8)
        frames = y[:, 2 * jnp.arange(17)[:, None] + jnp.arange(8)] * window**power
        return jnp.fft.rfft(frames).transpose(0, 2, 1)

    template = {"mixing": {"kernel": shape(32, 32), "bias": shape(32)}}
    report = parity.check(
        Spectrogram(),
        candidate,
        {"x": WAVES},
        weights=parity.Weights(template=template),
        settings=parity.Settings(finite_differences=False),
    )
    assert report.verdict is (Verdict.PASS if power == 1 else Verdict.FAIL), str(report)
    if power == 2:
        assert any("window**power" in place.code for place in report.divergences[0].candidate[:2])


class Inverse(nn.Module):
    """There and back again, in PyTorch alone."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(5, 1, generator=torch.Generator().manual_seed(0)))
        self.gain = gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(8, dtype=x.dtype)
        z = torch.stft(x, 8, 2, window=window, return_complex=True) * self.scale
        z = torch.view_as_complex(torch.view_as_real(z) * self.gain)  # the gain
        return torch.istft(z, 8, 2, window=window)


@pytest.mark.parametrize("gain", [1.0, 1.01])
def test_there_and_back_again_in_pytorch(gain: float) -> None:
    settings = parity.Settings(finite_differences=False)
    report = parity.check(Inverse(1.0), Inverse(gain), {"x": WAVES}, settings=settings)
    assert report.verdict is (Verdict.PASS if gain == 1.0 else Verdict.FAIL), str(report)
    if gain != 1.0:
        assert "# the gain" in report.divergences[0].candidate[0].code


def test_complex_inputs() -> None:
    class Moduli(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.rand(3))

        def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return (z * self.scale).abs(), torch.view_as_real(z * self.scale)

    def candidate(p: Any, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        scaled = z * p["scale"]
        return jnp.abs(scaled), jnp.stack([scaled.real, scaled.imag], -1)

    z = (RNG.standard_normal((2, 3)) + 1j * RNG.standard_normal((2, 3))).astype(np.complex64)
    report = parity.check(Moduli(), candidate, {"z": z}, weights=parity.Weights(template={"scale": shape(3)}))
    assert report.verdict is Verdict.PASS, str(report)


def test_a_fault_among_complex_values_is_reproduced(tmp_path: Path) -> None:
    def candidate(p: Any, x: jax.Array) -> dict[str, jax.Array]:
        return spectral(p, x, "scaled")

    settings = parity.Settings(finite_differences=False, moved_weights=False, reproduce=tmp_path)
    weights = parity.Weights(template=SPECTRAL)
    report = parity.check(Spectral(), candidate, {"x": SIGNAL}, weights=weights, settings=settings)
    assert any("reproducer of divergence 1" in finding for finding in report.findings)
    script = tmp_path / "divergence-1" / "reproduce.py"
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert "relative difference 1.000e-02" in ran.stdout


@pytest.mark.parametrize("fault", ["", "scaled"])
def test_recordings_hold_complex_values_and_traces(fault: str, tmp_path: Path) -> None:
    def candidate(p: Any, x: jax.Array) -> dict[str, jax.Array]:
        return spectral(p, x, fault)

    place = tmp_path / "reference"
    parity.record(place, reference=Spectral(), inputs={"x": SIGNAL}, trace=True, finite_differences=False)
    report = parity.compare(place, {"candidate": candidate, "template": SPECTRAL})
    assert report.verdict is (Verdict.FAIL if fault else Verdict.PASS), str(report)
    if fault:
        assert fault_line(spectral, fault) == report.divergences[0].candidate[0].line
