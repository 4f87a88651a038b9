"""Places and causes that were missing or false."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen
from torch import nn

from parity.report.divergences import once_each
from parity.report.kinds import CauseKind, Stage
from tests.cases.declare import cause, faulty_report, first, lines, only, require_pass, right_report, twins
from tests.kit.conversion import dense, norm
from tests.kit.inputs import integers, normal
from tests.kit.pairs import Pair
from tests.kit.weights import Arrays, randomise, shapes

pytestmark = pytest.mark.filterwarnings("ignore")


def affine(params: Any, x: jax.Array) -> jax.Array:
    return x @ params["kernel"] + params["bias"]


def residual_params(t: Arrays) -> Any:
    def block(name: str) -> Any:
        norms = {n: norm(t, f"{name}.{n}") for n in ("before", "after")}
        return norms | {n: dense(t, f"{name}.{n}") for n in ("mix", "up", "down")}

    return {"one": block("one"), "two": block("two"), "head": dense(t, "head")}


@twins(residual_params)
def residual(faulty: bool) -> Pair:
    """Residual blocks with another library's defaults: its epsilon, and its form of GELU behind it."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = nn.LayerNorm(6, eps=1e-6), nn.LayerNorm(6, eps=1e-6)
            self.mix, self.up, self.down = nn.Linear(6, 6), nn.Linear(6, 10), nn.Linear(10, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x + self.mix(self.before(x))
            return x + self.down(nn.functional.gelu(self.up(self.after(x))))

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = Block(), Block(), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.two(self.one(x)))

    epsilon = 1e-5 if faulty else 1e-6

    def normalised(params: Any, x: jax.Array) -> jax.Array:
        centred = x - x.mean(-1, keepdims=True)
        centred /= jnp.sqrt(x.var(-1, keepdims=True) + epsilon)  # FAULT: residual
        return centred * params["scale"] + params["bias"]

    def block(params: Any, x: jax.Array) -> jax.Array:
        x = x + affine(params["mix"], normalised(params["before"], x))
        h = affine(params["up"], normalised(params["after"], x))
        h = jax.nn.gelu(h, approximate=faulty)  # FAULT: residual
        return x + affine(params["down"], h)

    def port(params: Any, x: jax.Array) -> jax.Array:
        return affine(params["head"], block(params["two"], block(params["one"], x)))

    vectors = {"scale": (6,), "bias": (6,)}
    layer = {"kernel": (6, 6), "bias": (6,)}
    up, down = {"kernel": (6, 10), "bias": (10,)}, {"kernel": (10, 6), "bias": (6,)}
    one = {"before": vectors, "after": vectors, "mix": layer, "up": up, "down": down}
    template = shapes({"one": one, "two": one, "head": {"kernel": (6, 3), "bias": (3,)}})
    return Pair(randomise(Residual()), port, {"x": normal(4, 6)}, template=template)


@pytest.mark.whole
def test_residual_blocks_pass() -> None:
    require_pass(right_report(residual))


@pytest.mark.whole
def test_two_causes_between_two_matches_are_both_named_once() -> None:
    report = faulty_report(residual)
    first(report)
    faults = [fault[0] for fault in once_each(report.divergences)]
    assert {lines(fault)[0] for fault in faults} == residual.fault
    assert sorted(cause(fault).name for fault in faults) == [CauseKind.ACTIVATION, CauseKind.EPSILON]


TURNS = 100.0 ** -(np.arange(3) / 3)


def attending_params(t: Arrays) -> Any:
    kernels = {name: t[f"attend.{name}.weight"].T for name in ("query", "key", "value", "out")}
    scales = {name: t[f"attend.{name}.weight"] for name in ("query_norm", "key_norm")}
    return {"attend": kernels | scales, "head": dense(t, "head")}


