"""Models that differentiate by their own inputs: residuals of differential equations, energies and forces."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity
from tests.kit.conversion import dense
from tests.kit.inputs import normal
from tests.kit.weights import randomise, weights

VISCOSITY = 0.1


class Potential(nn.Module):
    """A scalar of a point (x, t)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 6), nn.Linear(6, 1)

    def of_points(self, points: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(points)))[:, 0]


class ByAutograd(Potential):
    """The residual of Burgers' equation, as most PyTorch code writes it."""

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        points = points.detach().requires_grad_()
        u = self.of_points(points)
        (slope,) = torch.autograd.grad(u.sum(), points, create_graph=True)
        (second,) = torch.autograd.grad(slope[:, 0].sum(), points, create_graph=True)
        return slope[:, 1] + u * slope[:, 0] - VISCOSITY * second[:, 0]


class ByFunctions(Potential):
    """The same by `torch.func`."""

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        def u(point: torch.Tensor) -> torch.Tensor:
            return self.of_points(point[None])[0]

        slope = torch.func.vmap(torch.func.grad(u))(points)
        second = torch.func.vmap(torch.func.jacrev(torch.func.grad(u)))(points)
        return slope[:, 1] + self.of_points(points) * slope[:, 0] - VISCOSITY * second[:, 0, 0]


def port(viscosity: float) -> Any:
    def apply(params: Any, points: jax.Array) -> jax.Array:
        def u(point: jax.Array) -> jax.Array:
            h = jnp.tanh(point @ params["first"]["kernel"] + params["first"]["bias"])
            return (h @ params["second"]["kernel"] + params["second"]["bias"])[0]

        def residual(point: jax.Array) -> jax.Array:
            slope, second = jax.grad(u)(point), jax.hessian(u)(point)
            return slope[1] + u(point) * slope[0] - viscosity * second[0, 0]

        return jax.vmap(residual)(points)

    return apply


def report_of(model: type[Potential], viscosity: float) -> parity.Report:
    reference = randomise(model())
    t = weights(reference)
    params = {"first": dense(t, "first"), "second": dense(t, "second")}
    return parity.check(
        reference, port(viscosity), {"points": normal(5, 2)}, weights=parity.Weights(params=params)
    )


@pytest.mark.parametrize("model", [ByAutograd, ByFunctions])
def test_a_residual_of_a_differential_equation_passes(model: type[Potential]) -> None:
    report = report_of(model, VISCOSITY)
    assert report.verdict is parity.Verdict.PASS, str(report)


@pytest.mark.parametrize("model", [ByAutograd, ByFunctions])
def test_a_wrong_one_fails(model: type[Potential]) -> None:
    report = report_of(model, 0.2)
    assert report.verdict is parity.Verdict.FAIL, str(report)
    assert report.divergences


@pytest.mark.filterwarnings("error::numpy.exceptions.ComplexWarning")
def test_a_complex_constant_is_compared_without_a_warning() -> None:
    class Phase(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.real, self.imaginary = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (torch.fft.fft(x) * (self.real + 1j * self.imaginary)).abs()

    reference = randomise(Phase())
    t = weights(reference)
    report = parity.check(
        reference,
        lambda p, x: jnp.abs(jnp.fft.fft(x) * (p["real"] + 1j * p["imaginary"])),
        {"x": normal(3, 4)},
        weights=parity.Weights(params={name: np.asarray(array) for name, array in t.items()}),
    )
    assert report.verdict is parity.Verdict.PASS, str(report)


def test_videos_are_recognised_with_their_channels_last() -> None:
    class Frames(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([self.conv(frame) for frame in x.unbind(1)], 1).cumsum(1)

    def port(params: Any, x: jax.Array) -> jax.Array:
        batch, frames, *image = x.shape
        assert image[-1] == 2, "channels are last"
        h = jax.lax.conv_general_dilated(
            x.reshape(batch * frames, *image),
            params["kernel"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return jnp.cumsum((h + params["bias"]).reshape(batch, frames, *h.shape[1:]), 1)

    reference = randomise(Frames())
    t = weights(reference)
    params = {"kernel": t["conv.weight"].transpose(2, 3, 1, 0), "bias": t["conv.bias"]}
    report = parity.check(
        reference, port, {"x": normal(2, 3, 2, 5, 4)}, weights=parity.Weights(params=params)
    )
    assert report.verdict is parity.Verdict.PASS, str(report)
    assert any("(0, 1, 3, 4, 2)" in finding for finding in report.findings), report.findings
