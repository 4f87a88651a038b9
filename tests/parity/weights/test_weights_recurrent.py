"""PyTorch's recurrent layers against the cells of Flax and Equinox, gate by gate, loaded by the plan."""

from typing import Any

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

from tests.parity.weights.test_weights_layers import (  # noqa: F401  (x64 is a fixture)
    KEY,
    RNGS,
    agree,
    load,
    normal,
    of_equinox,
    of_linen,
    of_nnx,
    randomised,
    x64,
)

X = normal(3, 5, 3)
D, H = 3, 4
WIDE: dict[str, Any] = {"param_dtype": jnp.float64}


def over_time(cell: Any, x: jax.Array, state: Any) -> jax.Array:
    """Hidden states of a Flax cell, (N, T, D) to (N, T, H)."""
    out = []
    for t in range(x.shape[1]):
        state, h = cell(state, x[:, t])
        out.append(h)
    return jnp.stack(out, axis=1)


def zeros(kind: str, size: int = H) -> Any:
    one = jnp.zeros((len(X), size))
    return (one, one) if kind == "lstm" else one


def layer(kind: str, **how: Any) -> nn.Module:
    return randomised({"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind](D, H, batch_first=True, **how))


@pytest.mark.parametrize("cell", ["LSTMCell", "OptimizedLSTMCell"])
def test_lstm_in_flax(cell: str) -> None:
    module = layer("lstm")
    make = getattr(nnx, cell)
    agree(
        module,
        of_nnx(lambda: make(D, H, rngs=RNGS, **WIDE), lambda m, x: over_time(m, x, zeros("lstm"))),
        X,
        last=False,
    )
    agree(module, of_linen(linen.RNN(getattr(linen, cell)(H, **WIDE)), X), X, last=False)


def test_gru_in_linen_keeps_the_bias_inside_the_reset_gate_apart() -> None:
    plan = agree(layer("gru"), of_linen(linen.RNN(linen.GRUCell(H, **WIDE)), X), X, last=False)
    into = {t.leaf_path: [] for t in plan.transfers}
    for t in plan.transfers:
        into[t.leaf_path].append(t.tensor_name)
    assert into["params/cell/ir/bias"] == ["bias_ih_l0", "bias_hh_l0"]
    assert into["params/cell/in/bias"] == ["bias_ih_l0"]
    assert into["params/cell/hn/bias"] == ["bias_hh_l0"]


def test_gru_in_nnx_adds_up_biases_that_a_reset_gate_keeps_apart() -> None:
    build = of_nnx(lambda: nnx.GRUCell(D, H, rngs=RNGS, **WIDE), lambda m, x: over_time(m, x, zeros("gru")))
    module = layer("gru")
    with pytest.raises(AssertionError, match="Not equal"):
        agree(module, build, X, last=False)
    with torch.no_grad():
        module.bias_hh_l0[2 * H :] = 0  # the one bias that the cell has no place for
    agree(module, build, X, last=False)
    agree(layer("gru", bias=False), of_nnx(Unbiased), X, last=False)


class Unbiased(nnx.Module):
    """A GRU of two kernels."""

    def __init__(self) -> None:
        self.dense_i = nnx.Linear(D, 3 * H, use_bias=False, rngs=RNGS, **WIDE)
        self.dense_h = nnx.Linear(H, 3 * H, use_bias=False, rngs=RNGS, **WIDE)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = zeros("gru")
        out = []
        for t in range(x.shape[1]):
            ri, zi, ni = jnp.split(self.dense_i(x[:, t]), 3, axis=-1)
            rh, zh, nh = jnp.split(self.dense_h(h), 3, axis=-1)
            z = jax.nn.sigmoid(zi + zh)
            h = (1 - z) * jnp.tanh(ni + jax.nn.sigmoid(ri + rh) * nh) + z * h
            out.append(h)
        return jnp.stack(out, axis=1)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_cells_of_equinox(kind: str) -> None:
    make = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}[kind]

    def call(cell: Any, x: jax.Array) -> jax.Array:
        def run(rows: jax.Array) -> jax.Array:
            state = (jnp.zeros(H),) * 2 if kind == "lstm" else jnp.zeros(H)
            out = []
            for row in rows:
                state = cell(row, state)
                out.append(state[0] if kind == "lstm" else state)
            return jnp.stack(out)

        return jax.vmap(run)(x)

    agree(layer(kind), of_equinox(lambda: make(D, H, key=KEY), call), X, last=False)


def test_simple_cell_adds_the_two_biases() -> None:
    plan = agree(layer("rnn"), of_linen(linen.RNN(linen.SimpleCell(H, **WIDE)), X), X, last=False)
    assert plan.names()["bias_ih_l0"] == plan.names()["bias_hh_l0"] == "params/cell/i/bias"


def test_layers_and_directions() -> None:
    module = layer("lstm", num_layers=2, bidirectional=True)
    template = {
        f"layer_{i}": {
            side: {
                "ih": {"kernel": np.zeros((D if i == 0 else 2 * H, 4 * H))},
                "hh": {"kernel": np.zeros((H, 4 * H)), "bias": np.zeros(4 * H)},
            }
            for side in ("backward", "forward")
        }
        for i in range(2)
    }

    def build(module: nn.Module, **how: Any) -> Any:
        params, plan = load(module, template, **how)

        def run(p: Any, x: jax.Array) -> jax.Array:
            h = c = jnp.zeros((len(x), H))
            out = []
            for t in range(x.shape[1]):
                gates = x[:, t] @ p["ih"]["kernel"] + h @ p["hh"]["kernel"] + p["hh"]["bias"]
                i, f, g, o = jnp.split(gates, 4, axis=-1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                out.append(h)
            return jnp.stack(out, axis=1)

        def forward(x: jax.Array) -> jax.Array:
            for i in range(2):
                p = params[f"layer_{i}"]
                x = jnp.concatenate([run(p["forward"], x), run(p["backward"], x[:, ::-1])[:, ::-1]], axis=-1)
            return x

        return forward, plan

    agree(module, build, X, last=False)


def test_one_kernel_for_input_and_state() -> None:
    module = layer("lstm")

    def build(module: nn.Module, **how: Any) -> Any:
        template = {"lstm": {"kernel": np.zeros((D + H, 4 * H)), "bias": np.zeros(4 * H)}}
        params, plan = load(module, template, **how)

        def forward(x: jax.Array) -> jax.Array:
            h = c = jnp.zeros((len(x), H))
            out = []
            for t in range(x.shape[1]):
                joint = jnp.concatenate([x[:, t], h], axis=-1)
                gates = joint @ params["lstm"]["kernel"] + params["lstm"]["bias"]
                i, f, g, o = jnp.split(gates, 4, axis=-1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                out.append(h)
            return jnp.stack(out, axis=1)

        return forward, plan

    agree(module, build, X, last=False)
