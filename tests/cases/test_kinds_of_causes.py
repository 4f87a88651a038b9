"""Kinds of faults whose cause was missing or false: a right pair of each, and its faulty twin."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from parity.report.kinds import CauseKind, Stage
from tests.cases.declare import Case, cause, faulty_report, first, lines, require_pass, right_report, twins
from tests.kit.conversion import dense
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import Arrays, randomise, shapes

pytestmark = pytest.mark.filterwarnings("ignore")


class Between(nn.Module):
    """Something between two layers."""

    def __init__(self, middle: Callable[..., torch.Tensor], wide: int) -> None:
        super().__init__()
        self.inner, self.outer, self.middle = nn.Linear(5, wide), nn.Linear(wide, 3), middle

    def forward(self, x: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        return self.outer(self.middle(self.inner(x), *more))


def affine(params: Any, x: jax.Array) -> jax.Array:
    return x @ params["kernel"] + params["bias"]


def layers(t: Arrays) -> Any:
    return {name: dense(t, name) for name in ("inner", "outer")}


def between(
    reference: Callable[..., torch.Tensor],
    candidate: Callable[..., jax.Array],
    inputs: dict[str, np.ndarray] | None = None,
    wide: int = 6,
) -> Pair:
    """The same layers on both sides, with what is in question between them."""

    def port(params: Any, x: jax.Array, *more: jax.Array) -> jax.Array:
        return affine(params["outer"], candidate(affine(params["inner"], x), *more))

    template = {"inner": {"kernel": (5, wide), "bias": (wide,)}, "outer": {"kernel": (wide, 3), "bias": (3,)}}
    given = {"x": normal(4, 5)} if inputs is None else inputs
    return Pair(randomise(Between(reference, wide)), port, given, template=shapes(template))


@twins(layers)
def remainder(faulty: bool) -> Pair:
    """The remainder of negative numbers: of the divisor's sign, where the faulty one has the dividend's."""

    def port(h: jax.Array) -> jax.Array:
        if faulty:
            return jax.lax.rem(h, jnp.full_like(h, 0.75))  # FAULT: remainder
        return jnp.remainder(h, 0.75)

    return between(lambda h: torch.remainder(h, 0.75), port)


@twins(layers)
def whole_division(faulty: bool) -> Pair:
    """Integers divided, rounded down; the faulty one rounds to zero."""

    def port(h: jax.Array, buckets: jax.Array) -> jax.Array:
        if faulty:
            shares = jax.lax.div(buckets, jnp.full_like(buckets, 4))  # FAULT: whole_division
        else:
            shares = buckets // 4
        return h * shares[:, None].astype(h.dtype)  # USE: whole_division

    def reference(h: torch.Tensor, buckets: torch.Tensor) -> torch.Tensor:
        return h * (buckets // 4)[:, None]

    return between(reference, port, {"x": normal(6, 5), "buckets": np.array([-7, -3, 2, 9, -1, 5])})


@twins(layers)
def halves(faulty: bool) -> Pair:
    """Halves are rounded to even; the faulty one rounds them up."""

    def port(h: jax.Array, level: jax.Array) -> jax.Array:
        scaled = level / 2
        if faulty:
            steps = jnp.floor(scaled + 0.5)  # FAULT: halves
        else:
            steps = jnp.round(scaled)
        return h * steps[:, None]  # USE: halves

    level = np.array([1, 2, 3, -1, -3, 5], np.float32)
    return between(
        lambda h, level: h * torch.round(level / 2)[:, None], port, {"x": normal(6, 5), "level": level}
    )


@twins(layers)
def pool_filler(faulty: bool) -> Pair:
    """A padded maximum: the border never wins; in the faulty one it is zero."""

    def port(h: jax.Array) -> jax.Array:
        least = 0.0 if faulty else -jnp.inf
        padded = jnp.pad(h, ((0, 0), (1, 1)), constant_values=least)  # FAULT: pool_filler
        window = (1, 3), (1, 1), "VALID"
        return jax.lax.reduce_window(padded, -jnp.inf, jax.lax.max, *window)  # USE: pool_filler

    return between(lambda h: nn.functional.max_pool1d(h - 2, 3, 1, 1), lambda h: port(h - 2))


@twins(layers)
def mask_filler(faulty: bool) -> Pair:
    """Scores that are masked before a softmax; the faulty port sets them to zero."""
    seen = np.array([1, 1, 0, 1, 0, 1], bool)

    def port(h: jax.Array) -> jax.Array:
        if faulty:
            scores = h * seen.astype(h.dtype)  # FAULT: mask_filler
        else:
            scores = jnp.where(seen, h, -jnp.inf)
        return jax.nn.softmax(scores)  # USE: mask_filler

    return between(lambda h: h.masked_fill(~torch.tensor(seen), -torch.inf).softmax(-1), port)


@twins(layers)
def momentum(faulty: bool) -> Pair:
    """The new running mean: the old one decays by 0.9; the faulty one by 0.1."""

    def port(h: jax.Array, running: jax.Array) -> jax.Array:
        if faulty:
            new = 0.1 * running + 0.9 * h.mean(0)  # FAULT: momentum
        else:
            new = 0.9 * running + 0.1 * h.mean(0)
        return h - new  # USE: momentum

    def reference(h: torch.Tensor, running: torch.Tensor) -> torch.Tensor:
        return h - (0.9 * running + 0.1 * h.mean(0))

    return between(reference, port, {"x": normal(4, 5), "running": normal(6, seed=4)})


@twins(layers)
def not_kept(faulty: bool) -> Pair:
    """A row that is set; the faulty port computes the update and drops it."""

    def port(h: jax.Array) -> jax.Array:
        new = h.at[:, 0].set(jnp.tanh(h[:, 1]))
        kept = h if faulty else new
        return jnp.sin(kept)  # FAULT: not_kept

    def reference(h: torch.Tensor) -> torch.Tensor:
        h = h.clone()
        h[:, 0] = h[:, 1].tanh()
        return h.sin()

    return between(reference, port)


def centred(h: torch.Tensor) -> torch.Tensor:
    return nn.functional.layer_norm(h, h.shape[-1:])


def jax_centred(h: jax.Array) -> jax.Array:
    return (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)


@twins(layers)
def after_norm(faulty: bool) -> Pair:
    """A residual branch that is normalised before; the faulty one normalises the sum."""

    def port(h: jax.Array) -> jax.Array:
        if faulty:
            return jax_centred(h + jnp.tanh(h))  # FAULT: after_norm
        return h + jnp.tanh(jax_centred(h))  # USE: after_norm

    return between(lambda h: h + centred(h).tanh(), port)


@twins(layers)
def before_norm(faulty: bool) -> Pair:
    """A sum that is normalised; the faulty port normalises what the branch reads."""

    def port(h: jax.Array) -> jax.Array:
        if faulty:
            return h + jnp.tanh(jax_centred(h))  # FAULT: before_norm
        return jax_centred(h + jnp.tanh(h))

    return between(lambda h: centred(h + h.tanh()), port)


@twins(layers)
def norm_of_branch(faulty: bool) -> Pair:
    """A branch whose result is normalised; the faulty port normalises what it reads."""

    def port(h: jax.Array) -> jax.Array:
        if faulty:
            return h + jnp.sin(2 * jax_centred(h))  # FAULT: norm_of_branch
        return h + jax_centred(jnp.sin(2 * h))

    return between(lambda h: h + centred((2 * h).sin()), port)


@twins(layers)
def parallel(faulty: bool) -> Pair:
    """Two branches, the second of the first's sum; the faulty port has them side by side."""

    def port(h: jax.Array) -> jax.Array:
        mixed = h + jnp.tanh(jax_centred(h))
        read = h if faulty else mixed
        return mixed + jnp.sin(2 * jax_centred(read))  # FAULT: parallel

    def reference(h: torch.Tensor) -> torch.Tensor:
        h = h + centred(h).tanh()
        return h + (2 * centred(h)).sin()

    return between(reference, port)


