"""A gradient that the plan turns round is compared turned round: no place of its own beside a fault."""

from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import linen
from torch import nn

import parity
from tests.kit.inputs import normal


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.up = nn.Linear(6, 16), nn.ConvTranspose2d(4, 3, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.inner(x)).view(-1, 4, 2, 2)
        return torch.sigmoid(self.up(h))


class Port(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = jnp.tanh(linen.Dense(16, name="inner")(x)).reshape(-1, 4, 2, 2).transpose(0, 2, 3, 1)
        return linen.sigmoid(linen.ConvTranspose(3, (3, 3), (2, 2), padding="VALID", name="up")(h))


def test_a_kernel_that_is_not_flipped_is_one_fault() -> None:
    """With the kernel flipped the outputs agree, and so do all gradients."""
    module = Decoder()
    w = {name: p.detach().numpy() for name, p in module.named_parameters()}
    for flip in (True, False):
        kernel = w["up.weight"].transpose(2, 3, 0, 1)
        params: Any = {
            "inner": {"kernel": w["inner.weight"].T, "bias": w["inner.bias"]},
            "up": {"kernel": kernel[::-1, ::-1] if flip else kernel, "bias": w["up.bias"]},
        }
        report = parity.check(
            module, Port(), (normal(3, 6),), weights=parity.Weights(params={"params": params})
        )
        assert (report.verdict is parity.Verdict.PASS) == flip, str(report)
        if not flip:
            (divergence,) = report.divergences
            assert divergence.cause is not None
            assert divergence.cause.name == "flipped kernel"
