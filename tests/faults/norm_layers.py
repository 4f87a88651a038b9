"""Normalisation layers with another epsilon, another variance, other axes or other groups."""

from collections import OrderedDict
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from parity.report.kinds import CauseKind
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes


@fault(
    "N01",
    "LayerNorm with Flax's epsilon of 1e-6 for 1e-5, in the second of two layers",
    cause=CauseKind.EPSILON,
    module="norm2",
    convert=by_table(
        {
            "params/norm1/scale": "norm1.weight",
            "params/norm1/bias": "norm1.bias",
            "params/mix/kernel": ("mix.weight", (1, 0)),
            "params/mix/bias": "mix.bias",
            "params/norm2/scale": "norm2.weight",
            "params/norm2/bias": "norm2.bias",
        }
    ),
)
def layer_norm_epsilon(faulty: bool) -> Pair:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.mix, self.norm2 = nn.LayerNorm(16), nn.Linear(16, 16), nn.LayerNorm(16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm2(x + torch.tanh(self.mix(self.norm1(x))))

    class Port(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            h = linen.LayerNorm(epsilon=1e-5, name="norm1")(x)
            x = x + jnp.tanh(linen.Dense(16, name="mix")(h))
            return linen.LayerNorm(epsilon=1e-6 if faulty else 1e-5, name="norm2")(x)  # FAULT: N01

    norm = {"scale": (16,), "bias": (16,)}
    layers = {"norm1": norm, "mix": {"kernel": (16, 16), "bias": (16,)}, "norm2": norm}
    return Pair(
        reference=randomise(Network()),
        candidate=Port(),
        template=shapes({"params": layers}),
        inputs={"x": normal(3, 5, 16)},
    )


@fault(
    "N02",
    "BatchNorm with Keras' epsilon of 1e-3 for 1e-5",
    cause=CauseKind.EPSILON,
    module="norm",
    convert=by_table(
        {
            "stem/kernel": ("stem.weight", (2, 3, 1, 0)),
            "stem/bias": "stem.bias",
            "norm/scale": "norm.weight",
            "norm/bias": "norm.bias",
            "norm/mean": "norm.running_mean",
            "norm/var": "norm.running_var",
        }
    ),
)
def batch_norm_epsilon(faulty: bool) -> Pair:
    layers = OrderedDict(stem=nn.Conv2d(3, 6, 3, padding=1), norm=nn.BatchNorm2d(6), act=nn.ReLU())

    class Port(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            epsilon = 1e-3 if faulty else 1e-5
            self.stem = nnx.Conv(3, 6, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(6, use_running_average=True, epsilon=epsilon, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            h = self.stem(x.transpose(0, 2, 3, 1))
            h = self.norm(h)  # FAULT: N02
            return jax.nn.relu(h).transpose(0, 3, 1, 2)

    return Pair(
        reference=randomise(nn.Sequential(layers)),
        candidate=Port(nnx.Rngs(0)),
        inputs={"x": normal(2, 3, 6, 6)},
    )


@fault(
    "N04",
    "LayerNorm with the library's epsilon for BERT's 1e-12",
    cause=CauseKind.EPSILON,
    module="norm",
    convert=lambda own: {name.replace(".", "/"): array for name, array in own.items()},
)
def bert_epsilon(faulty: bool) -> Pair:
    class Output(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.norm = nn.Linear(24, 12), nn.LayerNorm(12, eps=1e-12)

        def forward(self, hidden: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
            return self.norm(self.dense(hidden) + residual)

    class Port(eqx.Module):
        dense: eqx.nn.Linear
        norm: eqx.nn.LayerNorm

        def __call__(self, hidden: jax.Array, residual: jax.Array) -> jax.Array:
            h = jax.vmap(self.dense)(hidden) + residual
            return jax.vmap(self.norm)(h)  # FAULT: N04

    dense = eqx.nn.Linear(24, 12, key=jax.random.key(0))
    norm = eqx.nn.LayerNorm(12) if faulty else eqx.nn.LayerNorm(12, eps=1e-12)
    return Pair(
        reference=randomise(Output()),
        candidate=Port(dense, norm),
        inputs={"hidden": normal(4, 24), "residual": normal(4, 12, seed=2)},
    )


@fault(
    "N05",
    "RMSNorm without eps means the dtype's machine epsilon in PyTorch, not 1e-6",
    cause=CauseKind.EPSILON,
    module="norm",
)
def rms_norm_epsilon(faulty: bool) -> Pair:
    model = randomise(nn.Sequential(OrderedDict(norm=nn.RMSNorm(16), head=nn.Linear(16, 4))))

    def apply(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        epsilon = 1e-6 if faulty else float(jnp.finfo(x.dtype).eps)
        h = x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + epsilon)  # FAULT: N05
        return (h * p["norm.weight"]) @ p["head.weight"].T + p["head.bias"]

    return Pair(
        reference=model,
        candidate=apply,
        template=shapes(model.state_dict()),
        inputs={"x": 0.1 * normal(4, 16)},
    )


@fault(
    "N07",
    "LayerNorm with the unbiased standard deviation",
    cause=CauseKind.VARIANCE_CORRECTION,
    module="norm",
    convert=by_table(
        {"norm/scale": "norm.weight", "norm/bias": "norm.bias", "head": ("head.weight", (1, 0))}
    ),
)
def layer_norm_unbiased(faulty: bool) -> Pair:
    layers = OrderedDict(norm=nn.LayerNorm(12), head=nn.Linear(12, 5, bias=False))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        mean = x.mean(axis=-1, keepdims=True)
        variance = x.var(axis=-1, ddof=1 if faulty else 0, keepdims=True)  # FAULT: N07
        h = (x - mean) / jnp.sqrt(variance + 1e-5)
        h = h * params["norm"]["scale"] + params["norm"]["bias"]
        return h @ params["head"]

    return Pair(
        reference=randomise(nn.Sequential(layers)),
        candidate=apply,
        template=shapes({"norm": {"scale": (12,), "bias": (12,)}, "head": (12, 5)}),
        inputs={"x": normal(4, 12)},
    )
