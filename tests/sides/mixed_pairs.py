"""A JAX reference with a PyTorch candidate, channels last against channels first too."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import Tensor, nn

from parity.report.kinds import CauseKind, Stage
from tests.kit.inputs import normal
from tests.sides.declare import Arguments, pair
from tests.sides.jax_pairs import GRU, drawn, moved, scanned

F = nn.functional

NCHW = (0, 3, 1, 2)


class LastChannels(linen.Module):
    """Convolution, statistics, pooling and a head; images lie channels last."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.BatchNorm(use_running_average=True, name="norm")(linen.Conv(4, (3, 3), name="conv")(x))
        x = linen.max_pool(linen.relu(x), (2, 2), (2, 2))
        return linen.Dense(3, name="head")(x.mean((1, 2)))


class FirstChannels(nn.Module):
    """The same in PyTorch, channels first."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4, 3)
        self.norm = nn.BatchNorm2d(4, eps=1e-3 if wrong == "eps" else 1e-5)
        self.wrong = wrong

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))  # FAULT: linen-torch/eps
        if self.wrong == "pool":
            x = F.avg_pool2d(x, 2)  # FAULT: linen-torch/pool
        else:
            x = F.max_pool2d(x, 2)
        return self.head(x.mean((2, 3)))


def linen_torch(wrong: str) -> Arguments:
    x = normal(2, 6, 8, 2)
    params = LastChannels().init(jax.random.key(0), jnp.asarray(x))
    params = jax.tree.map(abs, moved(params))
    return {
        "reference": LastChannels(),
        "reference_params": params,
        "candidate": FirstChannels(wrong).eval(),
        "inputs": {"x": x},
    }


@pair("linen-torch/eps", CauseKind.EPSILON, quick=True)
def linen_torch_eps(faulty: bool) -> Arguments:
    return linen_torch("eps" if faulty else "")


@pair("linen-torch/pool", CauseKind.POOL_MODE, CauseKind.REDUCTION)
def linen_torch_pool(faulty: bool) -> Arguments:
    return linen_torch("pool" if faulty else "") | {"layout": {"x": NCHW}}


class NnxMlp(nnx.Module):
    """A perceptron with a residual."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(3)
        self.up, self.down = nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)
        self.norm = nnx.LayerNorm(4, epsilon=1e-5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.down(jax.nn.gelu(self.up(self.norm(x))))


class TorchMlp(nn.Module):
    """The same in PyTorch."""

    def __init__(self, wrong: str) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.LayerNorm(4)
        self.wrong = wrong

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(self.norm(x))
        if self.wrong == "gelu":
            h = F.gelu(h)  # FAULT: nnx-torch/gelu
        else:
            h = F.gelu(h, approximate="tanh")
        if self.wrong == "transposed":
            return x + F.linear(h, self.down.weight.T, self.down.bias)  # FAULT: nnx-torch/transposed
        if self.wrong == "detach":
            return x + self.down(h.detach())  # a gradient of zeros has no line
        return x + self.down(h)


def nnx_torch(wrong: str) -> Arguments:
    return {"reference": NnxMlp(), "candidate": TorchMlp(wrong), "inputs": {"x": normal(5, 4)}}


@pair("nnx-torch/gelu", CauseKind.ACTIVATION)
def nnx_torch_gelu(faulty: bool) -> Arguments:
    return nnx_torch("gelu" if faulty else "")


@pair("nnx-torch/transposed", CauseKind.TRANSPOSED_KERNEL, quick=True)
def nnx_torch_transposed(faulty: bool) -> Arguments:
    return nnx_torch("transposed" if faulty else "")


@pair("nnx-torch/detach", CauseKind.GRADIENT_RULE, stage=Stage.GRADIENTS, quick=True)
def nnx_torch_detach(faulty: bool) -> Arguments:
    return nnx_torch("detach" if faulty else "")


def looped(faulty: bool) -> Any:
    """A recurrent network as a function of tensors by name."""

    def apply(params: dict[str, Tensor], x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 5)
        outputs = []
        for t in range(x.shape[1]):
            i_r, i_z, i_n = (x[:, t] @ params["w"] + params["b"]).chunk(3, -1)
            h_r, h_z, h_n = (h @ params["u"] + params["c"]).chunk(3, -1)
            r, z = torch.sigmoid(i_r + h_r), torch.sigmoid(i_z + h_z)
            if faulty:
                n = torch.tanh(i_n + h_n)  # FAULT: jax-torch/gru
            else:
                n = torch.tanh(i_n + r * h_n)
            h = (1 - z) * n + z * h
            outputs.append(h)
        return torch.stack(outputs, 1)

    return apply


@pair("jax-torch/gru", CauseKind.SCALE, CauseKind.OPERANDS, CauseKind.MISSING_TERM)
def jax_torch_gru(faulty: bool) -> Arguments:
    return {
        "reference": scanned,
        "reference_params": jax.tree.map(jnp.asarray, drawn(GRU)),
        "candidate": looped(faulty),
        "template": {name: torch.zeros(size) for name, size in GRU.items()},
        "inputs": {"x": normal(2, 4, 4, seed=7)},
    }
