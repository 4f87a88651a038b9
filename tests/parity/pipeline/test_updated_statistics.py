"""Running statistics that a run updates are not compared, and the report says so."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import parity
from parity.pipeline.arguments import sorted_arguments
from tests.parity.diagnose.diagnosed import numbers

NOT_CHECKED = "updated running statistics"


class Normalised(nnx.Module):
    """A dense layer with normalisation over the batch, of another momentum than PyTorch's."""

    def __init__(self) -> None:
        self.fc = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
        self.bn = nnx.BatchNorm(3, momentum=0.1, epsilon=1e-5, rngs=nnx.Rngs(0))

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(self.bn(self.fc(x)))


def told(reference: nn.Module, candidate: object) -> list[str]:
    """What a check that passes says of updates."""
    options = {"dtypes": ("float64",), "finite_differences": False, "moved_weights": False}
    report = parity.check(reference, candidate, (numbers(6, 4),), **sorted_arguments(options))
    assert report.verdict is parity.Verdict.PASS, str(report)
    return [line for line in report.not_checked if line.startswith(NOT_CHECKED)]


@pytest.mark.parametrize("training", [True, False])
def test_statistics_that_both_sides_update_are_listed_and_stay_as_they_were(training: bool) -> None:
    reference = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh()).train(training)
    candidate = Normalised()
    candidate.train() if training else candidate.eval()
    lines = told(reference, candidate)
    if not training:
        assert not lines
        return
    assert len(lines) == 1
    assert "1.running_mean, 1.running_var in PyTorch" in lines[0]
    assert "bn/mean, bn/var in JAX" in lines[0]
    assert torch.equal(reference[1].running_mean, torch.zeros(3))
    np.testing.assert_array_equal(candidate.bn.mean[...], np.zeros(3))


class Counted(nn.Module):
    """It writes to a buffer that is no layer's of PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.fc(x)
        self.mean.lerp_(h.detach().mean(0), 0.1)
        return torch.tanh(h)


def with_average(x: jax.Array) -> jax.Array:
    h = hk.Linear(3, name="fc")(x)
    mean = hk.get_state("mean", (3,), init=jnp.zeros)
    hk.set_state("mean", 0.9 * mean + 0.1 * jax.lax.stop_gradient(h.mean(0)))
    return jnp.tanh(h)


def test_what_is_written_to_is_known_by_the_write_and_not_by_the_kind_of_layer() -> None:
    (line,) = told(Counted(), hk.without_apply_rng(hk.transform_with_state(with_average)))
    assert "mean in PyTorch" in line
    assert "in JAX" in line
