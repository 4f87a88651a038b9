"""JAX against JAX: between the libraries, and functions that loop, batch or differentiate otherwise."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from parity.report.kinds import CauseKind, Stage
from tests.kit.inputs import normal
from tests.kit.weights import shapes
from tests.sides.declare import Arguments, pair


def moved(params: Any, seed: int = 0) -> Any:
    """Params with random numbers added: at their initial zeros and ones faults hide."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    noise = [np.asarray(x) + 0.2 * rng.standard_normal(x.shape).astype(np.float32) for x in leaves]
    return jax.tree.unflatten(tree, noise)


class LinenBlock(linen.Module):
    """Convolution, layer norm and a linear layer."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.LayerNorm(name="norm")(linen.Conv(4, (3, 3), name="conv")(x))
        return linen.Dense(3, name="head")(linen.gelu(x).mean((1, 2)))


class NnxBlock(nnx.Module):
    """The same in NNX."""

    def __init__(self, wrong: str = "") -> None:
        rngs = nnx.Rngs(0)
        padding = ((2, 0), (2, 0)) if wrong == "padding" else "SAME"
        self.conv = nnx.Conv(2, 4, (3, 3), padding=padding, rngs=rngs)
        self.norm = nnx.LayerNorm(4, epsilon=1e-4 if wrong == "eps" else 1e-6, rngs=rngs)
        self.head = nnx.Linear(4, 3, rngs=rngs)
        self.wrong = wrong

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv(x)  # FAULT: linen-nnx/padding
        x = self.norm(x)  # FAULT: linen-nnx/eps
        if self.wrong == "gelu":
            x = nnx.gelu(x, approximate=False)  # FAULT: linen-nnx/gelu
        else:
            x = nnx.gelu(x)
        return self.head(x.mean((1, 2)))


def linen_nnx(wrong: str) -> Arguments:
    x = normal(2, 6, 5, 2)
    params = moved(LinenBlock().init(jax.random.key(0), jnp.asarray(x)))
    return {
        "reference": LinenBlock(),
        "reference_params": params,
        "candidate": NnxBlock(wrong),
        "inputs": {"x": x},
    }


@pair("linen-nnx/eps", CauseKind.EPSILON, quick=True)
def linen_nnx_eps(faulty: bool) -> Arguments:
    return linen_nnx("eps" if faulty else "")


@pair("linen-nnx/gelu", CauseKind.ACTIVATION)
def linen_nnx_gelu(faulty: bool) -> Arguments:
    return linen_nnx("gelu" if faulty else "")


@pair("linen-nnx/padding", CauseKind.PADDING, CauseKind.SHIFT)
def linen_nnx_padding(faulty: bool) -> Arguments:
    return linen_nnx("padding" if faulty else "")


class NnxGated(nnx.Module):
    """A gated layer with a residual."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(1)
        self.up, self.gate, self.down = (nnx.Linear(a, b, rngs=rngs) for a, b in ((4, 8), (4, 8), (8, 4)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.down(self.up(x) * jax.nn.silu(self.gate(x)))


class EquinoxGated(eqx.Module):
    """The same in Equinox, row by row."""

    up: eqx.nn.Linear
    gate: eqx.nn.Linear
    down: eqx.nn.Linear
    wrong: str = eqx.field(static=True)

    def __init__(self, wrong: str = "") -> None:
        keys = jax.random.split(jax.random.key(2), 3)
        sizes = ((4, 8), (4, 8), (8, 4))
        self.up, self.gate, self.down = (
            eqx.nn.Linear(a, b, key=key) for (a, b), key in zip(sizes, keys, strict=True)
        )
        self.wrong = wrong

    def row(self, x: jax.Array) -> jax.Array:
        gate = self.gate(x)
        if self.wrong == "sigmoid":
            gate = jax.nn.sigmoid(gate)  # FAULT: nnx-equinox/sigmoid
        else:
            gate = jax.nn.silu(gate)
        h = self.down(self.up(x) * gate)  # FAULT: nnx-equinox/residual
        if self.wrong == "residual":
            return h
        return x + h

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.vmap(self.row)(x)


def nnx_equinox(wrong: str) -> Arguments:
    return {"reference": NnxGated(), "candidate": EquinoxGated(wrong), "inputs": {"x": normal(5, 4)}}


@pair("nnx-equinox/sigmoid", CauseKind.ACTIVATION, quick=True)
def nnx_equinox_sigmoid(faulty: bool) -> Arguments:
    return nnx_equinox("sigmoid" if faulty else "")


@pair("nnx-equinox/residual", CauseKind.MISSING_TERM)
def nnx_equinox_residual(faulty: bool) -> Arguments:
    return nnx_equinox("residual" if faulty else "")


class LinenConv(linen.Module):
    """Two convolutions, channels last."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.relu(linen.Conv(4, (3, 3), name="first")(x))
        return linen.Conv(3, (3, 3), name="second")(x)


class EquinoxConv(eqx.Module):
    """The same in Equinox, image by image, channels first inside."""

    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d
    wrong: str = eqx.field(static=True)

    def __init__(self, wrong: str = "") -> None:
        one, two = jax.random.split(jax.random.key(0))
        self.first = eqx.nn.Conv2d(2, 4, 3, padding=1, key=one)
        self.second = eqx.nn.Conv2d(4, 3, 3, padding=1, key=two)
        self.wrong = wrong

    def image(self, x: jax.Array) -> jax.Array:
        x = jnp.moveaxis(x, -1, 0)
        if self.wrong == "slope":
            x = jax.nn.leaky_relu(self.first(x), 0.2)  # FAULT: linen-equinox/slope
        else:
            x = jax.nn.relu(self.first(x))
        x = self.second(x)
        if self.wrong == "bias":
            x = x - self.second.bias  # FAULT: linen-equinox/bias
        return jnp.moveaxis(x, 0, -1)  # FAULT: linen-equinox/bias

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.vmap(self.image)(x)


def linen_equinox(wrong: str) -> Arguments:
    x = normal(2, 6, 5, 2)
    params = moved(LinenConv().init(jax.random.key(0), jnp.asarray(x)))
    return {
        "reference": LinenConv(),
        "reference_params": params,
        "candidate": EquinoxConv(wrong),
        "inputs": {"x": x},
    }


@pair("linen-equinox/slope", CauseKind.ACTIVATION, CauseKind.CONSTANT, quick=True)
def linen_equinox_slope(faulty: bool) -> Arguments:
    return linen_equinox("slope" if faulty else "")


@pair("linen-equinox/bias", CauseKind.EXTRA_TERM, CauseKind.MISSING_TERM)
def linen_equinox_bias(faulty: bool) -> Arguments:
    return linen_equinox("bias" if faulty else "")


def haiku_net(x: jax.Array) -> jax.Array:
    """A perceptron in Haiku."""
    h = hk.LayerNorm(-1, create_scale=True, create_offset=True, name="norm")(hk.Linear(6, name="fc")(x))
    return hk.Linear(3, name="head")(jnp.tanh(h))


class NnxNet(nnx.Module):
    """The same in NNX."""

    def __init__(self, faulty: bool) -> None:
        rngs = nnx.Rngs(0)
        self.fc, self.head = nnx.Linear(4, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)
        self.norm = nnx.LayerNorm(6, epsilon=1e-5, rngs=rngs)
        self.faulty = faulty

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.norm(self.fc(x))
        if self.faulty:
            h = jax.nn.hard_tanh(h)  # FAULT: haiku-nnx/activation
        else:
            h = jnp.tanh(h)
        return self.head(h)


@pair("haiku-nnx/activation", CauseKind.ACTIVATION, quick=True)
def haiku_nnx(faulty: bool) -> Arguments:
    x = normal(5, 4)
    net = hk.without_apply_rng(hk.transform(haiku_net))
    params = moved(net.init(jax.random.key(0), jnp.asarray(x)))
    return {"reference": net, "reference_params": params, "candidate": NnxNet(faulty), "inputs": {"x": x}}


GRU = {"w": (4, 15), "u": (5, 15), "b": (15,), "c": (15,)}


def gru_step(params: Any, h: jax.Array, x: jax.Array) -> jax.Array:
    i_r, i_z, i_n = jnp.split(x @ params["w"] + params["b"], 3, -1)
    h_r, h_z, h_n = jnp.split(h @ params["u"] + params["c"], 3, -1)
    r, z = jax.nn.sigmoid(i_r + h_r), jax.nn.sigmoid(i_z + h_z)
    return (1 - z) * jnp.tanh(i_n + r * h_n) + z * h


def scanned(params: Any, x: jax.Array) -> jax.Array:
    def body(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = gru_step(params, h, x)
        return h, h

    return jax.lax.scan(body, jnp.zeros((x.shape[0], 5), x.dtype), x.swapaxes(0, 1))[1].swapaxes(0, 1)


def unrolled(faulty: bool) -> Any:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = jnp.zeros((x.shape[0], 5), x.dtype)
        outputs = []
        for t in range(x.shape[1]):
            i_r, i_z, i_n = jnp.split(x[:, t] @ params["w"] + params["b"], 3, -1)
            h_r, h_z, h_n = jnp.split(h @ params["u"] + params["c"], 3, -1)
            r, z = jax.nn.sigmoid(i_r + h_r), jax.nn.sigmoid(i_z + h_z)
            n = jnp.tanh(i_n + r * h_n)
            if faulty:
                h = z * n + (1 - z) * h  # FAULT: jax-functions/unrolled
            else:
                h = (1 - z) * n + z * h
            outputs.append(h)
        return jnp.stack(outputs, 1)

    return apply


def drawn(sizes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return {name: normal(*size, seed=k) / 2 for k, (name, size) in enumerate(sizes.items())}


@pair("jax-functions/unrolled", CauseKind.OPERANDS, CauseKind.GATE_ORDER, quick=True)
def scan_unrolled(faulty: bool) -> Arguments:
    return {
        "reference": scanned,
        "reference_params": jax.tree.map(jnp.asarray, drawn(GRU)),
        "candidate": unrolled(faulty),
        "template": shapes(GRU),
        "inputs": {"x": normal(2, 4, 4, seed=7)},
    }


QUERIES = {"q": (4, 4), "k": (4, 4), "v": (4, 4)}


def attended(params: Any, x: jax.Array) -> jax.Array:
    """Causal attention of one head, on a batch at once."""
    q, k, v = (x @ params[name] for name in "qkv")
    causal = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
    scores = jnp.where(causal, q @ k.swapaxes(-1, -2) / 2, -jnp.inf)
    return jax.nn.softmax(scores) @ v


def attended_by_hand(wrong: str) -> Any:
    """The same row by row under `vmap`, the softmax by hand."""

    def softmax(scores: jax.Array) -> jax.Array:
        powers = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
        if wrong == "axis":
            return powers / powers.sum(-2, keepdims=True)  # FAULT: jax-functions/axis
        if wrong == "gradient":
            total = jax.lax.stop_gradient(powers.sum(-1, keepdims=True))  # FAULT: jax-functions/gradient
            return powers / total  # FAULT: jax-functions/gradient
        return powers / powers.sum(-1, keepdims=True)

    def apply(params: Any, x: jax.Array) -> jax.Array:
        def row(x: jax.Array) -> jax.Array:
            q, k, v = (x @ params[name] for name in "qkv")
            length = x.shape[0]
            if wrong == "mask":
                causal = jnp.tri(length, length, 1, dtype=bool)  # FAULT: jax-functions/mask
            else:
                causal = jnp.tri(length, length, dtype=bool)
            scores = jnp.where(causal, q @ k.T / 2, -jnp.inf)  # FAULT: jax-functions/mask
            return softmax(scores) @ v

        return jax.vmap(row)(x)

    return apply


def queries(wrong: str) -> Arguments:
    return {
        "reference": attended,
        "reference_params": jax.tree.map(jnp.asarray, drawn(QUERIES)),
        "candidate": attended_by_hand(wrong),
        "template": shapes(QUERIES),
        "inputs": {"x": normal(2, 5, 4, seed=8)},
    }


@pair("jax-functions/axis", CauseKind.AXIS, CauseKind.ACTIVATION)  # a softmax along another axis is either
def softmax_axis(faulty: bool) -> Arguments:
    return queries("axis" if faulty else "")


@pair("jax-functions/mask", CauseKind.MASK)
def mask_off_by_one(faulty: bool) -> Arguments:
    return queries("mask" if faulty else "")


@pair("jax-functions/gradient", CauseKind.GRADIENT_RULE, stage=Stage.GRADIENTS, quick=True)
def stopped_gradient(faulty: bool) -> Arguments:
    return queries("gradient" if faulty else "")
