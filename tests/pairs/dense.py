"""Right ports of linear and embedding layers, bare parameters, tied, scanned and oddly named weights."""

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
from torch.nn import functional as F

from tests.kit.conversion import dense, equinox, norm
from tests.kit.inputs import integers, normal
from tests.kit.pairs import Pair, built, to_function
from tests.kit.weights import randomise, weights
from tests.pairs.ports import port

KEY = jax.random.key(0)


def mlp() -> nn.Module:
    return randomise(nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3)))


def mlp_params(t: Any) -> Any:
    return {"first": dense(t, "0"), "second": dense(t, "2")}


def gelu(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)


@port("linear/plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        h = gelu(x @ p["first"]["kernel"] + p["first"]["bias"])
        return h @ p["second"]["kernel"] + p["second"]["bias"]

    reference = mlp()
    return to_function(reference, apply, {"x": normal(4, 5)}, mlp_params(weights(reference)))


@port("linear/nnx")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first = nnx.Linear(5, 7, rngs=rngs)
            self.second = nnx.Linear(7, 3, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.second(gelu(self.first(x)))

    reference = mlp()
    return Pair(reference, built(Net), {"x": normal(4, 5)}, mlp_params(weights(reference)))


@port("linear/linen")
def _() -> Pair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return linen.Dense(3)(gelu(linen.Dense(7)(x)))  # Flax numbers the outer one first

    reference = mlp()
    t = weights(reference)
    return Pair(
        reference,
        Net(),
        {"x": normal(4, 5)},
        {"params": {"Dense_1": dense(t, "0"), "Dense_0": dense(t, "2")}},
    )


@port("linear/equinox")
def _() -> Pair:
    reference = mlp()
    t = weights(reference)
    model = eqx.nn.MLP(5, 3, 7, 1, activation=gelu, key=KEY)
    params = equinox(t, "0", "layers/0") | equinox(t, "2", "layers/1")
    return Pair(reference, model, {"x": normal(4, 5)}, params)


@port("linear/haiku")
def _() -> Pair:
    def net(x: jax.Array) -> jax.Array:
        return hk.Linear(3)(gelu(hk.Linear(7)(x)))

    reference = mlp()
    t = weights(reference)
    params = {
        name: {"w": t[f"{i}.weight"].T, "b": t[f"{i}.bias"]} for name, i in (("linear", 2), ("linear_1", 0))
    }
    return Pair(reference, hk.transform(net), {"x": normal(4, 5)}, params)


class Square(nn.Module):
    """Square matrices everywhere: nothing but the computation says which is which and how it lies."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 6)
        self.gate = nn.Linear(6, 6, bias=False)
        self.down = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.tanh(self.up(x)) * torch.sigmoid(self.gate(x)))


@port("square/plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ p["a"]["kernel"] + p["a"]["bias"]) * jax.nn.sigmoid(x @ p["c"]["kernel"])
        return h @ p["b"]["kernel"] + p["b"]["bias"]

    reference = randomise(Square())
    t = weights(reference)
    params = {"a": dense(t, "up"), "b": dense(t, "down"), "c": dense(t, "gate")}
    return to_function(reference, apply, {"x": normal(4, 6)}, params)


@port("square/nnx")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.up = nnx.Linear(6, 6, rngs=rngs)
            self.gate = nnx.Linear(6, 6, use_bias=False, rngs=rngs)
            self.down = nnx.Linear(6, 6, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.down(jnp.tanh(self.up(x)) * jax.nn.sigmoid(self.gate(x)))

    reference = randomise(Square())
    t = weights(reference)
    return Pair(reference, built(Net), {"x": normal(4, 6)}, {n: dense(t, n) for n in ("up", "gate", "down")})


@port("square/linen")
def _() -> Pair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            gate = jax.nn.sigmoid(linen.Dense(6, use_bias=False)(x))  # in another order than PyTorch's
            return linen.Dense(6)(jnp.tanh(linen.Dense(6)(x)) * gate)

    reference = randomise(Square())
    t = weights(reference)
    params = {"Dense_0": dense(t, "gate"), "Dense_1": dense(t, "down"), "Dense_2": dense(t, "up")}
    return Pair(reference, Net(), {"x": normal(4, 6)}, {"params": params})


@port("square/equinox")
def _() -> Pair:
    class Net(eqx.Module):
        one: eqx.nn.Linear
        two: eqx.nn.Linear
        three: eqx.nn.Linear

        def __init__(self) -> None:
            self.one = eqx.nn.Linear(6, 6, key=KEY)
            self.two = eqx.nn.Linear(6, 6, use_bias=False, key=KEY)
            self.three = eqx.nn.Linear(6, 6, key=KEY)

        def __call__(self, x: jax.Array) -> jax.Array:
            inner = lambda x: self.three(jnp.tanh(self.one(x)) * jax.nn.sigmoid(self.two(x)))  # noqa: E731
            return jax.vmap(inner)(x)

    reference = randomise(Square())
    t = weights(reference)
    params = equinox(t, "up", "one") | equinox(t, "gate", "two") | equinox(t, "down", "three")
    return Pair(reference, Net(), {"x": normal(4, 6)}, params)


class Bag(nn.Module):
    """Token and position embeddings, the padding row among them, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 6, padding_idx=0)
        self.positions = nn.Embedding(9, 6)
        self.out = nn.Linear(6, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.tokens(ids) + self.positions(torch.arange(ids.shape[1])))


@port("embedding/plain")
def _() -> Pair:
    def apply(p: Any, ids: jax.Array) -> jax.Array:
        h = p["tokens"][ids] + p["positions"][: ids.shape[1]]
        return h @ p["out"]["kernel"] + p["out"]["bias"]

    reference = randomise(Bag())
    t = weights(reference)
    params = {"tokens": t["tokens.weight"], "positions": t["positions.weight"], "out": dense(t, "out")}
    return to_function(reference, apply, {"ids": integers(10, 3, 5) + 1}, params)


@port("embedding/nnx")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.positions = nnx.Embed(9, 6, rngs=rngs)
            self.tokens = nnx.Embed(11, 6, rngs=rngs)
            self.out = nnx.Linear(6, 4, rngs=rngs)

        def __call__(self, ids: jax.Array) -> jax.Array:
            return self.out(self.tokens(ids) + self.positions(jnp.arange(ids.shape[1])))

    reference = randomise(Bag())
    t = weights(reference)
    params = {name: {"embedding": t[f"{name}.weight"]} for name in ("tokens", "positions")}
    return Pair(
        reference,
        built(Net),
        {"ids": integers(10, 3, 5) + 1},
        params | {"out": dense(t, "out")},
        single=True,
    )


@port("embedding/linen")
def _() -> Pair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, ids: jax.Array) -> jax.Array:
            h = linen.Embed(11, 6)(ids) + linen.Embed(9, 6)(jnp.arange(ids.shape[1]))
            return linen.Dense(4)(h)

    reference = randomise(Bag())
    t = weights(reference)
    params = {
        "Embed_0": {"embedding": t["tokens.weight"]},
        "Embed_1": {"embedding": t["positions.weight"]},
        "Dense_0": dense(t, "out"),
    }
    return Pair(reference, Net(), {"ids": integers(10, 3, 5) + 1}, {"params": params})


