"""Which weight is which: layers named like statistics, and weights that may stay unused."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import pytest
import torch
from flax import nnx
from torch import nn

import parity
from tests.cases.declare import first, lines, require_pass, right_only, twins
from tests.kit.checking import check
from tests.kit.conversion import dense, norm
from tests.kit.inputs import normal
from tests.kit.pairs import Pair, built
from tests.kit.weights import Arrays, randomise, shapes

pytestmark = pytest.mark.filterwarnings("ignore")


@twins(
    lambda t: {
        name: {"w": t[f"{name}.weight"].T, "b": t[f"{name}.bias"]}
        for name in ("encode", "fc_mean", "fc_var", "decode")
    }
)
def autoencoder(faulty: bool) -> Pair:
    """A variational autoencoder of Haiku, whose layers are called mean and var."""

    class Autoencoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(7, 9), nn.Linear(2, 7)
            self.fc_mean, self.fc_var = nn.Linear(9, 2), nn.Linear(9, 2)

        def forward(self, x: torch.Tensor, noise: torch.Tensor) -> dict[str, torch.Tensor]:
            h = self.encode(x).tanh()
            mean, log_variance = self.fc_mean(h), self.fc_var(h)
            divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)
            return {"again": self.decode(mean + noise * (log_variance / 2).exp()), "divergence": divergence}

    def forward(x: jax.Array, noise: jax.Array) -> dict[str, jax.Array]:
        h = jnp.tanh(hk.Linear(9, name="encode")(x))
        mean = hk.Linear(2, name="fc_mean")(h)
        log_variance = hk.Linear(2, name="fc_var")(h)
        divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance).sum(-1)
        if faulty:
            deviation = jnp.exp(log_variance)  # FAULT: autoencoder
        else:
            deviation = jnp.exp(log_variance / 2)
        sample = mean + noise * deviation  # USE: autoencoder
        return {"again": hk.Linear(7, name="decode")(sample), "divergence": divergence}

    model = hk.without_apply_rng(hk.transform(forward))
    x, noise = normal(5, 7), normal(5, 2, seed=3)
    return Pair(
        reference=randomise(Autoencoder()),
        candidate=model,
        template=jax.eval_shape(model.init, jax.random.key(0), x, noise),
        inputs={"x": x, "noise": noise},
    )


def test_an_autoencoder_is_planned_without_pins() -> None:
    require_pass(check(autoencoder.right))


def test_the_deviation_of_an_autoencoder_is_placed() -> None:
    fault = first(check(autoencoder.faulty))
    assert lines(fault)[0] in autoencoder.use
    assert autoencoder.fault & set(lines(fault))


LIKE_STATISTICS = [
    ("mean", "logvar"),
    ("mean", "var"),
    ("fc_mean", "fc_var"),
    ("mean_head", "var_head"),
    ("running_mean", "running_var"),
]
OTHERS = [("mu", "logvar"), ("loc", "scale"), ("scale", "bias"), ("u", "v")]


def named(names: tuple[str, str], leaves: str) -> Any:
    """Names of two layers and of their leaves, marked where they are not planned today."""
    return pytest.param(names, tuple(leaves.split()), id="-".join((*names, *leaves.split())))


@pytest.mark.parametrize(
    ("names", "leaves"),
    [named(names, leaves) for names in LIKE_STATISTICS + OTHERS for leaves in ("w b", "kernel bias")],
)
def test_layers_are_planned_whatever_their_names(names: tuple[str, str], leaves: tuple[str, str]) -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleDict({name: nn.Linear(4, 3) for name in names})

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            one, other = self.layers.values()
            return one(x) * other(x).exp()

    def port(params: Any, x: jax.Array) -> jax.Array:
        one, other = (x @ params[name][leaves[0]] + params[name][leaves[1]] for name in names)
        return one * jnp.exp(other)

    template = shapes({name: {leaves[0]: (4, 3), leaves[1]: (3,)} for name in names})
    how = {"dtypes": ["float64"], "finite_differences": False}
    require_pass(check(Pair(randomise(Heads()), port, {"x": normal(5, 4)}, template=template), **how))


POOLED = (
    "head.probe",
    "head.attention.in_proj_weight",
    "head.attention.in_proj_bias",
    "head.attention.out_proj.weight",
    "head.attention.out_proj.bias",
)
"""What the faulty port of the tower leaves out."""


def tower_params(t: Arrays) -> Any:
    flat = {
        "patches": dense(t, "patches"),
        "norm": norm(t, "norm"),
        "layernorm": norm(t, "head.layernorm"),
        "up": dense(t, "head.up"),
        "down": dense(t, "head.down"),
    }
    kernel = t["head.attention.in_proj_weight"].reshape(3, 6, 6)
    bias = t["head.attention.in_proj_bias"].reshape(3, 2, 3)
    attention = {
        name: {"kernel": kernel[i].T.reshape(6, 2, 3), "bias": bias[i]}
        for i, name in enumerate(("query", "key", "value"))
    }
    attention["out"] = {
        "kernel": t["head.attention.out_proj.weight"].T.reshape(2, 3, 6),
        "bias": t["head.attention.out_proj.bias"],
    }
    return flat | {"probe": t["head.probe"], "attention": attention}


@twins(tower_params, twins=False, within=1e-6)  # Flax computes the softmax in float32
def tower(faulty: bool) -> Pair:
    """A tower whose head attends with a learned probe; the faulty port averages the tokens."""

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.probe = nn.Parameter(torch.zeros(1, 1, 6))
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
            self.layernorm, self.up = nn.LayerNorm(6, eps=1e-6), nn.Linear(6, 10)
            self.down = nn.Linear(10, 6)

        def forward(self, h: torch.Tensor) -> torch.Tensor:
            h = self.attention(self.probe.expand(len(h), 1, 6), h, h, need_weights=False)[0]
            return (h + self.down(self.up(self.layernorm(h)).tanh())).squeeze(1)

    class Tower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.norm, self.head = nn.Linear(8, 6), nn.LayerNorm(6, eps=1e-6), Head()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.patches(x).sin()))

    class Port(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.patches, self.norm = nnx.Linear(8, 6, rngs=rngs), nnx.LayerNorm(6, rngs=rngs)
            self.layernorm = nnx.LayerNorm(6, rngs=rngs)
            self.up, self.down = nnx.Linear(6, 10, rngs=rngs), nnx.Linear(10, 6, rngs=rngs)
            if not faulty:
                self.probe = nnx.Param(jnp.zeros((1, 1, 6)))
                self.attention = nnx.MultiHeadAttention(2, 6, decode=False, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            h = self.norm(jnp.sin(self.patches(x)))
            if faulty:
                h = h.mean(1)  # FAULT: tower
            else:
                h = self.attention(jnp.repeat(self.probe[...], len(h), 0), h, h)[:, 0]
            return h + self.down(jnp.tanh(self.up(self.layernorm(h))))  # USE: tower

    return Pair(randomise(Tower()), built(Port), {"x": normal(2, 5, 8)})


def test_a_tower_with_its_pooling_passes() -> None:
    require_pass(check(tower.right))


def test_weights_that_are_allowed_unused_do_not_hide_what_should_use_them() -> None:
    fault = first(check(tower.faulty, unused=POOLED))
    assert fault.reference[0].module.startswith("head")
    assert lines(fault)[0] in tower.use


def test_a_forgotten_head_is_an_error_that_lists_its_weights() -> None:
    with pytest.raises(parity.WeightError) as caught:
        check(tower.faulty)
    message = str(caught.value)
    assert all(f"'{name}'" in message for name in POOLED)
    assert message.count("unused PyTorch tensor") == len(POOLED)
    assert "missing" not in message.partition("\nPin")[0]


@right_only(
    lambda t: {name: {"w": t[f"{name}.weight"].T, "b": t[f"{name}.bias"]} for name in ("one", "two")},
    within=1e-6,
)
def table_beside_two_squares() -> Pair:
    """A frozen table that the port computes, beside two layers that only running tells apart."""

    class Squares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
            self.scales = nn.Parameter(torch.linspace(0.5, 2.0, 3), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.one(x).sin()) * self.scales.repeat(2)

    def port(params: Any, x: jax.Array) -> jax.Array:
        one, two = params["one"], params["two"]
        h = jnp.sin(x @ one["w"] + one["b"]) @ two["w"] + two["b"]
        return h * jnp.tile(jnp.linspace(0.5, 2.0, 3), 2)

    reference = Squares()
    table = reference.scales.detach().clone()
    randomise(reference)
    with torch.no_grad():
        reference.scales.copy_(table)
    layer = {"w": (6, 6), "b": (6,)}
    return Pair(reference, port, {"x": normal(4, 6)}, template=shapes({"one": layer, "two": layer}))


def renamed(pair: Pair) -> Pair:
    """The same with names that say nothing, so that the two squares must be run."""

    def port(params: Any, x: jax.Array) -> jax.Array:
        return pair.candidate({"one": params["p"], "two": params["q"]}, x)

    return pair._replace(candidate=port, template={"p": pair.template["one"], "q": pair.template["two"]})


def test_a_table_beside_tied_layers_stays_unused() -> None:
    require_pass(check(renamed(table_beside_two_squares.right)))


def test_a_table_beside_tied_layers_stays_unused_where_that_is_allowed() -> None:
    require_pass(check(renamed(table_beside_two_squares.right), unused=["scales"]))


@right_only(lambda t: dense(t, "used"))
def spare_layer() -> Pair:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.pooler = nn.Linear(5, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    def port(params: Any, x: jax.Array) -> jax.Array:
        return x @ params["kernel"] + params["bias"]

    return Pair(
        randomise(Spare()), port, {"x": normal(3, 5)}, template=shapes({"kernel": (5, 4), "bias": (4,)})
    )


def test_a_trainable_layer_may_stay_unused() -> None:
    require_pass(check(spare_layer.right, unused=["pooler.weight", "pooler.bias"]))
