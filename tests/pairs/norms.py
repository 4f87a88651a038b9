"""Right ports of layer, group, batch, RMS and instance norms, statistics included."""

from typing import Any

import equinox as eqx
import flax.linen as linen
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import nn

from tests.kit.conversion import dense, equinox, norm, stats
from tests.kit.inputs import NHWC, normal
from tests.kit.pairs import Pair, built, to_function
from tests.kit.weights import randomise, weights
from tests.pairs.ports import port

KEY = jax.random.key(0)


class Norms(nn.Module):
    """Layer and RMS norm in a residual stream, none at its default epsilon."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LayerNorm(6, eps=1e-3)
        self.up = nn.Linear(6, 6)
        self.second = nn.RMSNorm(6, eps=1e-2)
        self.down = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + torch.tanh(self.up(self.first(x)))
        return self.down(self.second(x))


def layer_norm(p: Any, x: jax.Array, epsilon: float) -> jax.Array:
    mean = x.mean(-1, keepdims=True)
    var = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + epsilon) * p["scale"] + p["bias"]


def rms_norm(p: Any, x: jax.Array, epsilon: float) -> jax.Array:
    return x / jnp.sqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon) * p["scale"]


def norms_params(t: Any) -> Any:
    return {n: norm(t, n) for n in ("first", "second")} | {n: dense(t, n) for n in ("up", "down")}


@port("layer-norm/plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        h = layer_norm(p["first"], x, 1e-3) @ p["up"]["kernel"] + p["up"]["bias"]
        return rms_norm(p["second"], x + jnp.tanh(h), 1e-2) @ p["down"]["kernel"] + p["down"]["bias"]

    reference = randomise(Norms())
    return to_function(reference, apply, {"x": normal(3, 4, 6)}, norms_params(weights(reference)))


@port("layer-norm/nnx")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first = nnx.LayerNorm(6, epsilon=1e-3, rngs=rngs)
            self.up = nnx.Linear(6, 6, rngs=rngs)
            self.second = nnx.RMSNorm(6, epsilon=1e-2, rngs=rngs)
            self.down = nnx.Linear(6, 4, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            x = x + jnp.tanh(self.up(self.first(x)))
            return self.down(self.second(x))

    reference = randomise(Norms())
    return Pair(reference, built(Net), {"x": normal(3, 4, 6)}, norms_params(weights(reference)))


@port("layer-norm/linen")
def _() -> Pair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            h = linen.LayerNorm(epsilon=1e-3, use_fast_variance=False)(x)
            x = x + jnp.tanh(linen.Dense(6)(h))
            x = linen.RMSNorm(epsilon=1e-2)(x)
            return linen.Dense(4)(x)

    reference = randomise(Norms())
    p = norms_params(weights(reference))
    params = {"LayerNorm_0": p["first"], "Dense_0": p["up"], "RMSNorm_0": p["second"], "Dense_1": p["down"]}
    return Pair(reference, Net(), {"x": normal(3, 4, 6)}, {"params": params})


@port("layer-norm/equinox")
def _() -> Pair:
    class Net(eqx.Module):
        first: eqx.nn.LayerNorm
        up: eqx.nn.Linear
        second: eqx.nn.RMSNorm
        down: eqx.nn.Linear

        def __init__(self) -> None:
            self.first = eqx.nn.LayerNorm(6, eps=1e-3)
            self.up = eqx.nn.Linear(6, 6, key=KEY)
            self.second = eqx.nn.RMSNorm(6, eps=1e-2, use_bias=False)
            self.down = eqx.nn.Linear(6, 4, key=KEY)

        def __call__(self, x: jax.Array) -> jax.Array:
            def one(x: jax.Array) -> jax.Array:
                return self.down(self.second(x + jnp.tanh(self.up(self.first(x)))))

            return jax.vmap(jax.vmap(one))(x)

    reference = randomise(Norms())
    t = weights(reference)
    params = {}
    for name in ("first", "up", "second", "down"):
        params |= equinox(t, name, name)
    return Pair(reference, Net(), {"x": normal(3, 4, 6)}, params)


class Images(nn.Module):
    """Batch, group and instance norm of images, between convolutions of one pixel."""

    def __init__(self, tracked: bool = False) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 6, 1)
        self.batch = nn.BatchNorm2d(6, eps=1e-3)
        self.group = nn.GroupNorm(2, 6)
        self.instance = nn.InstanceNorm2d(6, affine=True, track_running_stats=tracked)
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.batch(self.mix(x)))
        x = torch.tanh(self.group(x))
        return self.head(torch.relu(self.instance(x)).mean(dim=(2, 3)))


IMAGES = {"x": normal(2, 3, 5, 4)}


def images_params(t: Any) -> Any:
    return {
        "mix": {"kernel": t["mix.weight"].transpose(2, 3, 1, 0), "bias": t["mix.bias"]},
        "batch": norm(t, "batch") | stats(t, "batch"),
        "group": norm(t, "group"),
        "instance": norm(t, "instance"),
        "head": dense(t, "head"),
    }


def group_norm(p: Any, x: jax.Array, groups: int) -> jax.Array:
    n, h, w, c = x.shape
    x = x.reshape(n, h * w, groups, c // groups)
    x = (x - x.mean((1, 3), keepdims=True)) / jnp.sqrt(x.var((1, 3), keepdims=True) + 1e-5)
    return x.reshape(n, h, w, c) * p["scale"] + p["bias"]


def batch_norm(p: Any, x: jax.Array, epsilon: float) -> jax.Array:
    return (x - p["mean"]) / jnp.sqrt(p["var"] + epsilon) * p["scale"] + p["bias"]


@port("image-norms/plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(batch_norm(p["batch"], x @ p["mix"]["kernel"][0, 0] + p["mix"]["bias"], 1e-3))
        x = group_norm(p["instance"], jnp.tanh(group_norm(p["group"], x, 2)), 6)
        return jax.nn.relu(x).mean((1, 2)) @ p["head"]["kernel"] + p["head"]["bias"]

    reference = randomise(Images())
    return to_function(reference, apply, IMAGES, images_params(weights(reference)), layout={"x": NHWC})


@port("image-norms/tracked-instances")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(batch_norm(p["batch"], x @ p["mix"]["kernel"] + p["mix"]["bias"], 1e-3))
        x = batch_norm(p["instance"], jnp.tanh(group_norm(p["group"], x, 2)), 1e-5)
        return jax.nn.relu(x).mean((1, 2)) @ p["head"]["kernel"] + p["head"]["bias"]

    reference = randomise(Images(tracked=True))
    t = weights(reference)
    params = images_params(t)
    params["instance"] |= stats(t, "instance")
    params["mix"]["kernel"] = params["mix"]["kernel"][0, 0]  # a convolution of one pixel as a matrix
    return to_function(reference, apply, IMAGES, params, layout={"x": NHWC})


@port("image-norms/nnx")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.mix = nnx.Conv(3, 6, (1, 1), rngs=rngs)
            self.batch = nnx.BatchNorm(6, use_running_average=True, epsilon=1e-3, rngs=rngs)
            self.group = nnx.GroupNorm(6, num_groups=2, epsilon=1e-5, rngs=rngs)
            self.instance = nnx.InstanceNorm(6, epsilon=1e-5, rngs=rngs)
            self.head = nnx.Linear(6, 4, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            x = jnp.tanh(self.group(nnx.relu(self.batch(self.mix(x)))))
            return self.head(nnx.relu(self.instance(x)).mean((1, 2)))

    reference = randomise(Images())
    return Pair(reference, built(Net), IMAGES, images_params(weights(reference)), layout={"x": NHWC})


@port("image-norms/linen")
def _() -> Pair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array, train: bool) -> jax.Array:
            x = linen.BatchNorm(use_running_average=not train, epsilon=1e-3)(linen.Conv(6, (1, 1))(x))
            x = jnp.tanh(linen.GroupNorm(num_groups=2, epsilon=1e-5)(linen.relu(x)))
            x = linen.relu(linen.InstanceNorm(epsilon=1e-5)(x)).mean((1, 2))
            return linen.Dense(4)(linen.Dropout(0.3, deterministic=not train)(x))

    reference = randomise(Images())
    t = weights(reference)
    p = images_params(t)
    params = {
        "Conv_0": p["mix"],
        "BatchNorm_0": norm(t, "batch"),
        "GroupNorm_0": p["group"],
        "InstanceNorm_0": p["instance"],
        "Dense_0": p["head"],
    }
    variables = {"params": params, "batch_stats": {"BatchNorm_0": stats(t, "batch")}}
    return Pair(reference, Net(), IMAGES, variables, layout={"x": NHWC})


@port("image-norms/equinox")
def _() -> Pair:
    class Net(eqx.Module):
        mix: eqx.nn.Conv2d
        batch: eqx.nn.BatchNorm
        group: eqx.nn.GroupNorm
        instance: eqx.nn.GroupNorm
        head: eqx.nn.Linear

        def __init__(self) -> None:
            self.mix = eqx.nn.Conv2d(3, 6, 1, key=KEY)
            self.batch = eqx.nn.BatchNorm(6, axis_name="batch", eps=1e-3, mode="ema")
            self.group = eqx.nn.GroupNorm(2, 6)
            self.instance = eqx.nn.GroupNorm(6, 6)
            self.head = eqx.nn.Linear(6, 4, key=KEY)

        def __call__(self, x: jax.Array, state: eqx.nn.State) -> tuple[jax.Array, eqx.nn.State]:
            x, state = self.batch(self.mix(x), state)
            x = self.instance(jnp.tanh(self.group(jax.nn.relu(x))))
            return self.head(jax.nn.relu(x).mean((1, 2))), state

    model, state = eqx.nn.make_with_state(Net)()
    reference = randomise(Images())
    t = weights(reference)
    params = equinox(t, "mix", "model/mix", 2)
    for name in ("batch", "group", "instance", "head"):
        params |= equinox(t, name, f"model/{name}")
    floating = [path for path, leaf in _leaves(state).items() if leaf.dtype == np.float32]
    statistics = (t["batch.running_mean"], t["batch.running_var"])
    params |= dict(zip([f"state/{path}" for path in floating], statistics, strict=True))
    return Pair(reference, (model, state), IMAGES, params)


def _leaves(tree: Any) -> dict[str, Any]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}


@port("layer-norm/haiku")
def _() -> Pair:
    def net(x: jax.Array, is_training: bool) -> jax.Array:
        x = hk.Linear(5)(x)
        x = hk.LayerNorm(-1, create_scale=True, create_offset=True)(jnp.tanh(x))
        return hk.Linear(2)(jax.nn.relu(x)) * (2.0 if is_training else 1.0)

    reference = randomise(
        nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 2))
    )
    t = weights(reference)
    params = {
        "linear": {"w": t["0.weight"].T, "b": t["0.bias"]},
        "layer_norm": {"scale": t["2.weight"], "offset": t["2.bias"]},
        "linear_1": {"w": t["4.weight"].T, "b": t["4.bias"]},
    }
    return Pair(reference, hk.without_apply_rng(hk.transform(net)), {"x": normal(3, 4)}, params)


@port("batch-norm/only-statistics")
def _() -> Pair:
    """Norms without trained parameters."""

    def apply(p: Any, x: jax.Array) -> jax.Array:
        x = x @ p["kernel"]
        x = (x - p["mean"]) / jnp.sqrt(p["var"] + 1e-5)
        return jnp.tanh((x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5))

    layers = (
        nn.Linear(4, 5, bias=False),
        nn.BatchNorm1d(5, affine=False),
        nn.LayerNorm(5, elementwise_affine=False),
        nn.Tanh(),
    )
    reference = randomise(nn.Sequential(*layers))
    t = weights(reference)
    return to_function(reference, apply, {"x": normal(3, 4)}, {"kernel": t["0.weight"].T, **stats(t, "1")})
