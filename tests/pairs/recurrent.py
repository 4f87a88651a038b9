"""Right ports of LSTM and GRU: gates, double biases, layers, directions, and the frameworks' own cells.

Haiku's cells have no right port without arithmetic on weights: its LSTM adds one to the forget gate, its GRU
resets the state before the product.
"""

from typing import Any

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import nn

from tests.kit.conversion import dense
from tests.kit.inputs import normal
from tests.kit.pairs import Pair, built, to_function
from tests.kit.weights import randomise, weights
from tests.pairs.ports import port

KEY = jax.random.key(0)
D, H = 5, 4
X = {"x": normal(3, 6, D)}


class Recurrent(nn.Module):
    """All hidden states of a recurrent layer, through a linear layer."""

    def __init__(self, kind: str, layers: int = 1, both: bool = False) -> None:
        super().__init__()
        layer = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind]
        self.rnn = layer(D, H, num_layers=layers, batch_first=True, bidirectional=both)
        self.head = nn.Linear(2 * H if both else H, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0])


def raw(t: Any, suffix: str = "l0") -> Any:
    """The four tensors as PyTorch has them, matrices transposed."""
    return {
        "wi": t[f"rnn.weight_ih_{suffix}"].T,
        "wh": t[f"rnn.weight_hh_{suffix}"].T,
        "bi": t[f"rnn.bias_ih_{suffix}"],
        "bh": t[f"rnn.bias_hh_{suffix}"],
    }


