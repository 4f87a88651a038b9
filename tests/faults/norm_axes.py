"""Normalisation over other axes or other groups, or with a scale that is not there."""

from collections import OrderedDict
from typing import Any

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
from tests.kit.weights import Arrays, randomise, shapes

F = nn.functional


def batch_norm_leaves(own: Arrays) -> Arrays:
    """A Linen BatchNorm's variables from a BatchNorm called norm."""
    table = {
        "params/norm/scale": "norm.weight",
        "params/norm/bias": "norm.bias",
        "batch_stats/norm/mean": "norm.running_mean",
        "batch_stats/norm/var": "norm.running_var",
    }
    return {path: own[name] for path, name in table.items()}


@fault(
    "N17",
    "BatchNorm along the last axis of an NCHW array",
    cause=CauseKind.AXIS,
    module="norm",
    also=(CauseKind.BROADCAST, CauseKind.STATISTICS),
    convert=batch_norm_leaves,
)
def batch_norm_axis(faulty: bool) -> Pair:
    layers = OrderedDict(norm=nn.BatchNorm2d(6), act=nn.ELU())

    class Port(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            axis = -1 if faulty else 1
            x = linen.BatchNorm(use_running_average=True, axis=axis, name="norm")(x)  # FAULT: N17
            return linen.elu(x)

    vectors = ("scale", "bias"), ("mean", "var")
    params, stats = ({"norm": dict.fromkeys(names, (6,))} for names in vectors)
    return Pair(
        reference=randomise(nn.Sequential(layers)),
        candidate=Port(),
        template=shapes({"params": params, "batch_stats": stats}),
        inputs={"x": normal(2, 6, 6, 6)},
    )


@fault(
    "N19",
    "GroupNorm with groups of 8 channels for 8 groups",
    cause=CauseKind.GROUPS,
    module="norm",
    convert=by_table(
        {
            "norm/scale": "norm.weight",
            "norm/bias": "norm.bias",
            "out/kernel": ("out.weight", (2, 3, 1, 0)),
            "out/bias": "out.bias",
        }
    ),
)
def group_norm(faulty: bool) -> Pair:
    layers = OrderedDict(norm=nn.GroupNorm(8, 16), act=nn.SiLU(), out=nn.Conv2d(16, 4, 3, padding=1))

    class Port(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            groups: Any = {"num_groups": None, "group_size": 8} if faulty else {"num_groups": 8}
            self.norm = nnx.GroupNorm(16, epsilon=1e-5, rngs=rngs, **groups)
            self.out = nnx.Conv(16, 4, (3, 3), rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            h = self.norm(x)  # FAULT: N19
            return self.out(jax.nn.silu(h)).transpose(0, 3, 1, 2)

    return Pair(
        reference=randomise(nn.Sequential(layers)),
        candidate=Port(nnx.Rngs(0)),
        inputs={"x": normal(2, 16, 4, 4)},
        layout={"x": (0, 2, 3, 1)},
    )


@fault(
    "N20",
    "InstanceNorm with a trained scale and bias of its own, where PyTorch's default has none",
    cause=CauseKind.EXTRA_TERM,
    module="norm",
    also=(CauseKind.SCALE,),
    convert=by_table({"kernel": ("out.weight", (2, 1, 0)), "bias": "out.bias"}),
)
def instance_norm_affine(faulty: bool) -> Pair:
    scale, shift = 1 + 0.2 * normal(5, seed=3), 0.2 * normal(5, seed=4)
    layers = OrderedDict(norm=nn.InstanceNorm1d(5), act=nn.ReLU(), out=nn.Conv1d(5, 3, 1))

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = x.transpose(0, 2, 1)
        centred = h - h.mean(axis=1, keepdims=True)
        h = centred / jnp.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
        if faulty:
            h = h * scale + shift  # FAULT: N20
        h = jax.nn.relu(h) @ params["kernel"][0] + params["bias"]
        return h.transpose(0, 2, 1)

    return Pair(
        reference=randomise(nn.Sequential(layers)),
        candidate=apply,
        template=shapes({"kernel": (1, 5, 3), "bias": (3,)}),
        inputs={"x": normal(3, 5, 9)},
    )


@fault(
    "N25",
    "queries normalised over all heads at once, not per head",
    cause=CauseKind.AXIS,
    module="norm",
    also=(CauseKind.REDUCTION, CauseKind.ORDER),
    convert=by_table({"kernel": ("project.weight", (1, 0)), "scale": "norm.weight"}),
)
def query_norm(faulty: bool) -> Pair:
    class Queries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project, self.norm = nn.Linear(10, 16, bias=False), nn.RMSNorm(4, eps=1e-6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q = self.norm(self.project(x).unflatten(-1, (4, 4)))
            return F.softmax(q @ q.mT, dim=-1)

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        q = (x @ params["kernel"]).reshape(*x.shape[:2], 4, 4)
        axes = (-2, -1) if faulty else (-1,)
        q = q * jax.lax.rsqrt(jnp.mean(q**2, axis=axes, keepdims=True) + 1e-6)  # FAULT: N25
        q = q * params["scale"]
        return jax.nn.softmax(jnp.einsum("nthd,ntkd->nthk", q, q))

    return Pair(
        reference=randomise(Queries()),
        candidate=apply,
        template=shapes({"kernel": (10, 16), "scale": (4,)}),
        inputs={"x": normal(2, 3, 10)},
    )
