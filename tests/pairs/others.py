"""Right ports of small networks for other things than images and text."""

from typing import Any, NamedTuple

import flax.linen as linen
import jax
import jax.numpy as jnp
import torch
from torch import nn
from torch.nn import functional as F

from tests.kit.conversion import conv, dense, norm
from tests.kit.inputs import NWC, integers, normal
from tests.kit.pairs import Pair, to_function
from tests.kit.weights import randomise, weights
from tests.pairs.ports import port
from tests.pairs.recurrent import gru

Array = jax.Array


def linear(p: Any, x: Array) -> Array:
    return x @ p["kernel"] + p["bias"]


class Parts(NamedTuple):
    """What the autoencoder returns in PyTorch."""

    reconstruction: torch.Tensor
    mean: torch.Tensor
    log_variance: torch.Tensor


class VAE(nn.Module):
    """A variational autoencoder whose noise is an input."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(9, 7), nn.ELU(), nn.Linear(7, 7), nn.Softplus())
        self.to_mean = nn.Linear(7, 3)
        self.to_log_variance = nn.Linear(7, 3)
        self.decoder = nn.Sequential(nn.Linear(3, 7), nn.SELU(), nn.Linear(7, 9))

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> Parts:
        h = self.encoder(x)
        mean, log_variance = self.to_mean(h), self.to_log_variance(h)
        z = mean + noise * torch.exp(0.5 * log_variance)
        return Parts(torch.sigmoid(self.decoder(z)), mean, log_variance)


VAE_INPUTS = {"x": normal(4, 9), "noise": normal(4, 3, seed=5)}


@port("vae/plain")
def _() -> Pair:
    def apply(p: Any, x: Array, noise: Array) -> dict[str, Array]:
        h = jax.nn.softplus(linear(p["enc"]["1"], jax.nn.elu(linear(p["enc"]["0"], x))))
        mean, log_variance = linear(p["mean"], h), linear(p["log_variance"], h)
        z = mean + jnp.exp(log_variance / 2) * noise
        reconstruction = jax.nn.sigmoid(linear(p["dec"]["1"], jax.nn.selu(linear(p["dec"]["0"], z))))
        return {"log_variance": log_variance, "mean": mean, "reconstruction": reconstruction}

    reference = randomise(VAE())
    t = weights(reference)
    params = {
        "enc": {"0": dense(t, "encoder.0"), "1": dense(t, "encoder.2")},
        "dec": {"0": dense(t, "decoder.0"), "1": dense(t, "decoder.2")},
        "mean": dense(t, "to_mean"),
        "log_variance": dense(t, "to_log_variance"),
    }
    return to_function(reference, apply, VAE_INPUTS, params)


@port("vae/linen")
def _() -> Pair:
    class Net(linen.Module):
        def setup(self) -> None:
            self.encoder = linen.Sequential([linen.Dense(7), linen.elu, linen.Dense(7), linen.softplus])
            self.to_mean = linen.Dense(3)
            self.to_log_variance = linen.Dense(3)
            self.decoder = linen.Sequential([linen.Dense(7), linen.selu, linen.Dense(9)])

        def __call__(self, x: Array, noise: Array) -> tuple[Array, Array, Array]:
            h = self.encoder(x)
            mean, log_variance = self.to_mean(h), self.to_log_variance(h)
            z = mean + noise * jnp.exp(0.5 * log_variance)
            return linen.sigmoid(self.decoder(z)), mean, log_variance

    reference = randomise(VAE())
    t = weights(reference)
    params = {
        "encoder": {"layers_0": dense(t, "encoder.0"), "layers_2": dense(t, "encoder.2")},
        "to_mean": dense(t, "to_mean"),
        "to_log_variance": dense(t, "to_log_variance"),
        "decoder": {"layers_0": dense(t, "decoder.0"), "layers_2": dense(t, "decoder.2")},
    }
    return Pair(reference, Net(), VAE_INPUTS, {"params": params})


class DLRM(nn.Module):
    """Embeddings of categories and a network of numbers, their products, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.EmbeddingBag(n, 4, mode="sum") for n in (7, 5, 7)])
        self.bottom = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 1))

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        x = self.bottom(numbers)
        rows = [x, *(table(categories[:, i]) for i, table in enumerate(self.tables))]
        stack = torch.stack(rows, dim=1)
        products = stack @ stack.transpose(1, 2)
        i, j = torch.tril_indices(4, 4, offset=-1)
        return self.top(torch.cat([x, products[:, i, j]], dim=1)).squeeze(1)