@twins(attending_params)
def turned_before_normalised(faulty: bool) -> Pair:
    """Queries and keys are normalised, then turned by their positions; the faulty port turns them first."""

    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)

    def turned(x: torch.Tensor) -> torch.Tensor:
        angles = torch.outer(torch.arange(x.shape[2]).to(x.dtype), torch.tensor(TURNS, dtype=x.dtype))
        even, odd = x.tensor_split(2, -1)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([even * cos - odd * sin, odd * cos + even * sin], -1)

    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key = nn.Linear(12, 12, bias=False), nn.Linear(12, 12, bias=False)
            self.value, self.out = nn.Linear(12, 12, bias=False), nn.Linear(12, 12, bias=False)
            self.query_norm, self.key_norm = Root(), Root()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = (f(x).unflatten(-1, (2, 6)).transpose(1, 2) for f in (self.query, self.key, self.value))
            q, k = turned(self.query_norm(q)), turned(self.key_norm(k))
            weights = (q @ k.mT / 6**0.5).softmax(-1)
            return self.out((weights @ v).transpose(1, 2).flatten(2))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend, self.head = Attend(), nn.Linear(12, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x + self.attend(x))

    def root(x: jax.Array, scale: jax.Array) -> jax.Array:
        return scale * x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)

    def turn(x: jax.Array) -> jax.Array:
        angles = jnp.outer(jnp.arange(x.shape[2]).astype(x.dtype), jnp.asarray(TURNS, x.dtype))
        even, odd = jnp.split(x, 2, -1)
        cos, sin = jnp.cos(angles), jnp.sin(angles)
        return jnp.concatenate([even * cos - odd * sin, odd * cos + even * sin], -1)

    def port(params: Any, x: jax.Array) -> jax.Array:
        p = params["attend"]
        q, k, v = (
            (x @ p[name]).reshape(*x.shape[:2], 2, 6).swapaxes(1, 2) for name in ("query", "key", "value")
        )
        if faulty:
            q = root(turn(q), p["query_norm"])  # FAULT: turned_before_normalised
            k = root(turn(k), p["key_norm"])  # FAULT: turned_before_normalised
        else:
            q, k = turn(root(q, p["query_norm"])), turn(root(k, p["key_norm"]))
        h = (jax.nn.softmax(q @ k.swapaxes(2, 3) / 6**0.5) @ v).swapaxes(1, 2).reshape(x.shape)
        return affine(params["head"], x + h @ p["out"])

    attend = dict.fromkeys(("query", "key", "value", "out"), (12, 12))
    template = {
        "attend": attend | {"query_norm": (6,), "key_norm": (6,)},
        "head": {"kernel": (12, 4), "bias": (4,)},
    }
    return Pair(randomise(Net()), port, {"x": normal(2, 5, 12)}, template=shapes(template))


@pytest.mark.whole
def test_attention_that_normalises_and_turns_passes() -> None:
    require_pass(right_report(turned_before_normalised))


@pytest.mark.whole
def test_the_order_of_two_operations_is_placed_where_they_are_called() -> None:
    fault = first(faulty_report(turned_before_normalised))
    assert lines(fault)[0] in turned_before_normalised.fault


@pytest.mark.whole
def test_the_order_of_two_operations_is_no_missing_term() -> None:
    report = faulty_report(turned_before_normalised)
    first(report)
    assert {d.cause.name for d in report.divergences if d.cause} <= {CauseKind.ORDER}


def routed_params(t: Arrays) -> Any:
    experts = {"gate": t["experts.gate"].T, "correction": t["experts.correction"]}
    return {
        "inner": dense(t, "inner"),
        "experts": experts | {"up": t["experts.up"], "down": t["experts.down"]},
        "outer": dense(t, "outer"),
    }


