"""Batch statistics: which numbers normalise, which are kept, and how they are averaged.

A fault of many training steps is declared as the smallest forward computation that shows it: a function of
the old statistics and a batch that returns the new statistics, too.
"""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import linen
from torch import nn

from parity.report.kinds import CauseKind
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import Arrays, randomise, shapes

F = nn.functional
C = 6
NORM = {"scale": (C,), "bias": (C,), "mean": (C,), "var": (C,)}
LEAVES = by_table(
    {"scale": "norm.weight", "bias": "norm.bias", "mean": "norm.running_mean", "var": "norm.running_var"}
)


class Norm(nn.Module):
    """A network of one BatchNorm; subclasses say how it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(C)


class Trained(Norm):
    """One training step: what comes out, and the statistics afterwards."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        mean, var = self.norm.running_mean.clone(), self.norm.running_var.clone()
        y = F.batch_norm(x, mean, var, self.norm.weight, self.norm.bias, training=True, momentum=0.1)
        return {"y": torch.tanh(y), "mean": mean, "var": var}


def trained(port: Any) -> Pair:
    """A port of one training step."""
    return Pair(
        reference=randomise(Trained()),
        candidate=port,
        template=shapes(NORM),
        inputs={"x": normal(8, C)},
    )


def linen_leaves(own: Arrays) -> Arrays:
    """Linen's variables of the one BatchNorm."""
    groups = {"scale": "params", "bias": "params", "mean": "batch_stats", "var": "batch_stats"}
    return {f"{groups[name]}/norm/{name}": leaf for name, leaf in LEAVES(own).items()}


