"""A small pair of models that agree, for tests that plant one fault in it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity
from tests.kit import checking
from tests.kit.pairs import Pair
from tests.kit.weights import shapes


class CheckedPair(Pair):
    """A pair that checks itself, with some arguments of `parity.check` replaced."""

    def check(self, **changes: Any) -> parity.Report:
        return checking.check(self, **changes)


def torch_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits, labels)


def jax_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen)


def apply(params: Any, x: jax.Array) -> jax.Array:
    h = jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return h @ params["output"]["kernel"] + params["output"]["bias"]


@pytest.fixture
def pair() -> CheckedPair:
    """Linear 6-6 (square on purpose), tanh, linear 6-3, cross entropy on seven samples."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    rng = np.random.default_rng(0)
    template = {"hidden": {"kernel": (6, 6), "bias": (6,)}, "output": {"kernel": (6, 3), "bias": (3,)}}
    return CheckedPair(
        reference=module,
        candidate=apply,
        inputs={"x": rng.standard_normal((7, 6)).astype(np.float32)},
        template=shapes(template),
        targets=rng.integers(0, 3, 7),
        loss=(torch_loss, jax_loss),
    )


@pytest.fixture
def converted(pair: CheckedPair) -> dict[str, Any]:
    """The params as a careful user converts them."""
    w = {name: p.detach().numpy() for name, p in pair.reference.named_parameters()}
    return {
        "hidden": {"kernel": w["0.weight"].T, "bias": w["0.bias"]},
        "output": {"kernel": w["2.weight"].T, "bias": w["2.bias"]},
    }


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Models that a test makes without a seed of its own have the same weights in every run."""
    torch.manual_seed(0)