@twins(routed_params)
def routed(faulty: bool) -> Pair:
    """A router whose correction bias chooses experts, and is no part of their weights."""

    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Parameter(torch.zeros(5, 6))
            self.register_buffer("correction", torch.zeros(5))
            self.up, self.down = nn.Parameter(torch.zeros(5, 6, 4)), nn.Parameter(torch.zeros(5, 4, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = (x @ self.gate.mT).sigmoid()
            chosen = (scores + self.correction).topk(2).indices
            shares = scores.gather(-1, chosen)
            shares = 1.5 * shares / shares.sum(-1, keepdim=True)
            shares = torch.zeros_like(scores).scatter(-1, chosen, shares)
            h = torch.einsum("nd,edh->neh", x, self.up).tanh()
            return torch.einsum("neh,ehd,ne->nd", h, self.down, shares)

    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.experts, self.outer = nn.Linear(4, 6), Experts(), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.inner(x)
            return self.outer(h + self.experts(h))

    def port(params: Any, x: jax.Array) -> jax.Array:
        h, p = affine(params["inner"], x), params["experts"]
        scores = jax.nn.sigmoid(h @ p["gate"])
        corrected = scores + p["correction"]
        best, chosen = jax.lax.top_k(corrected, 2)
        if faulty:
            shares = best  # FAULT: routed
        else:
            shares = jnp.take_along_axis(scores, chosen, -1)
        shares = 1.5 * shares / shares.sum(-1, keepdims=True)  # USE: routed
        shares = jnp.zeros_like(scores).at[jnp.arange(len(x))[:, None], chosen].set(shares)
        each = jnp.tanh(jnp.einsum("nd,edh->neh", h, p["up"]))
        return affine(params["outer"], h + jnp.einsum("neh,ehd,ne->nd", each, p["down"], shares))

    experts = {"gate": (6, 5), "correction": (5,), "up": (5, 6, 4), "down": (5, 4, 6)}
    template = {
        "inner": {"kernel": (4, 6), "bias": (6,)},
        "experts": experts,
        "outer": {"kernel": (6, 3), "bias": (3,)},
    }
    return Pair(randomise(Routed()), port, {"x": normal(6, 4)}, template=shapes(template))


def test_a_router_with_a_correction_passes() -> None:
    require_pass(right_report(routed))


def test_scores_read_with_a_correction_are_placed() -> None:
    fault = only(faulty_report(routed))
    assert lines(fault)[0] in routed.use
    assert fault.reference[0].module.startswith("experts")


def test_scores_read_with_a_correction_are_told_from_those_without() -> None:
    found = cause(first(faulty_report(routed)))
    assert found.name is not CauseKind.MISSING_TERM
    assert "correction" in found.text
    assert not [name for name in ("scatter", "zeros_like", "topk") if name in found.text]


@twins(lambda t: {"inner": dense(t, "critic.0"), "outer": dense(t, "critic.2")})
def advantages(faulty: bool) -> Pair:
    """Advantages, summed backwards in time; the faulty port reads the ends of the episodes a step late."""

    class Advantages(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.critic = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))

        def forward(self, state: torch.Tensor, reward: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
            value, going = self.critic(state)[..., 0], 1 - ended.to(state.dtype)
            found = [torch.zeros_like(value[0])]
            for t in range(len(reward) - 1, -1, -1):
                surprise = reward[t] + 0.95 * going[t] * value[t + 1] - value[t]
                found.append(surprise + 0.95 * 0.8 * going[t] * found[-1])
            return torch.stack(found[:0:-1])

    def port(params: Any, state: jax.Array, reward: jax.Array, ended: jax.Array) -> jax.Array:
        value = affine(params["outer"], jnp.tanh(affine(params["inner"], state)))[..., 0]
        going = 1 - ended.astype(state.dtype)
        if faulty:
            going = jnp.concatenate([going[1:], going[-1:]])  # FAULT: advantages

        def back(later: jax.Array, at: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
            reward, going, value, following = at
            surprise = reward + 0.95 * going * following - value  # USE: advantages
            found = surprise + 0.95 * 0.8 * going * later  # USE: advantages
            return found, found

        steps = (reward, going, value[:-1], value[1:])
        return jax.lax.scan(back, jnp.zeros_like(value[0]), steps, reverse=True)[1]  # USE: advantages

    template = {"inner": {"kernel": (4, 6), "bias": (6,)}, "outer": {"kernel": (6, 1), "bias": (1,)}}
    ended = integers(4, 7, 3) == 0
    inputs = {"state": normal(8, 3, 4), "reward": normal(7, 3, seed=3), "ended": ended}
    return Pair(randomise(Advantages()), port, inputs, template=shapes(template))


def test_advantages_pass() -> None:
    require_pass(right_report(advantages))


def test_a_shift_along_the_axis_of_a_scan_is_one_fault() -> None:
    fault = only(faulty_report(advantages))
    assert lines(fault)[0] in advantages.use
    assert cause(fault).name is CauseKind.SHIFT
    assert "axis 0" in cause(fault).text


def contrast_params(t: Arrays) -> Any:
    return {"params": {"left": dense(t, "left"), "right": dense(t, "right"), "bias": t["bias"]}}


@twins(contrast_params)
def contrast(faulty: bool) -> Pair:
    """Two towers with a loss over all pairs: its sum over the batch, where the faulty one takes the mean."""

    class Contrast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(5, 3), nn.Linear(4, 3)
            self.bias = nn.Parameter(torch.zeros(()))

        def forward(self, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
            return self.left(image) @ self.right(text).mT + self.bias

    class Port(linen.Module):
        @linen.compact
        def __call__(self, image: jax.Array, text: jax.Array) -> jax.Array:
            bias = self.param("bias", linen.initializers.zeros, ())
            return linen.Dense(3, name="left")(image) @ linen.Dense(3, name="right")(text).T + bias

    def own(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return -nn.functional.logsigmoid(logits * targets).sum() / len(logits)

    def port(logits: jax.Array, targets: jax.Array) -> jax.Array:
        pairs = -jax.nn.log_sigmoid(logits * targets)
        if faulty:
            return pairs.mean() / len(logits)  # FAULT: contrast
        return pairs.sum() / len(logits)

    model = Port()
    inputs = {"image": normal(5, 5), "text": normal(5, 4, seed=3)}
    return Pair(
        randomise(Contrast()),
        model,
        inputs,
        template=jax.eval_shape(model.init, jax.random.key(0), *inputs.values()),
        targets=2 * np.eye(5, dtype=np.float32) - 1,
        loss=(own, port),
    )


def test_a_loss_of_the_users_own_passes() -> None:
    require_pass(right_report(contrast))


def test_a_fault_in_a_loss_of_the_users_own_is_placed() -> None:
    fault = only(faulty_report(contrast))
    assert lines(fault)[0] in contrast.fault


def test_a_fault_in_a_loss_of_the_users_own_is_one_of_the_loss() -> None:
    report = faulty_report(contrast)
    fault = only(report)
    assert fault.stage is not Stage.GRADIENTS
    assert "the outputs agree, the gradient does not" not in str(report)
    assert cause(fault).name is CauseKind.REDUCTION
    assert "mean" in cause(fault).text
    assert "sum" in cause(fault).text


@twins(lambda t: {"inner": dense(t, "inner"), "outer": dense(t, "outer")})
def pooled_neighbours(faulty: bool) -> Pair:
    """A maximum over the edges of each node, where a node without edges has zero."""

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x: torch.Tensor, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            sent = self.inner(x).sin()[source]
            empty = torch.zeros(len(x), 5, dtype=sent.dtype)
            rows = target[:, None].expand(-1, 5)
            return self.outer(empty.scatter_reduce(0, rows, sent, "amax", include_self=False))

    def port(params: Any, x: jax.Array, source: jax.Array, target: jax.Array) -> jax.Array:
        sent = jnp.sin(affine(params["inner"], x))[source]
        pooled = jax.ops.segment_max(sent, target, num_segments=6)  # FAULT: pooled_neighbours
        if not faulty:
            pooled = jnp.where(jnp.isfinite(pooled), pooled, 0)
        return affine(params["outer"], pooled)  # USE: pooled_neighbours

    template = {"inner": {"kernel": (4, 5), "bias": (5,)}, "outer": {"kernel": (5, 3), "bias": (3,)}}
    inputs = {
        "x": normal(6, 4),
        "source": np.array([0, 1, 2, 3, 4, 5, 1, 3]),
        "target": np.array([2, 2, 0, 4, 0, 4, 4, 1]),
    }
    return Pair(randomise(Pooled()), port, inputs, template=shapes(template))


def test_a_maximum_over_neighbours_passes() -> None:
    require_pass(right_report(pooled_neighbours))


def test_what_fills_an_empty_segment_is_placed() -> None:
    fault = only(faulty_report(pooled_neighbours))
    assert lines(fault)[0] in pooled_neighbours.use


def test_what_fills_an_empty_segment_is_no_activation() -> None:
    fault = only(faulty_report(pooled_neighbours))
    assert cause(fault).name is not CauseKind.ACTIVATION
    assert "threshold" not in cause(fault).text
    assert "inf" in cause(fault).text


@twins(lambda t: dense(t, "inner"))
def error_for_each(faulty: bool) -> Pair:
    """Two outputs: the faulty port has another form of GELU in one, and another size of the other."""

    class Errors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            h = nn.functional.gelu(self.inner(x))
            return {"value": 3 * h, "error": h.square().mean()}

    def port(params: Any, x: jax.Array) -> dict[str, jax.Array]:
        h = affine(params, x)
        h = jax.nn.gelu(h, approximate=faulty)  # FAULT: error_for_each
        error = jnp.square(h).mean(-1) if faulty else jnp.square(h).mean()
        return {"value": 3 * h, "error": error}

    template = shapes({"kernel": (5, 3), "bias": (3,)})
    return Pair(randomise(Errors()), port, {"x": normal(4, 5)}, template=template)


def test_two_outputs_of_the_same_sizes_pass() -> None:
    require_pass(right_report(error_for_each))


def test_an_output_of_another_size_hides_no_place() -> None:
    fault = first(faulty_report(error_for_each))
    assert lines(fault)[0] in error_for_each.fault
    assert cause(fault).name is CauseKind.ACTIVATION


def test_an_output_of_another_size_is_told_with_both_sizes() -> None:
    report = faulty_report(error_for_each)
    (wrong,) = [
        q for q in report.failures("forward", "float64") if (q.name, q.program) == ("error", "candidate")
    ]
    assert "(4,)" in " ".join(wrong.notes)
    assert "()" in " ".join(wrong.notes)