@twins(layers)
def sequential(faulty: bool) -> Pair:
    """Two branches side by side; in the faulty port the second reads the first's sum."""

    def port(h: jax.Array) -> jax.Array:
        mixed = h + jnp.tanh(jax_centred(h))
        read = mixed if faulty else h
        return mixed + jnp.sin(2 * jax_centred(read))  # FAULT: sequential

    def reference(h: torch.Tensor) -> torch.Tensor:
        return h + centred(h).tanh() + (2 * centred(h)).sin()

    return between(reference, port)


@twins(layers)
def branch_scaled(faulty: bool) -> Pair:
    """A branch that is scaled before the sum; the faulty port scales the sum."""

    def port(h: jax.Array) -> jax.Array:
        if faulty:
            return 0.5 * (h + jnp.tanh(h))  # FAULT: branch_scaled
        return h + 0.5 * jnp.tanh(h)

    return between(lambda h: h + 0.5 * h.tanh(), port)


@twins(layers)
def soft_cap(faulty: bool) -> Pair:
    """Scores that are scaled, then capped softly; the faulty port caps first."""

    def port(h: jax.Array) -> jax.Array:
        if faulty:
            return 0.4 * (5 * jnp.tanh(h / 5))  # FAULT: soft_cap
        return 5 * jnp.tanh(0.4 * h / 5)

    return between(lambda h: 5 * (0.4 * h / 5).tanh(), port)