@port("dlrm/plain")
def _() -> Pair:
    def apply(p: Any, numbers: Array, categories: Array) -> Array:
        x = jax.nn.relu(linear(p["bottom"][1], jax.nn.relu(linear(p["bottom"][0], numbers))))
        bags = [jnp.take(table, categories[:, i], axis=0).sum(1) for i, table in enumerate(p["tables"])]
        stack = jnp.stack([x, *bags], axis=1)
        i, j = jnp.tril_indices(4, -1)
        products = jnp.einsum("nid,njd->nij", stack, stack)[:, i, j]
        h = jax.nn.relu(linear(p["top"][0], jnp.concatenate([x, products], axis=1)))
        return linear(p["top"][1], h)[:, 0]

    reference = randomise(DLRM())
    t = weights(reference)
    params = {
        "tables": [t[f"tables.{i}.weight"] for i in range(3)],
        "bottom": [dense(t, "bottom.0"), dense(t, "bottom.2")],
        "top": [dense(t, "top.0"), dense(t, "top.2")],
    }
    return to_function(
        reference, apply, {"numbers": normal(5, 6), "categories": integers(5, 5, 3, 2)}, params
    )


class WaveNet(nn.Module):
    """Causal dilated convolutions with gates, residuals and skips."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Conv1d(2, 6, 1)
        self.filters = nn.ModuleList([nn.Conv1d(6, 6, 2, dilation=2**i) for i in range(3)])
        self.gates = nn.ModuleList([nn.Conv1d(6, 6, 2, dilation=2**i) for i in range(3)])
        self.residuals = nn.ModuleList([nn.Conv1d(6, 6, 1) for _ in range(3)])
        self.skips = nn.ModuleList([nn.Conv1d(6, 4, 1) for _ in range(3)])
        self.end = nn.Conv1d(4, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(x)
        total = 0
        for i in range(3):
            padded = F.pad(x, (2**i, 0))
            h = torch.tanh(self.filters[i](padded)) * torch.sigmoid(self.gates[i](padded))
            total = total + self.skips[i](h)
            x = x + self.residuals[i](h)
        return self.end(F.relu(total)).transpose(1, 2)


@port("wavenet/plain")
def _() -> Pair:
    def causal(p: Any, x: Array, dilation: int = 1) -> Array:
        reach = (p["kernel"].shape[0] - 1) * dilation
        numbers = ("NWC", "WIO", "NWC")
        y = jax.lax.conv_general_dilated(
            x, p["kernel"], (1,), [(reach, 0)], rhs_dilation=(dilation,), dimension_numbers=numbers
        )
        return y + p["bias"]

    def apply(p: Any, x: Array) -> Array:
        x = causal(p["start"], x)
        total = jnp.zeros(())
        for i, layer in enumerate(p["layers"]):
            h = jnp.tanh(causal(layer["filter"], x, 2**i)) * jax.nn.sigmoid(causal(layer["gate"], x, 2**i))
            total = total + causal(layer["skip"], h)
            x = x + causal(layer["residual"], h)
        return causal(p["end"], jax.nn.relu(total))

    reference = randomise(WaveNet())
    t = weights(reference)
    names = {"filter": "filters", "gate": "gates", "residual": "residuals", "skip": "skips"}
    layers = [{a: conv(t, f"{b}.{i}") for a, b in names.items()} for i in range(3)]
    params = {"start": conv(t, "start"), "layers": layers, "end": conv(t, "end")}
    return to_function(reference, apply, {"x": normal(2, 2, 11)}, params, layout={"x": NWC})


class Forecaster(nn.Module):
    """A GRU encoder of two layers, its last state and a calendar feature through a head."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3)
        self.encoder = nn.GRU(3, 5, num_layers=2, batch_first=True)
        self.weekday = nn.Embedding(7, 2)
        self.head = nn.Linear(7, 4)

    def forward(self, series: torch.Tensor, weekday: torch.Tensor) -> torch.Tensor:
        _, h = self.encoder(self.norm(series))
        return self.head(torch.cat([h[-1], self.weekday(weekday)], dim=-1))


@port("gru-encoder/plain")
def _() -> Pair:
    def apply(p: Any, history: Array, day: Array) -> Array:
        x = history - history.mean(-1, keepdims=True)
        x = x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * p["norm"]["scale"] + p["norm"]["bias"]
        for layer in p["encoder"]:
            x = gru(layer, x)
        return linear(p["head"], jnp.concatenate([x[:, -1], p["weekday"][day]], axis=-1))

    reference = randomise(Forecaster())
    t = weights(reference)
    encoder = [
        {
            "wi": t[f"encoder.weight_ih_l{i}"].T,
            "wh": t[f"encoder.weight_hh_l{i}"].T,
            "bi": t[f"encoder.bias_ih_l{i}"],
            "bh": t[f"encoder.bias_hh_l{i}"],
        }
        for i in range(2)
    ]
    params = {
        "norm": norm(t, "norm"),
        "encoder": encoder,
        "weekday": t["weekday.weight"],
        "head": dense(t, "head"),
    }
    return to_function(reference, apply, {"series": normal(3, 6, 3), "weekday": integers(7, 3)}, params)
