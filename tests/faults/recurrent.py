"""Recurrent layers: order of gates, double biases, where a gate acts, and what state goes where."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen
from torch import nn

from parity.report.kinds import CauseKind, Stage
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import Arrays, randomise, shapes, weights

LSTM = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
IN_CORE = tuple(f"core.{name}" for name in LSTM)
FLAT = by_table({name: f"core.{name}" for name in LSTM})


class Outputs(nn.Module):
    """All outputs of a recurrent layer, or the state behind the last step of each row."""

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.core(x)[0]


def flat(gates: int, num_in: int = 4, width: int = 5) -> Any:
    """Template with PyTorch's own names and layouts."""
    rows = gates * width
    return shapes({n: (rows, num_in if "ih" in n else width) if "weight" in n else (rows,) for n in LSTM})


def unrolled(step: Callable[..., Any], width: int) -> Callable[..., jax.Array]:
    """Scan `step(params, h, x)` over axis 1 of x, from zeros."""

    def apply(params: Any, x: jax.Array) -> jax.Array:
        def body(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = step(params, h, x)
            return h, h

        start = jnp.zeros((x.shape[0], width), x.dtype)
        return jax.lax.scan(body, start, x.swapaxes(0, 1))[1].swapaxes(0, 1)

    return apply


@fault(
    "R01",
    "LSTM: slices in PyTorch's order i, f, g, o loaded where i, g, f, o is needed",
    cause=CauseKind.GATE_ORDER,
    stage=Stage.WEIGHTS,
    module="core",
    tensors=IN_CORE,
)
def lstm_gate_order(faulty: bool) -> Pair:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        def step(carry: Any, x: jax.Array) -> Any:
            h, c = carry
            gates = jnp.concatenate([x, h], axis=-1) @ params["w"] + params["b"]
            # The weights as PyTorch packs them, i, f, g, o: either they are wrong here or this line is.
            i, g, f, o = jnp.split(gates, 4, axis=-1)  # FAULT: R01
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[0], 4), x.dtype)
        return jax.lax.scan(step, (zeros, zeros), x.swapaxes(0, 1))[1].swapaxes(0, 1)

    model = randomise(Outputs(nn.LSTM(4, 4, batch_first=True)))
    order = (0, 1, 2, 3) if faulty else (0, 2, 1, 3)
    w = {name: array.reshape(4, 4, -1)[list(order)] for name, array in weights(model).items()}
    w_ih, w_hh, b_ih, b_hh = (w[name] for name in IN_CORE)
    params = {
        "w": np.concatenate([w_ih.reshape(16, 4).T, w_hh.reshape(16, 4).T]),
        "b": (b_ih + b_hh).reshape(16),
    }
    return Pair(reference=model, candidate=apply, params=params, inputs={"x": normal(2, 5, 4)})