def lstm(p: Any, x: jax.Array, reverse: bool = False) -> jax.Array:
    """(N, T, D) to (N, T, H); PyTorch's gates: input, forget, cell, output."""

    def step(state: Any, x: jax.Array) -> Any:
        h, c = state
        i, f, g, o = jnp.split(x @ p["wi"] + p["bi"] + h @ p["wh"] + p["bh"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((len(x), p["wh"].shape[0]), x.dtype)
    return jax.lax.scan(step, (zeros, zeros), x.swapaxes(0, 1), reverse=reverse)[1].swapaxes(0, 1)


def gru(p: Any, x: jax.Array, reverse: bool = False) -> jax.Array:
    """(N, T, D) to (N, T, H); PyTorch's gates: reset, update, new, with a bias inside the reset."""

    def step(h: jax.Array, x: jax.Array) -> Any:
        ri, zi, ni = jnp.split(x @ p["wi"] + p["bi"], 3, axis=-1)
        rh, zh, nh = jnp.split(h @ p["wh"] + p["bh"], 3, axis=-1)
        z = jax.nn.sigmoid(zi + zh)
        h = (1 - z) * jnp.tanh(ni + jax.nn.sigmoid(ri + rh) * nh) + z * h
        return h, h

    zeros = jnp.zeros((len(x), p["wh"].shape[0]), x.dtype)
    return jax.lax.scan(step, zeros, x.swapaxes(0, 1), reverse=reverse)[1].swapaxes(0, 1)


@port("lstm/plain")
def _() -> Pair:
    reference = randomise(Recurrent("lstm"))
    t = weights(reference)
    params = {"lstm": raw(t), "head": dense(t, "head")}
    return to_function(
        reference, lambda p, x: lstm(p["lstm"], x) @ p["head"]["kernel"] + p["head"]["bias"], X, params
    )


@port("lstm/plain-one-bias")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        cell = {
            "wi": p["cell"]["kernel"][:D],
            "wh": p["cell"]["kernel"][D:],
            "bi": p["cell"]["bias"],
            "bh": 0.0,
        }
        return lstm(cell, x) @ p["head"]["kernel"] + p["head"]["bias"]

    reference = randomise(Recurrent("lstm"))
    t = weights(reference)
    p = raw(t)
    cell = {"kernel": np.concatenate([p["wi"], p["wh"]]), "bias": p["bi"] + p["bh"]}
    return to_function(reference, apply, X, {"cell": cell, "head": dense(t, "head")})


@port("gru/plain")
def _() -> Pair:
    reference = randomise(Recurrent("gru"))
    t = weights(reference)
    params = {"gru": raw(t), "head": dense(t, "head")}
    return to_function(
        reference, lambda p, x: gru(p["gru"], x) @ p["head"]["kernel"] + p["head"]["bias"], X, params
    )


@port("rnn/plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        h = jnp.zeros((len(x), H), x.dtype)
        out = []
        for t in range(x.shape[1]):
            h = jnp.tanh(x[:, t] @ p["rnn"]["wi"] + p["rnn"]["bi"] + h @ p["rnn"]["wh"] + p["rnn"]["bh"])
            out.append(h @ p["head"]["kernel"] + p["head"]["bias"])
        return jnp.stack(out, axis=1)

    reference = randomise(Recurrent("rnn"))
    t = weights(reference)
    return to_function(reference, apply, X, {"rnn": raw(t), "head": dense(t, "head")})


@port("lstm/two-layers-both-ways")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        for layer in p["layers"]:
            both = [lstm(layer["forward"], x), lstm(layer["backward"], x, reverse=True)]
            x = jnp.concatenate(both, axis=-1)
        return x @ p["head"]["kernel"] + p["head"]["bias"]

    reference = randomise(Recurrent("lstm", layers=2, both=True))
    t = weights(reference)
    layers = [{"forward": raw(t, f"l{i}"), "backward": raw(t, f"l{i}_reverse")} for i in range(2)]
    return to_function(reference, apply, X, {"layers": layers, "head": dense(t, "head")})


def gates(t: Any, names: str) -> dict[str, dict[str, np.ndarray]]:
    """Kernels and biases of each gate, of the input (i) and of the hidden state (h)."""
    p = raw(t)
    cut = {key: np.split(array, len(names), axis=-1) for key, array in p.items()}
    return {
        side + name: {"kernel": cut[f"w{side}"][k], "bias": cut[f"b{side}"][k]}
        for side in "ih"
        for k, name in enumerate(names)
    }


def flax_lstm(t: Any, forget: str) -> Any:
    """Flax's LSTM cells: a gate each; the hidden side has the only bias."""
    g = gates(t, "ifgo")
    params = {
        f"h{k}": {"kernel": g[f"h{k}"]["kernel"], "bias": g[f"i{k}"]["bias"] + g[f"h{k}"]["bias"]}
        for k in "ifgo"
    }
    params |= {forget if k == "f" else f"i{k}": {"kernel": g[f"i{k}"]["kernel"]} for k in "ifgo"}
    return params


@port("lstm/nnx")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.rnn = nnx.RNN(nnx.LSTMCell(D, H, rngs=rngs))
            self.head = nnx.Linear(H, 3, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.head(self.rnn(x))

    reference = randomise(Recurrent("lstm"))
    t = weights(reference)
    return Pair(
        reference,
        built(Net),
        X,
        {"rnn": {"cell": flax_lstm(t, "if_")}, "head": dense(t, "head")},
        single=True,
    )


@port("lstm/nnx-optimized")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.rnn = nnx.RNN(nnx.OptimizedLSTMCell(D, H, rngs=rngs))
            self.head = nnx.Linear(H, 3, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.head(self.rnn(x))

    reference = randomise(Recurrent("lstm"))
    t = weights(reference)
    p = raw(t)
    cell = {"dense_i": {"kernel": p["wi"]}, "dense_h": {"kernel": p["wh"], "bias": p["bi"] + p["bh"]}}
    return Pair(reference, built(Net), X, {"rnn": {"cell": cell}, "head": dense(t, "head")}, single=True)


@port("lstm/linen")
def _() -> Pair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = linen.RNN(linen.OptimizedLSTMCell(H), name="rnn")(x)
            return linen.Dense(3, name="head")(x)

    reference = randomise(Recurrent("lstm"))
    t = weights(reference)
    # The cell is made before the layer that scans it, and belongs to the whole.
    params = {"OptimizedLSTMCell_0": flax_lstm(t, "if"), "head": dense(t, "head")}
    return Pair(reference, Net(), X, {"params": params}, single=True)


@port("lstm/equinox")
def _() -> Pair:
    class Net(eqx.Module):
        cell: eqx.nn.LSTMCell
        head: eqx.nn.Linear

        def __init__(self) -> None:
            self.cell = eqx.nn.LSTMCell(D, H, key=KEY)
            self.head = eqx.nn.Linear(H, 3, key=KEY)

        def __call__(self, x: jax.Array) -> jax.Array:
            def step(state: Any, x: jax.Array) -> Any:
                state = self.cell(x, state)
                return state, self.head(state[0])

            zeros = jnp.zeros(H, x.dtype)
            return jax.lax.scan(step, (zeros, zeros), x)[1]

    reference = randomise(Recurrent("lstm"))
    t = weights(reference)
    params = {
        "cell/weight_ih": t["rnn.weight_ih_l0"],
        "cell/weight_hh": t["rnn.weight_hh_l0"],
        "cell/bias": t["rnn.bias_ih_l0"] + t["rnn.bias_hh_l0"],
        "head/weight": t["head.weight"],
        "head/bias": t["head.bias"],
    }
    return Pair(reference, Net(), X, params)


@port("gru/nnx")
def _() -> Pair:
    """A cell of one's own: Flax NNX's lacks the bias inside the reset gate."""

    class Cell(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.input = nnx.Linear(D, 3 * H, rngs=rngs)
            self.hidden = nnx.Linear(H, 3 * H, rngs=rngs)

        def __call__(self, h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            ri, zi, ni = jnp.split(self.input(x), 3, axis=-1)
            rh, zh, nh = jnp.split(self.hidden(h), 3, axis=-1)
            z = nnx.sigmoid(zi + zh)
            h = (1 - z) * jnp.tanh(ni + nnx.sigmoid(ri + rh) * nh) + z * h
            return h, h

    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.cell = Cell(rngs)
            self.head = nnx.Linear(H, 3, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            run = nnx.scan(
                lambda h, cell, x: cell(h, x), in_axes=(nnx.Carry, None, 1), out_axes=(nnx.Carry, 1)
            )
            return self.head(run(jnp.zeros((len(x), H), x.dtype), self.cell, x)[1])

    reference = randomise(Recurrent("gru"))
    t = weights(reference)
    p = raw(t)
    cell = {"input": {"kernel": p["wi"], "bias": p["bi"]}, "hidden": {"kernel": p["wh"], "bias": p["bh"]}}
    return Pair(reference, built(Net), X, {"cell": cell, "head": dense(t, "head")})


@port("gru/linen")
def _() -> Pair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return linen.Dense(3, name="head")(linen.RNN(linen.GRUCell(H, name="cell"))(x))

    reference = randomise(Recurrent("gru"))
    t = weights(reference)
    g = gates(t, "rzn")
    cell: dict[str, Any] = {f"i{k}": dict(g[f"i{k}"]) for k in "rzn"}
    for k in "rz":  # the two biases of a gate are one; the new gate keeps both
        cell[f"i{k}"]["bias"] = g[f"i{k}"]["bias"] + g[f"h{k}"]["bias"]
        cell[f"h{k}"] = {"kernel": g[f"h{k}"]["kernel"]}
    cell["hn"] = g["hn"]
    return Pair(reference, Net(), X, {"params": {"cell": cell, "head": dense(t, "head")}}, single=True)


@port("gru/equinox")
def _() -> Pair:
    class Net(eqx.Module):
        cell: eqx.nn.GRUCell
        head: eqx.nn.Linear

        def __init__(self) -> None:
            self.cell = eqx.nn.GRUCell(D, H, key=KEY)
            self.head = eqx.nn.Linear(H, 3, key=KEY)

        def __call__(self, x: jax.Array) -> jax.Array:
            def one(x: jax.Array) -> jax.Array:
                def step(h: jax.Array, x: jax.Array) -> Any:
                    h = self.cell(x, h)
                    return h, self.head(h)

                return jax.lax.scan(step, jnp.zeros(H, x.dtype), x)[1]

            return jax.vmap(one)(x)

    reference = randomise(Recurrent("gru"))
    t = weights(reference)
    bi, bh = t["rnn.bias_ih_l0"], t["rnn.bias_hh_l0"]
    params = {
        "cell/weight_ih": t["rnn.weight_ih_l0"],
        "cell/weight_hh": t["rnn.weight_hh_l0"],
        "cell/bias": np.concatenate([(bi + bh)[: 2 * H], bi[2 * H :]]),
        "cell/bias_n": bh[2 * H :],
        "head/weight": t["head.weight"],
        "head/bias": t["head.bias"],
    }
    return Pair(reference, Net(), X, params)


@port("gru/cell-by-cell")
def _() -> Pair:
    """PyTorch's cell in a Python loop, the port's in a while loop with a state that is an input."""

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(D, H)

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            for t in range(x.shape[1]):
                h = self.cell(x[:, t], h)
            return h

    def apply(p: Any, x: jax.Array, h: jax.Array) -> jax.Array:
        def step(t: int, h: jax.Array) -> jax.Array:
            ri, zi, ni = jnp.split(x[:, t] @ p["wi"] + p["bi"], 3, axis=-1)
            rh, zh, nh = jnp.split(h @ p["wh"] + p["bh"], 3, axis=-1)
            z = jax.nn.sigmoid(zi + zh)
            return (1 - z) * jnp.tanh(ni + jax.nn.sigmoid(ri + rh) * nh) + z * h

        return jax.lax.fori_loop(0, x.shape[1], step, h)

    reference = randomise(Loop())
    t = weights(reference)
    params = {
        "wi": t["cell.weight_ih"].T,
        "wh": t["cell.weight_hh"].T,
        "bi": t["cell.bias_ih"],
        "bh": t["cell.bias_hh"],
    }
    return to_function(reference, apply, X | {"h": normal(3, H, seed=4)}, params)
