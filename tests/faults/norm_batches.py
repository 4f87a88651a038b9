"""Batch normalisation by the wrong numbers: unbiased, stale, padded, local, or the batch's own."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import nn

from parity.report.kinds import CauseKind
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes

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


@fault(
    "N11",
    "training normalises by the unbiased variance",
    cause=CauseKind.VARIANCE_CORRECTION,
    module="norm",
    convert=by_table({"norm/scale": "norm.weight", "norm/bias": "norm.bias", "w": ("fc.weight", (1, 0))}),
)
def batch_variance(faulty: bool) -> Pair:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, C, bias=False)
            self.norm = nn.BatchNorm1d(C, track_running_stats=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(self.norm(self.fc(x)))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = x @ params["w"]
        mean = jnp.mean(h, axis=0)
        if faulty:
            var = jnp.var(h, axis=0, ddof=1)  # FAULT: N11
        else:
            var = jnp.var(h, axis=0)
        h = (h - mean) / jnp.sqrt(var + 1e-5)
        return jax.nn.relu(h * params["norm"]["scale"] + params["norm"]["bias"])

    return Pair(
        reference=randomise(Network()),
        candidate=apply,
        template=shapes({"norm": {"scale": (C,), "bias": (C,)}, "w": (5, C)}),
        inputs={"x": normal(8, 5)},
    )


@fault(
    "N13",
    "evaluation uses the initial statistics, held in a closure",
    cause=CauseKind.STALE_WEIGHTS,
    module="norm",
    also=(CauseKind.STATISTICS,),
    convert=LEAVES,
)
def initial_statistics(faulty: bool) -> Pair:
    class Network(Norm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.norm(x))

    initial = {"mean": np.zeros(C, np.float32), "var": np.ones(C, np.float32)}

    def apply(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        stats: Any = initial if faulty else p
        h = (x - stats["mean"]) / jnp.sqrt(stats["var"] + 1e-5)  # FAULT: N13
        h = h * p["scale"] + p["bias"]  # FAULT: N13
        return jax.nn.sigmoid(h)

    return Pair(
        reference=randomise(Network()),
        candidate=apply,
        template=shapes(NORM),
        inputs={"x": normal(4, C)},
    )


@fault(
    "N22",
    "padded rows enter the batch statistics",
    cause=CauseKind.MASK,
    also=(CauseKind.STATISTICS, CauseKind.REDUCTION, CauseKind.MISSING_TERM),
    convert=by_table({"scale": "scale", "bias": "bias", "w": ("mix.weight", (1, 0))}),
)
def padded_rows(faulty: bool) -> Pair:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(4, C, bias=False)
            self.scale, self.bias = nn.Parameter(torch.ones(C)), nn.Parameter(torch.zeros(C))

        def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
            h, mask = torch.tanh(self.mix(x)), valid[:, None]
            count = valid.sum()
            mean = (h * mask).sum(dim=0) / count
            var = ((h - mean) ** 2 * mask).sum(dim=0) / count
            return self.scale * (h - mean) / torch.sqrt(var + 1e-5) + self.bias

    def apply(p: dict[str, jax.Array], x: jax.Array, valid: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ p["w"])
        if faulty:
            mean, var = h.mean(axis=0), h.var(axis=0)  # FAULT: N22
        else:
            mean, var = h.mean(axis=0, where=valid[:, None]), h.var(axis=0, where=valid[:, None])
        return p["scale"] * (h - mean) / jnp.sqrt(var + 1e-5) + p["bias"]

    valid = np.arange(8) < 5
    return Pair(
        reference=randomise(Network()),
        candidate=apply,
        template=shapes({"scale": (C,), "bias": (C,), "w": (4, C)}),
        inputs={"x": normal(8, 4) * valid[:, None].astype(np.float32), "valid": valid},
    )


@fault(
    "N23",
    "every device normalises by the statistics of its own share of the batch",
    cause=CauseKind.STATISTICS,
    module="norm",
    also=(CauseKind.AXIS, CauseKind.REDUCTION, CauseKind.MISSING_TERM),
    convert=by_table({"scale": "norm.weight", "bias": "norm.bias"}),
)
def local_statistics(faulty: bool) -> Pair:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(C, track_running_stats=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(x.flatten(0, 1)).reshape(x.shape)

    def apply(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        def per_device(share: jax.Array) -> jax.Array:
            if faulty:
                mean = share.mean(axis=0)  # FAULT: N23
                var = jnp.mean((share - mean) ** 2, axis=0)  # FAULT: N23
            else:
                mean = jax.lax.pmean(share.mean(axis=0), "device")
                var = jax.lax.pmean(jnp.mean((share - mean) ** 2, axis=0), "device")
            return (share - mean) / jnp.sqrt(var + 1e-5) * p["scale"] + p["bias"]

        return jax.vmap(per_device, axis_name="device")(x)

    return Pair(
        reference=randomise(Network()),
        candidate=apply,
        template=shapes({"scale": (C,), "bias": (C,)}),
        inputs={"x": normal(4, 5, C)},
    )


@fault(
    "N28",
    "a frozen BatchNorm is normalised by the batch while the rest is tuned",
    cause=CauseKind.STATISTICS,
    module="norm",
    convert=lambda own: {
        "fc/kernel": own["fc.weight"].T,
        "fc/bias": own["fc.bias"],
        **{f"norm/{name}": leaf for name, leaf in LEAVES(own).items()},
    },
)
def frozen(faulty: bool) -> Pair:
    class Network(Norm):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(C, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(F.relu(self.norm(x)))

    class Port(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.norm = nnx.BatchNorm(C, use_running_average=not faulty, rngs=rngs)
            self.fc = nnx.Linear(C, 3, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            h = self.norm(x)  # FAULT: N28
            return self.fc(jax.nn.relu(h))

    model = randomise(Network()).train()
    model.norm.eval()
    return Pair(reference=model, candidate=Port(nnx.Rngs(0)), inputs={"x": normal(7, C)})