@twins(layers)
def bins(faulty: bool) -> Pair:
    """Adaptive pooling, whose bins overlap; the faulty port has bins of one size."""

    def port(h: jax.Array) -> jax.Array:
        if faulty:
            pooled = h[:, :6].reshape(-1, 3, 2).mean(-1)  # FAULT: bins
        else:
            pooled = jnp.stack([h[:, 0:3].mean(1), h[:, 2:5].mean(1), h[:, 4:7].mean(1)], 1)
        return jnp.pad(pooled, ((0, 0), (0, 4)))

    def reference(h: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(nn.functional.adaptive_avg_pool1d(h, 3), (0, 4))

    return between(reference, port, wide=7)


@twins(layers)
def bins_of_maps(faulty: bool) -> Pair:
    """Adaptive maxima of a map; in the faulty port the bins of rows do not overlap."""

    def port(h: jax.Array) -> jax.Array:
        ends = [(0, 2), (2, 5)] if faulty else [(0, 3), (2, 5)]
        rows = jnp.stack([h[:, a:b].max(1) for a, b in ends], 1)  # FAULT: bins_of_maps
        columns = [rows[:, :, a:b].max(2) for a, b in ((0, 3), (2, 5), (4, 7))]
        return jnp.pad(jnp.stack(columns, 2), ((0, 0), (0, 0), (0, 4)))  # FAULT: bins_of_maps

    def reference(h: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(nn.functional.adaptive_max_pool2d(h, (2, 3)), (0, 4))

    return between(reference, port, {"x": normal(3, 5, 5)}, wide=7)


@twins(layers)
def normalised_axes(faulty: bool) -> Pair:
    """Normalised over two axes; the faulty port over the last one."""

    def port(h: jax.Array) -> jax.Array:
        axes = (-1,) if faulty else (-2, -1)
        off = h - h.mean(axes, keepdims=True)  # FAULT: normalised_axes
        return off / jnp.sqrt(h.var(axes, keepdims=True) + 1e-5)  # FAULT: normalised_axes

    x = {"x": normal(3, 4, 5)}
    return between(lambda h: nn.functional.layer_norm(h, h.shape[1:]), port, x)


class Recurrent(nn.Module):
    """A GRU of which all states are returned."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cell(x)[0]


def recurrent_params(t: Any) -> Any:
    return {
        "w": t["cell.weight_ih_l0"].T,
        "u": t["cell.weight_hh_l0"].T,
        "b": t["cell.bias_ih_l0"],
        "c": t["cell.bias_hh_l0"],
    }


def recurrent(step: Callable[..., tuple[jax.Array, jax.Array]]) -> Pair:
    """A GRU and a port that scans `step(params, state, input)`."""

    def port(p: Any, x: jax.Array) -> jax.Array:
        start = jnp.zeros((len(x), 4), x.dtype)
        return jax.lax.scan(lambda h, x: step(p, h, x), start, x.swapaxes(0, 1))[1].swapaxes(0, 1)

    template = {"w": (3, 12), "u": (4, 12), "b": (12,), "c": (12,)}
    return Pair(randomise(Recurrent()), port, {"x": normal(2, 3, 3)}, template=shapes(template))


@twins(recurrent_params)
def reset_gate(faulty: bool) -> Pair:
    """A GRU resets after the product with the state's kernel; the faulty port before it."""

    def step(p: Any, h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        given, kept = x @ p["w"] + p["b"], h @ p["u"] + p["c"]
        r = jax.nn.sigmoid(given[:, :4] + kept[:, :4])
        z = jax.nn.sigmoid(given[:, 4:8] + kept[:, 4:8])
        if faulty:
            n = jnp.tanh(given[:, 8:] + (r * h) @ p["u"][:, 8:] + p["c"][8:])  # FAULT: reset_gate
        else:
            n = jnp.tanh(given[:, 8:] + r * kept[:, 8:])
        h = (1 - z) * n + z * h
        return h, h

    return recurrent(step)


MIXING = normal(6, 6, seed=9)


@twins(layers)
def gate_before(faulty: bool) -> Pair:
    """A gate on what a kernel multiplies; the faulty port has it behind the product and its bias."""

    def port(h: jax.Array) -> jax.Array:
        gate = jax.nn.sigmoid(h)
        if faulty:
            return jnp.tanh(gate * (jnp.cos(h) @ MIXING + 0.5))  # FAULT: gate_before
        return jnp.tanh((gate * jnp.cos(h)) @ MIXING + 0.5)

    def reference(h: torch.Tensor) -> torch.Tensor:
        return ((h.sigmoid() * h.cos()) @ torch.tensor(MIXING).to(h) + 0.5).tanh()

    return between(reference, port)


@twins(recurrent_params)
def update_gate(faulty: bool) -> Pair:
    """A GRU's update gate keeps the state; the faulty port's takes the new one."""

    def step(p: Any, h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        given, kept = x @ p["w"] + p["b"], h @ p["u"] + p["c"]
        r = jax.nn.sigmoid(given[:, :4] + kept[:, :4])
        z = jax.nn.sigmoid(given[:, 4:8] + kept[:, 4:8])
        n = jnp.tanh(given[:, 8:] + r * kept[:, 8:])
        if faulty:
            h = z * n + (1 - z) * h  # FAULT: update_gate
        else:
            h = (1 - z) * n + z * h
        return h, h

    return recurrent(step)


@twins(layers)
def within_lengths(faulty: bool) -> Pair:
    """Sequences reversed up to their lengths; the faulty port reverses the filling, too."""
    lengths = np.array([5, 3, 4])

    def port(h: jax.Array) -> jax.Array:
        if faulty:
            turned = h[:, ::-1]  # FAULT: within_lengths
        else:
            at = np.arange(5)[None]
            at = np.where(at < lengths[:, None], lengths[:, None] - 1 - at, at)
            turned = jnp.take_along_axis(h, jnp.asarray(at)[..., None], 1)
        return jnp.cumsum(turned, 1)  # USE: within_lengths

    def reference(h: torch.Tensor) -> torch.Tensor:
        at = torch.arange(5)[None]
        ends = torch.tensor(lengths)[:, None]
        at = torch.where(at < ends, ends - 1 - at, at)
        return h.gather(1, at[..., None].expand(-1, -1, 6)).cumsum(1)

    return between(reference, port, {"x": normal(3, 5, 5)})


@twins(layers)
def split_by_number(faulty: bool) -> Pair:
    """A softmax over each part of size 3; the faulty port has 3 parts."""

    def port(h: jax.Array) -> jax.Array:
        parts = jnp.split(h, 3 if faulty else 4, -1)  # FAULT: split_by_number
        return jnp.concatenate([jax.nn.softmax(part) for part in parts], -1)  # FAULT: split_by_number

    return between(lambda h: torch.cat([p.softmax(-1) for p in h.split(3, -1)], -1), port, wide=12)


@twins(layers)
def plain_log_sum(faulty: bool) -> Pair:
    """A logarithm of a sum of exponentials; the faulty port writes it plainly, and it overflows."""

    def port(h: jax.Array) -> jax.Array:
        h = 900 * h
        if faulty:
            total = jnp.log(jnp.exp(h).sum(-1, keepdims=True))  # FAULT: plain_log_sum
        else:
            total = jax.nn.logsumexp(h, -1, keepdims=True)
        return h / 900 - total / 900  # USE: plain_log_sum

    return between(lambda h: h - torch.logsumexp(900 * h, -1, keepdim=True) / 900, port)


@twins(layers)
def plain_log(faulty: bool) -> Pair:
    """The logarithm of one and little more; the faulty port adds them first."""

    def port(h: jax.Array) -> jax.Array:
        h = 1e-13 * jnp.square(h)
        if faulty:
            return 1e13 * jnp.log(1 + h)  # FAULT: plain_log
        return 1e13 * jnp.log1p(h)

    return between(lambda h: 1e13 * (1e-13 * h.square()).log1p(), port)


@twins(layers, stage=Stage.GRADIENTS)
def detached(faulty: bool) -> Pair:
    """Statistics without a gradient; in the faulty port they have one."""

    def port(h: jax.Array) -> jax.Array:
        largest = jnp.abs(h).mean(0, keepdims=True)
        if not faulty:
            largest = jax.lax.stop_gradient(largest)
        return h / largest  # FAULT: detached

    return between(lambda h: h / h.abs().mean(0, keepdim=True).detach(), port)


CASES: dict[str, tuple[Case, set[CauseKind], tuple[str, ...]]] = {
    case.id: (case, set(kinds), words)
    for case, kinds, words in (
        (remainder, {CauseKind.SELECTION, CauseKind.OPERANDS}, ("sign of the divisor",)),
        (whole_division, {CauseKind.SELECTION}, ("rounds", "down")),
        (halves, {CauseKind.SELECTION}, ("even",)),
        (pool_filler, {CauseKind.PADDING, CauseKind.POOL_MODE, CauseKind.MASK}, ("-inf",)),
        (mask_filler, {CauseKind.MASK}, ("mask",)),
        (momentum, {CauseKind.STATISTICS, CauseKind.OPERANDS}, ("exchanged",)),
        (not_kept, {CauseKind.MISSING_TERM, CauseKind.STALE_WEIGHTS, CauseKind.OPERANDS}, ()),
        (after_norm, {CauseKind.ORDER}, ("normalisation",)),
        (before_norm, {CauseKind.ORDER}, ()),
        (norm_of_branch, {CauseKind.ORDER}, ()),
        (parallel, {CauseKind.OPERANDS}, ()),
        (sequential, {CauseKind.OPERANDS}, ()),
        (branch_scaled, {CauseKind.ORDER, CauseKind.SCALE}, ()),
        (soft_cap, {CauseKind.ORDER}, ()),
        (bins, {CauseKind.POOL_MODE}, ("bins",)),
        (bins_of_maps, {CauseKind.POOL_MODE}, ("bins",)),
        (normalised_axes, {CauseKind.AXIS}, ()),
        (reset_gate, {CauseKind.RECURRENCE}, ()),
        (gate_before, {CauseKind.RECURRENCE}, ("behind", "before")),
        (update_gate, {CauseKind.OPERANDS, CauseKind.RECURRENCE}, ()),
        (within_lengths, {CauseKind.ORDER, CauseKind.MASK}, ()),
        (split_by_number, {CauseKind.ORDER, CauseKind.PACKED_ORDER}, ()),
        (plain_log_sum, {CauseKind.STABILITY}, ("logsumexp",)),
        (plain_log, {CauseKind.STABILITY}, ("log1p",)),
        (detached, {CauseKind.GRADIENT_RULE}, ("stops the gradient",)),
    )
}


@pytest.mark.whole
@pytest.mark.parametrize("case", [case for case, _, _ in CASES.values()], ids=CASES)
def test_the_right_twin_passes(case: Case) -> None:
    require_pass(right_report(case))


@pytest.mark.parametrize("name", CASES)
def test_the_kind_is_named(name: str) -> None:
    case, kinds, words = CASES[name]
    fault = first(faulty_report(case))
    assert lines(fault)[0] in case.use
    found = cause(fault)
    assert found.name in kinds
    assert all(word in found.text for word in words)