@fault(
    "N08",
    "BatchNorm with PyTorch's momentum of 0.1, which is 0.9 in Flax",
    cause=CauseKind.STATISTICS,
    also=(CauseKind.CONSTANT, CauseKind.SCALE, CauseKind.OPERANDS),
    convert=linen_leaves,
)
def momentum(faulty: bool) -> Pair:
    class Network(Norm):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            batch_mean, batch_var = x.mean(dim=0), x.var(dim=0, unbiased=False)
            y = self.norm.weight * (x - batch_mean) / torch.sqrt(batch_var + 1e-5) + self.norm.bias
            return y, torch.lerp(self.norm.running_mean, batch_mean, 0.1)

    class Layer(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            rate = 0.1 if faulty else 0.9
            return linen.BatchNorm(use_running_average=False, momentum=rate, name="norm")(x)  # FAULT: N08

    def apply(variables: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, new = Layer().apply(variables, x, mutable=["batch_stats"])
        return y, new["batch_stats"]["norm"]["mean"]

    params, stats = {"scale": (C,), "bias": (C,)}, {"mean": (C,), "var": (C,)}
    return Pair(
        reference=randomise(Network()),
        candidate=apply,
        template=shapes({"params": {"norm": params}, "batch_stats": {"norm": stats}}),
        inputs={"x": normal(10, C)},
    )


@fault(
    "N10",
    "the running variance is kept biased",
    cause=CauseKind.VARIANCE_CORRECTION,
    also=(CauseKind.STATISTICS,),
    convert=LEAVES,
)
def running_variance(faulty: bool) -> Pair:
    def apply(p: dict[str, jax.Array], x: jax.Array) -> dict[str, jax.Array]:
        mean, var = x.mean(axis=0), x.var(axis=0)
        y = jnp.tanh(p["scale"] * (x - mean) * jax.lax.rsqrt(var + 1e-5) + p["bias"])
        if faulty:
            kept = 0.9 * p["var"] + 0.1 * var  # FAULT: N10
        else:
            kept = 0.9 * p["var"] + 0.1 * var * len(x) / (len(x) - 1)
        return {"y": y, "mean": 0.9 * p["mean"] + 0.1 * mean, "var": kept}

    return trained(apply)


@fault(
    "N14",
    "the running variance starts at 0, not at 1",
    cause=CauseKind.CONSTANT,
    also=(CauseKind.STATISTICS,),
    convert=by_table({"scale": "scale", "bias": "bias"}),
)
def initial_variance(faulty: bool) -> Pair:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.bias = nn.Parameter(torch.ones(C)), nn.Parameter(torch.zeros(C))

        def forward(self, batches: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            mean, var = torch.zeros_like(self.bias), torch.ones_like(self.bias)
            for batch in batches:
                var = 0.9 * var + 0.1 * batch.var(dim=0)
                mean = 0.9 * mean + 0.1 * batch.mean(dim=0)
            return F.batch_norm(x, mean, var, self.scale, self.bias)

    def apply(p: dict[str, jax.Array], batches: jax.Array, x: jax.Array) -> jax.Array:
        mean = jnp.zeros_like(p["bias"])
        if faulty:
            var = jnp.zeros_like(p["scale"])  # FAULT: N14
        else:
            var = jnp.ones_like(p["scale"])
        for batch in batches:
            var = 0.9 * var + 0.1 * batch.var(axis=0, ddof=1)  # FAULT: N14
            mean = 0.9 * mean + 0.1 * batch.mean(axis=0)
        return p["scale"] * (x - mean) / jnp.sqrt(var + 1e-5) + p["bias"]

    return Pair(
        reference=randomise(Network()),
        candidate=apply,
        template=shapes({"scale": (C,), "bias": (C,)}),
        inputs={"batches": normal(3, 8, C), "x": normal(4, C, seed=2)},
    )


@fault(
    "N16",
    "training normalises by the moving averages, not by the batch",
    cause=CauseKind.STATISTICS,
    also=(CauseKind.OPERANDS,),
    convert=LEAVES,
)
def moving_averages(faulty: bool) -> Pair:
    def apply(p: dict[str, jax.Array], x: jax.Array) -> dict[str, jax.Array]:
        batch_mean, batch_var = x.mean(axis=0), x.var(axis=0)
        mean = 0.9 * p["mean"] + 0.1 * batch_mean
        var = 0.9 * p["var"] + 0.1 * batch_var * len(x) / (len(x) - 1)
        if faulty:
            centred = (x - mean) * jax.lax.rsqrt(var + 1e-5)  # FAULT: N16
        else:
            centred = (x - batch_mean) * jax.lax.rsqrt(batch_var + 1e-5)
        y = jnp.tanh(centred * p["scale"] + p["bias"])
        return {"y": y, "mean": mean, "var": var}

    return trained(apply)


@fault(
    "N26",
    "a momentum of 0: the kept statistics are those of the last batch",
    cause=CauseKind.STATISTICS,
    also=(CauseKind.CONSTANT, CauseKind.MISSING_TERM, CauseKind.SCALE),
    convert=LEAVES,
)
def last_batch(faulty: bool) -> Pair:
    class Network(Norm):
        def forward(self, batch: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            old_mean, old_var = self.norm.running_mean, self.norm.running_var
            mean = 0.9 * old_mean + 0.1 * batch.mean(dim=0)
            var = 0.9 * old_var + 0.1 * batch.var(dim=0)
            return F.batch_norm(x, mean, var, self.norm.weight, self.norm.bias)

    def apply(p: dict[str, jax.Array], batch: jax.Array, x: jax.Array) -> jax.Array:
        keep = 0.0 if faulty else 0.9
        mean = keep * p["mean"] + (1 - keep) * batch.mean(axis=0)  # FAULT: N26
        var = keep * p["var"] + (1 - keep) * batch.var(axis=0, ddof=1)  # FAULT: N26
        return (x - mean) / jnp.sqrt(var + 1e-5) * p["scale"] + p["bias"]

    return Pair(
        reference=randomise(Network()),
        candidate=apply,
        template=shapes(NORM),
        inputs={"batch": 2 + normal(8, C), "x": normal(4, C, seed=2)},
    )