@port("embedding/equinox")
def _() -> Pair:
    class Net(eqx.Module):
        tokens: eqx.nn.Embedding
        positions: jax.Array
        out: eqx.nn.Linear

        def __init__(self) -> None:
            self.tokens = eqx.nn.Embedding(11, 6, key=KEY)
            self.positions = jnp.zeros((9, 6))
            self.out = eqx.nn.Linear(6, 4, key=KEY)

        def __call__(self, ids: jax.Array) -> jax.Array:
            h = jax.vmap(self.tokens)(ids) + self.positions[: len(ids)]
            return jax.vmap(self.out)(h)

    reference = randomise(Bag())
    t = weights(reference)
    params = equinox(t, "tokens", "tokens") | equinox(t, "out", "out") | {"positions": t["positions.weight"]}
    return Pair(reference, Net(), {"ids": integers(10, 3, 5) + 1}, params)


class Slopes(nn.Module):
    """One slope for all channels, then one for each."""

    def __init__(self, each: bool) -> None:
        super().__init__()
        self.before = nn.Linear(5, 4)
        self.act = nn.PReLU()
        self.after = nn.Linear(4, 6)
        self.each = nn.PReLU(6) if each else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.each(self.after(self.act(self.before(x))))


@port("prelu/plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        h = x @ p["before"]["kernel"] + p["before"]["bias"]
        h = jnp.where(h >= 0, h, p["slope"] * h) @ p["after"]["kernel"] + p["after"]["bias"]
        return jnp.where(h >= 0, h, p["slopes"] * h)

    reference = randomise(Slopes(each=True))
    t = weights(reference)
    params = {"before": dense(t, "before"), "after": dense(t, "after"), "slopes": t["each.weight"]}
    return to_function(reference, apply, {"x": normal(4, 5)}, params | {"slope": t["act.weight"]})


def slopes_params(t: Any) -> Any:
    slope = {"negative_slope": t["act.weight"].reshape(())}
    return {"before": dense(t, "before"), "act": slope, "after": dense(t, "after")}


@port("prelu/nnx")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.before = nnx.Linear(5, 4, rngs=rngs)
            self.act = nnx.PReLU()
            self.after = nnx.Linear(4, 6, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.after(self.act(self.before(x)))

    reference = randomise(Slopes(each=False))
    return Pair(reference, built(Net), {"x": normal(4, 5)}, slopes_params(weights(reference)))


@port("prelu/linen")
def _() -> Pair:
    class Net(linen.Module):
        def setup(self) -> None:
            self.before = linen.Dense(4)
            self.act = linen.PReLU()
            self.after = linen.Dense(6)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.after(self.act(self.before(x)))

    reference = randomise(Slopes(each=False))
    return Pair(reference, Net(), {"x": normal(4, 5)}, {"params": slopes_params(weights(reference))})


@port("prelu/equinox")
def _() -> Pair:
    class Net(eqx.Module):
        layers: list[Any]

        def __init__(self) -> None:
            self.layers = [eqx.nn.Linear(5, 4, key=KEY), eqx.nn.PReLU(), eqx.nn.Linear(4, 6, key=KEY)]

        def __call__(self, x: jax.Array) -> jax.Array:
            for layer in self.layers:
                x = layer(x)
            return x

    reference = randomise(Slopes(each=False))
    t = weights(reference)
    params = equinox(t, "before", "layers/0") | equinox(t, "after", "layers/2")
    slope = {"layers/1/negative_slope": t["act.weight"].reshape(())}
    return Pair(reference, Net(), {"x": normal(4, 5)}, params | slope)


class Bare(nn.Module):
    """Parameters that no layer owns, one of them a scalar, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 6))
        self.positions = nn.Parameter(torch.zeros(1, 5, 6))
        self.mix = nn.Parameter(torch.zeros(6, 6))
        self.gamma = nn.Parameter(torch.zeros(6))
        self.temperature = nn.Parameter(torch.zeros(()))
        self.register_buffer("shift", torch.zeros(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.cat([self.token.expand(len(x), 1, 6), x], dim=1) + self.positions
        h = torch.einsum("nti,io->nto", h, self.mix) * self.gamma + self.shift
        return torch.tanh(h * torch.exp(self.temperature))


def bare(p: Any, x: jax.Array) -> jax.Array:
    h = jnp.concatenate([jnp.broadcast_to(p["token"], (len(x), 1, 6)), x], axis=1) + p["positions"]
    h = jnp.einsum("nti,io->nto", h, p["mix"]) * p["gamma"] + p["shift"]
    return jnp.tanh(h * jnp.exp(p["temperature"]))


BARE = {"token": (1, 6), "positions": (5, 6), "mix": (6, 6), "gamma": (6,), "temperature": (), "shift": (6,)}


def bare_params(t: Any) -> Any:
    return {name: t[name].reshape(shape) for name, shape in BARE.items()}


@port("bare/plain")
def _() -> Pair:
    reference = randomise(Bare())
    return to_function(reference, bare, {"x": normal(3, 4, 6)}, bare_params(weights(reference)))


@port("bare/nnx")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self) -> None:
            for name, shape in BARE.items():
                setattr(self, name, (nnx.BatchStat if name == "shift" else nnx.Param)(jnp.zeros(shape)))

        def __call__(self, x: jax.Array) -> jax.Array:
            return bare({name: getattr(self, name)[...] for name in BARE}, x)

    reference = randomise(Bare())
    return Pair(reference, Net(), {"x": normal(3, 4, 6)}, bare_params(weights(reference)))


@port("bare/linen")
def _() -> Pair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            zeros = linen.initializers.zeros
            p = {name: self.param(name, zeros, shape) for name, shape in BARE.items() if name != "shift"}
            shift = self.variable("buffers", "shift", jnp.zeros, (6,))
            return bare(p | {"shift": shift.value}, x)

    reference = randomise(Bare())
    params = bare_params(weights(reference))
    return Pair(
        reference,
        Net(),
        {"x": normal(3, 4, 6)},
        {"buffers": {"shift": params.pop("shift")}, "params": params},
    )


@port("bare/equinox")
def _() -> Pair:
    class Net(eqx.Module):
        arrays: dict[str, jax.Array]

        def __call__(self, x: jax.Array) -> jax.Array:
            return bare(self.arrays, x)

    reference = randomise(Bare())
    model = Net({name: jnp.zeros(shape) for name, shape in BARE.items()})
    return Pair(reference, model, {"x": normal(3, 4, 6)}, {"arrays": bare_params(weights(reference))})


class Tied(nn.Module):
    """A head that is the embedding, by reference."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.body = nn.Linear(6, 6)
        self.head = nn.Linear(6, 11)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.body(self.embed(ids))))


