"""Recurrent layers whose weights are right, and whose state or time axis is not."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from parity.report.kinds import CauseKind
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import Arrays, randomise, shapes


@fault(
    "R08",
    "LSTM: initial (h, c) passed where the cell's carry is (c, h)",
    cause=CauseKind.RECURRENCE,
    module="core",
    convert=by_table(
        {
            "cell/wi": ("core.weight_ih_l0", (1, 0)),
            "cell/wh": ("core.weight_hh_l0", (1, 0)),
            "cell/bi": "core.bias_ih_l0",
            "cell/bh": "core.bias_hh_l0",
        }
    ),
    also=(CauseKind.OPERANDS,),
)
def carry_order(faulty: bool) -> Pair:
    class WithState(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = nn.LSTM(3, 4)

        def forward(self, x: torch.Tensor, h0: torch.Tensor, c0: torch.Tensor) -> torch.Tensor:
            return self.core(x, (h0[None], c0[None]))[0]

    def apply(params: Any, x: jax.Array, h0: jax.Array, c0: jax.Array) -> jax.Array:
        cell = params["cell"]

        def step(carry: Any, x: jax.Array) -> Any:
            c, h = carry
            gates = x @ cell["wi"] + cell["bi"] + h @ cell["wh"] + cell["bh"]  # FAULT: R08
            i, f, g, o = jnp.split(gates, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)  # FAULT: R08
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (c, h), h

        carry = (h0, c0) if faulty else (c0, h0)
        return jax.lax.scan(step, carry, x)[1]  # FAULT: R08

    cell = {"wi": (3, 16), "wh": (4, 16), "bi": (16,), "bh": (16,)}
    inputs = {"x": normal(5, 2, 3), "h0": normal(2, 4, seed=2), "c0": normal(2, 4, seed=3)}
    return Pair(
        reference=randomise(WithState()),
        candidate=apply,
        template=shapes({"cell": cell}),
        inputs=inputs,
    )


def equinox_gru(w: Arrays) -> Arrays:
    """Equinox adds PyTorch's two biases, but for the candidate's hidden one."""
    b_ih, b_hh = w["core.bias_ih_l0"], w["core.bias_hh_l0"]
    return {
        "cell/weight_ih": w["core.weight_ih_l0"],
        "cell/weight_hh": w["core.weight_hh_l0"],
        "cell/bias": b_ih + np.concatenate([b_hh[:10], np.zeros(5, b_hh.dtype)]),
        "cell/bias_n": b_hh[10:],
    }


@fault(
    "R10",
    "final state taken behind the padding, not at length - 1",
    cause=CauseKind.SELECTION,
    convert=equinox_gru,
    also=(CauseKind.SHIFT,),
)
def final_state(faulty: bool) -> Pair:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = nn.GRU(4, 5, batch_first=True)

        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            out = self.core(x)[0]
            return torch.tanh(out[torch.arange(len(out)), lengths - 1])

    class Encoder(eqx.Module):
        cell: eqx.nn.GRUCell

        def __call__(self, x: jax.Array, lengths: jax.Array) -> jax.Array:
            def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
                h = jax.vmap(self.cell)(x, h)
                return h, h

            start = jnp.zeros((x.shape[0], 5), x.dtype)
            _, out = jax.lax.scan(step, start, x.swapaxes(0, 1))
            if faulty:
                last = out[-1]  # FAULT: R10
            else:
                last = out[lengths - 1, jnp.arange(x.shape[0])]
            return jnp.tanh(last)

    return Pair(
        reference=randomise(Last()),
        candidate=Encoder(eqx.nn.GRUCell(4, 5, key=jax.random.key(0))),
        inputs={"x": normal(3, 6, 4), "lengths": np.array([6, 2, 4])},
    )


@fault(
    "R11",
    "time and batch exchanged: a time-major input scanned along its batch",
    cause=CauseKind.AXIS,
    module="core",
    convert=by_table(
        {
            "w_ih": ("core.weight_ih_l0", (1, 0)),
            "w_hh": ("core.weight_hh_l0", (1, 0)),
            "b_ih": "core.bias_ih_l0",
            "b_hh": "core.bias_hh_l0",
        }
    ),
    also=(CauseKind.ORDER,),
)
def time_major(faulty: bool) -> Pair:
    class TimeMajor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = nn.RNN(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.core(x)[0]

    def apply(params: Any, x: jax.Array) -> jax.Array:
        def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = jnp.tanh(x @ params["w_ih"] + params["b_ih"] + h @ params["w_hh"] + params["b_hh"])
            return h, h

        start = jnp.zeros((6, 4), x.dtype)
        if faulty:
            x = x.swapaxes(0, 1)  # FAULT: R11
            return jax.lax.scan(step, start, x)[1].swapaxes(0, 1)  # FAULT: R11
        return jax.lax.scan(step, start, x)[1]

    return Pair(
        reference=randomise(TimeMajor()),
        candidate=apply,
        template=shapes({"w_ih": (3, 4), "w_hh": (4, 4), "b_ih": (4,), "b_hh": (4,)}),
        inputs={"x": normal(6, 6, 3)},
    )


@fault(
    "R13",
    "state not reset where a new episode begins",
    cause=CauseKind.RECURRENCE,
    convert=by_table({name: f"cell.{name}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}),
    also=(CauseKind.MISSING_TERM, CauseKind.MASK),
)
def episode_reset(faulty: bool) -> Pair:
    class Memory(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.RNNCell(3, 4)

        def forward(self, x: torch.Tensor, is_first: torch.Tensor) -> torch.Tensor:
            h, out = x.new_zeros(x.shape[1], 4), []
            for t in range(len(x)):
                h = torch.where(is_first[t, :, None], 0, h)
                h = self.cell(x[t], h)
                out.append(h)
            return torch.stack(out)

    def apply(params: Any, x: jax.Array, is_first: jax.Array) -> jax.Array:
        w_ih, w_hh = params["weight_ih"].T, params["weight_hh"].T

        def step(h: jax.Array, given: Any) -> tuple[jax.Array, jax.Array]:
            x, first = given
            if faulty:
                h = jnp.tanh(x @ w_ih + params["bias_ih"] + h @ w_hh + params["bias_hh"])  # FAULT: R13
            else:
                h = jnp.where(first[:, None], 0, h)
                h = jnp.tanh(x @ w_ih + params["bias_ih"] + h @ w_hh + params["bias_hh"])
            return h, h

        start = jnp.zeros((x.shape[1], 4), x.dtype)
        return jax.lax.scan(step, start, (x, is_first))[1]

    is_first = np.zeros((6, 2), bool)
    is_first[[0, 0, 2, 4], [0, 1, 1, 0]] = True
    return Pair(
        reference=randomise(Memory()),
        candidate=apply,
        template=shapes({"weight_ih": (4, 3), "weight_hh": (4, 4), "bias_ih": (4,), "bias_hh": (4,)}),
        inputs={"x": normal(6, 2, 3), "is_first": is_first},
    )