@fault(
    "R02",
    "LSTM: only one of PyTorch's two biases copied, where the cell needs their sum",
    cause=CauseKind.MISSING_TERM,
    stage=Stage.WEIGHTS,
    module="core",
    tensors=("core.bias_ih_l0", "core.bias_hh_l0"),
    also=(CauseKind.STALE_WEIGHTS,),
)
def lstm_one_bias(faulty: bool) -> Pair:
    class Sequence(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return linen.RNN(linen.OptimizedLSTMCell(5, param_dtype=x.dtype, name="cell"))(x)

    model = randomise(Outputs(nn.LSTM(4, 5, batch_first=True)))
    w_ih, w_hh, b_ih, b_hh = (weights(model)[name] for name in IN_CORE)
    bias = b_hh if faulty else b_ih + b_hh
    cell: dict[str, Arrays] = {}
    for gate, rows in zip("ifgo", np.arange(20).reshape(4, 5), strict=True):
        cell[f"i{gate}"] = {"kernel": w_ih[rows].T}
        cell[f"h{gate}"] = {"kernel": w_hh[rows].T, "bias": bias[rows]}
    return Pair(
        reference=model,
        candidate=Sequence(),
        params={"params": {"cell": cell}},
        inputs={"x": normal(2, 6, 4)},
    )


@fault(
    "R04",
    "GRU: the candidate's hidden bias is left out",
    cause=CauseKind.MISSING_TERM,
    module="core",
    convert=FLAT,
)
def gru_candidate_bias(faulty: bool) -> Pair:
    def step(params: Any, h: jax.Array, x: jax.Array) -> jax.Array:
        i_r, i_z, i_n = jnp.split(x @ params["weight_ih_l0"].T + params["bias_ih_l0"], 3, axis=-1)
        h_r, h_z, h_n = jnp.split(h @ params["weight_hh_l0"].T, 3, axis=-1)
        b_r, b_z, b_n = jnp.split(params["bias_hh_l0"], 3)
        r = jax.nn.sigmoid(i_r + h_r + b_r)
        z = jax.nn.sigmoid(i_z + h_z + b_z)
        if faulty:
            n = jnp.tanh(i_n + r * h_n)  # FAULT: R04
        else:
            n = jnp.tanh(i_n + r * (h_n + b_n))
        return (1 - z) * n + z * h

    return Pair(
        reference=randomise(Outputs(nn.GRU(4, 5, batch_first=True))),
        candidate=unrolled(step, 5),
        template=flat(3),
        inputs={"x": normal(2, 6, 4)},
    )


@fault(
    "R05",
    "GRU: reset gate applied before the recurrent product, not after it",
    module="core",
    convert=FLAT,
    also=(CauseKind.OPERANDS, CauseKind.RECURRENCE),
)
def gru_reset_before(faulty: bool) -> Pair:
    def step(params: Any, h: jax.Array, x: jax.Array) -> jax.Array:
        w_r, w_z, w_n = jnp.split(params["weight_hh_l0"], 3)
        b_r, b_z, b_n = jnp.split(params["bias_hh_l0"], 3)
        i_r, i_z, i_n = jnp.split(x @ params["weight_ih_l0"].T + params["bias_ih_l0"], 3, axis=-1)
        r = jax.nn.sigmoid(i_r + h @ w_r.T + b_r)
        z = jax.nn.sigmoid(i_z + h @ w_z.T + b_z)
        if faulty:
            n = jnp.tanh(i_n + (r * h) @ w_n.T + b_n)  # FAULT: R05
        else:
            n = jnp.tanh(i_n + r * (h @ w_n.T + b_n))
        return (1 - z) * n + z * h

    return Pair(
        reference=randomise(Outputs(nn.GRU(4, 5, batch_first=True))),
        candidate=unrolled(step, 5),
        template=flat(3),
        inputs={"x": normal(2, 6, 4)},
    )


@fault(
    "R07",
    "GRU: PyTorch's slices r, z, n read as z, r, n",
    cause=CauseKind.GATE_ORDER,
    module="core",
    tensors=IN_CORE,
    also=(CauseKind.OPERANDS,),
)
def gru_gate_order(faulty: bool) -> Pair:
    def step(params: Any, h: jax.Array, x: jax.Array) -> jax.Array:
        i = jnp.split(x @ params["w_ih"] + params["b_ih"], 3, axis=-1)
        j = jnp.split(h @ params["w_hh"] + params["b_hh"], 3, axis=-1)
        if faulty:
            z, r = jax.nn.sigmoid(i[0] + j[0]), jax.nn.sigmoid(i[1] + j[1])  # FAULT: R07
        else:
            r, z = jax.nn.sigmoid(i[0] + j[0]), jax.nn.sigmoid(i[1] + j[1])
        n = jnp.tanh(i[2] + r * j[2])  # FAULT: R07
        return (1 - z) * n + z * h  # FAULT: R07

    model = randomise(Outputs(nn.GRU(4, 4, batch_first=True)))
    w_ih, w_hh, b_ih, b_hh = (weights(model)[name] for name in IN_CORE)
    params = {"w_ih": w_ih.T, "w_hh": w_hh.T, "b_ih": b_ih, "b_hh": b_hh}
    return Pair(
        reference=model,
        candidate=unrolled(step, 4),
        params=params,
        inputs={"x": normal(2, 5, 4)},
    )