@port("tied/plain")
def _() -> Pair:
    def apply(p: Any, ids: jax.Array) -> jax.Array:
        h = jnp.tanh(p["wte"][ids] @ p["body"]["kernel"] + p["body"]["bias"])
        return h @ p["wte"].T + p["bias"]

    reference = randomise(Tied())
    t = weights(reference)
    params = {"wte": t["embed.weight"], "body": dense(t, "body"), "bias": t["head.bias"]}
    return to_function(reference, apply, {"ids": integers(11, 3, 4)}, params)


@port("tied/two-leaves")
def _() -> Pair:
    def apply(p: Any, ids: jax.Array) -> jax.Array:
        h = jnp.tanh(p["embed"]["embedding"][ids] @ p["body"]["kernel"] + p["body"]["bias"])
        return h @ p["head"]["kernel"] + p["head"]["bias"]

    reference = randomise(Tied())
    t = weights(reference)
    params = {"embed": {"embedding": t["embed.weight"]}, "body": dense(t, "body"), "head": dense(t, "head")}
    return to_function(reference, apply, {"ids": integers(11, 3, 4)}, params)


@port("tied/nnx")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.embed = nnx.Embed(11, 6, rngs=rngs)
            self.body = nnx.Linear(6, 6, rngs=rngs)
            self.bias = nnx.Param(jnp.zeros(11))

        def __call__(self, ids: jax.Array) -> jax.Array:
            return self.embed.attend(jnp.tanh(self.body(self.embed(ids)))) + self.bias[...]

    reference = randomise(Tied())
    t = weights(reference)
    params = {"embed": {"embedding": t["embed.weight"]}, "body": dense(t, "body"), "bias": t["head.bias"]}
    return Pair(reference, built(Net), {"ids": integers(11, 3, 4)}, params, single=True)


