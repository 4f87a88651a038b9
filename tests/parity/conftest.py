"""A small pair of models that agree, for tests that plant one fault in it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity


class Pair(NamedTuple):
    """A PyTorch module and the JAX function that should do the same."""

    module: nn.Module
    apply: Any
    template: Any
    inputs: dict[str, np.ndarray]
    targets: np.ndarray

    def check(self, **changes: Any) -> parity.Report:
        """Run `parity.check` with some arguments replaced."""
        arguments: dict[str, Any] = {
            "template": self.template,
            "targets": self.targets,
            "loss": (torch_loss, jax_loss),
        }
        module = changes.pop("torch_model", self.module)
        apply = changes.pop("jax_model", self.apply)
        inputs = changes.pop("inputs", self.inputs)
        return parity.check(module, apply, inputs, **(arguments | changes))


def torch_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits, labels)


def jax_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=1) - chosen)


def apply(params: Any, x: jax.Array) -> jax.Array:
    h = jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return h @ params["output"]["kernel"] + params["output"]["bias"]


@pytest.fixture
def pair() -> Pair:
    """Linear 6-6 (square on purpose), tanh, linear 6-3, cross entropy on seven samples."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    shape = jax.ShapeDtypeStruct
    template = {
        "hidden": {"kernel": shape((6, 6), jnp.float32), "bias": shape((6,), jnp.float32)},
        "output": {"kernel": shape((6, 3), jnp.float32), "bias": shape((3,), jnp.float32)},
    }
    rng = np.random.default_rng(0)
    inputs = {"x": rng.standard_normal((7, 6)).astype(np.float32)}
    return Pair(module, apply, template, inputs, rng.integers(0, 3, 7))


@pytest.fixture
def converted(pair: Pair) -> dict[str, Any]:
    """The params as a careful user converts them."""
    w = {name: p.detach().numpy() for name, p in pair.module.named_parameters()}
    return {
        "hidden": {"kernel": w["0.weight"].T, "bias": w["0.bias"]},
        "output": {"kernel": w["2.weight"].T, "bias": w["2.bias"]},
    }