@port("tied/linen")
def _() -> Pair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, ids: jax.Array) -> jax.Array:
            embed = linen.Embed(11, 6)
            h = jnp.tanh(linen.Dense(6)(embed(ids)))
            return embed.attend(h) + self.param("bias", linen.initializers.zeros, (11,))

    reference = randomise(Tied())
    t = weights(reference)
    params = {
        "Embed_0": {"embedding": t["embed.weight"]},
        "Dense_0": dense(t, "body"),
        "bias": t["head.bias"],
    }
    return Pair(reference, Net(), {"ids": integers(11, 3, 4)}, {"params": params})


@port("tied/equinox")
def _() -> Pair:
    class Net(eqx.Module):
        shared: eqx.nn.Shared
        body: eqx.nn.Linear

        def __init__(self) -> None:
            pair = (eqx.nn.Embedding(11, 6, key=KEY), eqx.nn.Linear(6, 11, key=KEY))
            self.shared = eqx.nn.Shared(pair, where=lambda p: p[1].weight, get=lambda p: p[0].weight)
            self.body = eqx.nn.Linear(6, 6, key=KEY)

        def __call__(self, ids: jax.Array) -> jax.Array:
            embed, head = self.shared()
            return jax.vmap(lambda i: head(jnp.tanh(self.body(embed(i)))))(ids)

    reference = randomise(Tied())
    t = weights(reference)
    params = {"shared/pytree/0/weight": t["embed.weight"], "shared/pytree/1/bias": t["head.bias"]}
    return Pair(reference, Net(), {"ids": integers(11, 3, 4)}, params | equinox(t, "body", "body"))


class Conv1D(nn.Module):
    """A linear layer whose weight is (in, out), as in GPT-2."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n, m))
        self.bias = nn.Parameter(torch.zeros(m))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x, self.weight)


class Feedforward(nn.Module):
    """GPT-2's feedforward part with its names."""

    def __init__(self) -> None:
        super().__init__()
        self.c_fc = Conv1D(6, 12)
        self.c_proj = Conv1D(12, 6)
        self.c_out = Conv1D(6, 6)  # square

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_out(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")))


CONV1D = ("c_fc", "c_proj", "c_out")


def kept(t: Any) -> Any:
    return {name: {"kernel": t[f"{name}.weight"], "bias": t[f"{name}.bias"]} for name in CONV1D}


@port("conv1d-style/plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        h = jax.nn.gelu(x @ p["c_fc"]["kernel"] + p["c_fc"]["bias"])
        h = h @ p["c_proj"]["kernel"] + p["c_proj"]["bias"]
        return h @ p["c_out"]["kernel"] + p["c_out"]["bias"]

    reference = randomise(Feedforward())
    return to_function(reference, apply, {"x": normal(4, 6)}, kept(weights(reference)))


@port("conv1d-style/nnx")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.c_fc = nnx.Linear(6, 12, rngs=rngs)
            self.c_proj = nnx.Linear(12, 6, rngs=rngs)
            self.c_out = nnx.Linear(6, 6, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.c_out(self.c_proj(nnx.gelu(self.c_fc(x))))

    reference = randomise(Feedforward())
    return Pair(reference, built(Net), {"x": normal(4, 6)}, kept(weights(reference)))


@port("conv1d-style/linen")
def _() -> Pair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            h = linen.Dense(6, name="c_proj")(linen.gelu(linen.Dense(12, name="c_fc")(x)))
            return linen.Dense(6, name="c_out")(h)

    reference = randomise(Feedforward())
    return Pair(reference, Net(), {"x": normal(4, 6)}, {"params": kept(weights(reference))})


@port("conv1d-style/equinox")
def _() -> Pair:
    class Net(eqx.Module):
        c_fc: eqx.nn.Linear
        c_proj: eqx.nn.Linear
        c_out: eqx.nn.Linear

    def apply(net: Net, x: jax.Array) -> jax.Array:
        return jax.vmap(lambda v: net.c_out(net.c_proj(jax.nn.gelu(net.c_fc(v)))))(x)

    sizes = ((6, 12), (12, 6), (6, 6))
    model = Net(*(eqx.nn.Linear(n, m, key=KEY) for n, m in sizes))
    reference = randomise(Feedforward())
    t = weights(reference)
    params = {f"{name}/weight": t[f"{name}.weight"].T for name in CONV1D}
    params |= {f"{name}/bias": t[f"{name}.bias"] for name in CONV1D}
    return Pair(reference, apply, {"x": normal(4, 6)}, params, template=model)


class Block(nn.Module):
    """A residual block, to be repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.up = nn.Linear(6, 10)
        self.down = nn.Linear(10, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.silu(self.up(self.norm(x))))


class Stack(nn.Module):
    """Blocks one after the other, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def layer_norm(p: Any, x: jax.Array) -> jax.Array:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-5) * p["scale"] + p["bias"]


def stacked(t: Any) -> Any:
    layers = [
        {
            "norm": norm(t, f"blocks.{i}.norm"),
            "up": dense(t, f"blocks.{i}.up"),
            "down": dense(t, f"blocks.{i}.down"),
        }
        for i in range(3)
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *layers)


@port("scanned/plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        def block(x: jax.Array, p: Any) -> tuple[jax.Array, None]:
            h = jax.nn.silu(layer_norm(p["norm"], x) @ p["up"]["kernel"] + p["up"]["bias"])
            return x + h @ p["down"]["kernel"] + p["down"]["bias"], None

        x, _ = jax.lax.scan(block, x, p["blocks"])
        return x @ p["head"]["kernel"] + p["head"]["bias"]

    reference = randomise(Stack())
    t = weights(reference)
    return to_function(
        reference, apply, {"x": normal(4, 6)}, {"blocks": stacked(t), "head": dense(t, "head")}
    )


@port("scanned/nnx")
def _() -> Pair:
    class Inner(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.norm = nnx.LayerNorm(6, epsilon=1e-5, rngs=rngs)
            self.up = nnx.Linear(6, 10, rngs=rngs)
            self.down = nnx.Linear(10, 6, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return x + self.down(nnx.silu(self.up(self.norm(x))))

    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.blocks = nnx.vmap(Inner, in_axes=0)(rngs.split(3))
            self.head = nnx.Linear(6, 4, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            x = nnx.scan(lambda x, block: block(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(
                x, self.blocks
            )
            return self.head(x)

    reference = randomise(Stack())
    t = weights(reference)
    params = {"blocks": stacked(t), "head": dense(t, "head")}
    return Pair(reference, built(Net), {"x": normal(4, 6)}, params)


@port("scanned/linen")
def _() -> Pair:
    class Inner(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
            h = linen.LayerNorm(epsilon=1e-5, name="norm")(x)
            h = linen.Dense(6, name="down")(linen.silu(linen.Dense(10, name="up")(h)))
            return x + h, None

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            scan = linen.scan(
                linen.remat(Inner), variable_axes={"params": 0}, split_rngs={"params": True}, length=3
            )
            x, _ = scan(name="layers")(x, None)
            return linen.Dense(4, name="head")(x)

    reference = randomise(Stack())
    t = weights(reference)
    params = {"layers": stacked(t), "head": dense(t, "head")}
    return Pair(reference, Net(), {"x": normal(4, 6)}, {"params": params})


@port("scanned/equinox")
def _() -> Pair:
    class Inner(eqx.Module):
        norm: eqx.nn.LayerNorm
        up: eqx.nn.Linear
        down: eqx.nn.Linear

        def __init__(self, key: jax.Array) -> None:
            self.norm = eqx.nn.LayerNorm(6)
            self.up = eqx.nn.Linear(6, 10, key=key)
            self.down = eqx.nn.Linear(10, 6, key=key)

        def __call__(self, x: jax.Array) -> jax.Array:
            return x + self.down(jax.nn.silu(self.up(self.norm(x))))

    class Net(eqx.Module):
        blocks: Inner
        head: eqx.nn.Linear

        def __init__(self) -> None:
            self.blocks = eqx.filter_vmap(Inner)(jax.random.split(KEY, 3))
            self.head = eqx.nn.Linear(6, 4, key=KEY)

        def __call__(self, x: jax.Array) -> jax.Array:
            arrays, static = eqx.partition(self.blocks, eqx.is_array)
            x, _ = jax.lax.scan(lambda x, own: (eqx.combine(own, static)(x), None), x, arrays)
            return self.head(x)

    reference = randomise(Stack())
    t = weights(reference)
    params = equinox(t, "head", "head")
    for name in ("norm", "up", "down"):
        for leaf in ("weight", "bias"):
            params[f"blocks/{name}/{leaf}"] = np.stack([t[f"blocks.{i}.{name}.{leaf}"] for i in range(3)])
    return Pair(reference, Net(), {"x": normal(4, 6)}, params)


@port("scanned/unscanned")
def _() -> Pair:
    """The other way round: PyTorch has the stack, JAX the layers."""

    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernels = nn.Parameter(torch.zeros(3, 6, 6))
            self.biases = nn.Parameter(torch.zeros(3, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for kernel, bias in zip(self.kernels, self.biases, strict=True):
                x = torch.tanh(x @ kernel + bias)
            return x

    def apply(p: Any, x: jax.Array) -> jax.Array:
        for i in range(3):
            x = jnp.tanh(x @ p[f"layer_{i}"]["kernel"] + p[f"layer_{i}"]["bias"])
        return x

    reference = randomise(Stacked())
    t = weights(reference)
    params = {f"layer_{i}": {"kernel": t["kernels"][i], "bias": t["biases"][i]} for i in range(3)}
    return to_function(reference, apply, {"x": normal(4, 6)}, params)


@port("odd-names/plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        a, b, c, d, e, f, g = p
        x = jax.nn.relu(x @ g + e)
        x = jax.nn.relu(x @ a + c)
        return (x @ d + b) * f

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enc = nn.Linear(5, 8)
            self.mid = nn.Linear(8, 8)
            self.dec = nn.Linear(8, 8)
            self.gain = nn.Parameter(torch.zeros(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.dec(F.relu(self.mid(F.relu(self.enc(x))))) * self.gain

    reference = randomise(Net())
    t = weights(reference)
    linear = {name: (t[f"{name}.weight"].T, t[f"{name}.bias"]) for name in ("enc", "mid", "dec")}
    params = [
        linear["mid"][0],
        linear["dec"][1],
        linear["mid"][1],
        linear["dec"][0],
        linear["enc"][1],
        t["gain"],
        linear["enc"][0],
    ]
    return to_function(reference, apply, {"x": normal(4, 5)}, params)
