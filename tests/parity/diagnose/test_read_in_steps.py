"""What every step of a loop reads: the cause holds in all steps, and is not one step's coincidence."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import named_fault, numbers, report_of

W = {"w": numbers(4, 4), "u": numbers(4, 4), "v": numbers(4)}
X = numbers(7, 5, 4)
Program = Callable[[Any, Any], Any]


def _ends(x: Any) -> Any:
    """Where an episode ends: 0 or 1 per step and row."""
    return x[..., 0] > 0.4


def returns(p: Any, x: torch.Tensor) -> torch.Tensor:
    """Lambda-returns: nothing is passed on over the end of an episode."""
    ends, value, last, out = _ends(x).to(x.dtype), torch.tanh(x @ p["v"]), torch.zeros(5, dtype=x.dtype), []
    for i in reversed(range(7)):
        last = x[i, :, 1] + 0.9 * (1 - ends[i]) * (0.2 * value[i] + 0.8 * last)
        out.append(last)
    return torch.stack(out[::-1])


def returns_over_ends(p: Any, x: jax.Array) -> jax.Array:
    """The same without the factor."""

    def step(last: jax.Array, read: Any) -> Any:
        reward, _, value = read
        last = reward + 0.9 * (0.2 * value + 0.8 * last)  # FAULT
        return last, last

    read = x[..., 1], _ends(x).astype(x.dtype), jnp.tanh(x @ p["v"])
    return jax.lax.scan(step, jnp.zeros(5, x.dtype), read, reverse=True)[1]


def resets(p: Any, x: torch.Tensor) -> torch.Tensor:
    """A recurrent network whose state starts again at the end of an episode."""
    ends, state, out = _ends(x).to(x.dtype), torch.zeros(5, 4, dtype=x.dtype), []
    for i in range(7):
        state = torch.tanh(x[i] @ p["w"] + (state * (1 - ends[i])[:, None]) @ p["u"])
        out.append(state)
    return torch.stack(out)


def no_resets(p: Any, x: jax.Array) -> jax.Array:
    """The same without."""

    def step(state: jax.Array, read: Any) -> Any:
        x, _ = read
        state = jnp.tanh(x @ p["w"] + state @ p["u"])  # FAULT
        return state, state

    return jax.lax.scan(step, jnp.zeros((5, 4), x.dtype), (x, _ends(x).astype(x.dtype)))[1]


def average(p: Any, x: torch.Tensor) -> torch.Tensor:
    """A gated average: what is new has the rest of the gate."""
    gates, state, out = torch.sigmoid(x @ p["w"]), torch.zeros(5, 4, dtype=x.dtype), []
    for i in range(7):
        state = gates[i] * state + (1 - gates[i]) * x[i]
        out.append(state)
    return torch.stack(out)


def sum_of_all(p: Any, x: jax.Array) -> jax.Array:
    """The same with all of what is new: it agrees in no step, and its first state is the input."""

    def step(state: jax.Array, read: Any) -> Any:
        gate, x = read
        state = gate * state + x  # FAULT
        return state, state

    return jax.lax.scan(step, jnp.zeros((5, 4), x.dtype), (jax.nn.sigmoid(x @ p["w"]), x))[1]


def traces(p: Any, x: torch.Tensor) -> torch.Tensor:
    """V-trace: its own factor for what is passed on."""
    passed, own = torch.sigmoid(x @ p["v"]), torch.exp(x[..., 1]).clamp(max=1.0)
    last, out = torch.zeros(5, dtype=x.dtype), []
    for i in reversed(range(6)):
        last = own[i] * (x[i, :, 3] + 0.9 * x[i + 1, :, 2] - x[i, :, 2]) + 0.9 * passed[i] * last
        out.append(last)
    return torch.stack(out[::-1])


def traces_of_one_factor(p: Any, x: jax.Array) -> jax.Array:
    """The same with one factor for both."""
    passed, own = jax.nn.sigmoid(x @ p["v"]), jnp.minimum(jnp.exp(x[..., 1]), 1.0)
    deltas = own[:6] * (x[:6, :, 3] + 0.9 * x[1:, :, 2] - x[:6, :, 2])

    def step(last: jax.Array, read: Any) -> Any:
        delta, _, own = read
        last = delta + 0.9 * own * last  # FAULT
        return last, last

    return jax.lax.scan(step, jnp.zeros(5, x.dtype), (deltas, passed[:6], own[:6]), reverse=True)[1]


def opacity(p: Any, x: torch.Tensor) -> torch.Tensor:
    """Volume rendering: what light is left before a sample weighs it."""
    alpha, left, out = torch.sigmoid(x[..., 0]), torch.ones(5, dtype=x.dtype), []
    for i in range(7):
        out.append((alpha[i] * left)[:, None] * x[i])
        left = left * (1 - alpha[i])
    return torch.stack(out)


def opacity_behind(p: Any, x: jax.Array) -> jax.Array:
    """The same with what is left behind the sample."""

    def step(left: jax.Array, read: Any) -> Any:
        alpha, x = read
        left = left * (1 - alpha)
        return left, (alpha * left)[:, None] * x  # FAULT

    return jax.lax.scan(step, jnp.ones(5, x.dtype), (jax.nn.sigmoid(x[..., 0]), x))[1]


def peephole(p: Any, x: torch.Tensor) -> torch.Tensor:
    """A gate that looks at the new state."""
    state, shown, out = torch.zeros(5, 4, dtype=x.dtype), torch.zeros(5, 4, dtype=x.dtype), []
    for i in range(7):
        state = 0.9 * state + torch.tanh(x[i] + shown @ p["w"])
        shown = torch.sigmoid(x[i] @ p["u"] + p["v"] * state) * torch.tanh(state)
        out.append(shown)
    return torch.stack(out)


def peephole_on_the_old_state(p: Any, x: jax.Array) -> jax.Array:
    """The same with a gate that looks before the state is new."""

    def step(carried: Any, x: jax.Array) -> Any:
        state, shown = carried
        gate = jax.nn.sigmoid(x @ p["u"] + p["v"] * state)  # FAULT
        state = 0.9 * state + jnp.tanh(x + shown @ p["w"])
        shown = gate * jnp.tanh(state)
        return (state, shown), shown

    return jax.lax.scan(step, (jnp.zeros((5, 4), x.dtype),) * 2, x)[1]


def skips(p: Any, x: torch.Tensor) -> torch.Tensor:
    """A network that adds up what its blocks compute, without a loop in the program."""
    total: Any = 0.0
    for name in ("w", "u"):
        inner = torch.tanh(x @ p[name])
        total = total + inner * p["v"]
        x = x + inner
    return total


def skips_of_sums(p: Any, x: jax.Array) -> jax.Array:
    """The same with the sums added up."""
    total: Any = 0.0
    for name in ("w", "u"):
        inner = jnp.tanh(x @ p[name])
        x = x + inner
        total = total + x * p["v"]  # FAULT
    return total


def chain(p: Any, x: torch.Tensor) -> torch.Tensor:
    """A hidden Markov model: from every state to every other."""
    passed, state = torch.log_softmax(p["w"], 1), x[0]
    out = [state]
    for i in range(1, 7):
        state = torch.logsumexp(state[:, :, None] + passed, 1) + x[i]
        out.append(state)
    return torch.stack(out)


def chain_backwards(p: Any, x: jax.Array) -> jax.Array:
    """The same with the transitions read the other way round."""
    passed = jax.nn.log_softmax(p["w"], axis=1)

    def step(state: jax.Array, x: jax.Array) -> Any:
        state = jax.nn.logsumexp(state[:, None] + passed, axis=2) + x  # FAULT
        return state, state

    return jnp.concatenate([x[:1], jax.lax.scan(step, x[0], x[1:])[1]])


def spread(p: Any, x: torch.Tensor) -> torch.Tensor:
    """Messages along a weighted graph that depends on the data."""
    graph, out = torch.sigmoid(x[0, :4] @ p["w"]), []
    state = x[1, :4]
    for _ in range(3):
        state = torch.tanh(graph @ state)
        out.append(state)
    return torch.stack(out)


def spread_against(p: Any, x: jax.Array) -> jax.Array:
    """The same against the direction of the edges."""
    graph = jax.nn.sigmoid(x[0, :4] @ p["w"])

    def step(state: jax.Array, _: None) -> Any:
        state = jnp.tanh(jnp.einsum("ji,jk->ik", graph, state))  # FAULT
        return state, state

    return jax.lax.scan(step, x[1, :4], None, length=3)[1]


@pytest.mark.parametrize(
    ("reference", "candidate", "kind", "said"),
    [
        (returns, returns_over_ends, CauseKind.MISSING_TERM, "by 1 minus the gt of line"),
        (resets, no_resets, CauseKind.MISSING_TERM, "by 1 minus the gt of line"),
        (average, sum_of_all, CauseKind.MISSING_TERM, "by 1 minus the logistic of line"),
        (traces, traces_of_one_factor, CauseKind.OPERANDS, "the logistic of line"),
        (opacity, opacity_behind, CauseKind.OPERANDS, "of the step before"),
        (peephole, peephole_on_the_old_state, CauseKind.OPERANDS, "of the step before where"),
        (skips, skips_of_sums, CauseKind.OPERANDS, "each time"),
        (chain, chain_backwards, CauseKind.ORDER, "with its last two axes exchanged"),
    ],
    ids=[
        "a factor",
        "a state's factor",
        "a factor everywhere",
        "another value",
        "the state before",
        "the state behind",
        "blocks",
        "transitions",
    ],
)
def test_what_every_step_lacks_is_named(
    reference: Program, candidate: Program, kind: CauseKind, said: str
) -> None:
    """One fault, at its line, with a change that mends the outputs."""
    report = report_of(reference, candidate, W, X)
    assert len(report.divergences) == 1, report
    cause = named_fault(report)
    assert cause.name is kind, cause
    assert said in cause.text, cause
    assert "every step" in cause.text or "each time" in cause.text, cause
    assert cause.whole, cause


def test_edges_read_against_their_direction_are_named() -> None:
    """A product has a cause of its own, which says which axes it sums over."""
    cause = named_fault(report_of(spread, spread_against, W, X))
    assert cause.whole, cause
    assert "(1, 0)" in cause.text or "exchanged" in cause.text or "transposed" in cause.text, cause


def test_a_sum_that_other_steps_need_is_not_too_many() -> None:
    """Where a single number is passed on, a sum times 0 is no sum that is left out."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        value, last, out = torch.tanh(x[:, 0] @ p["v"]), torch.zeros((), dtype=x.dtype), []
        for i in reversed(range(7)):
            last = value[i] + 0.9 * float(i not in (2, 4)) * last
            out.append(last)
        return torch.stack(out[::-1])

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        def step(last: jax.Array, value: jax.Array) -> Any:
            last = value + 0.9 * last  # FAULT
            return last, last

        values = jnp.tanh(x[:, 0] @ p["v"])
        return jax.lax.scan(step, jnp.zeros((), x.dtype), values, reverse=True)[1]

    report = report_of(reference, candidate, W, X)
    assert report.divergences, report
    assert "# FAULT" in report.divergences[0].candidate[0].code, report
    causes = [d.cause.text for d in report.divergences if d.cause is not None]
    assert not [text for text in causes if "leave it out" in text or "use 0" in text], causes


def test_an_operation_that_one_layer_does_not_need_is_too_many() -> None:
    """Code that runs once per layer may be too much for the last of them."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        for name in ("w", "u"):
            x = torch.tanh(x @ p[name])
            x = x if name == "u" else x.relu()
        return x

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        for name in ("w", "u"):
            x = jax.nn.relu(jnp.tanh(x @ p[name]))  # FAULT
        return x

    report = report_of(reference, candidate, W, np.asarray(X))
    first = report.divergences[0]
    assert first.cause is not None, report
    assert first.cause.name is CauseKind.ACTIVATION, first.cause


def decoded(p: Any, x: torch.Tensor) -> torch.Tensor:
    """Scores of what is left to choose, by a state that is updated first; the last choice is taken out."""
    state, left, out = x[0, :, :], torch.ones(5, 7, dtype=torch.bool), []
    for i in range(4):
        state = torch.tanh(state @ p["w"] + x[i])
        scores = torch.tanh(torch.einsum("sbd,bd->bs", x, state @ p["u"]))
        out.append(torch.log_softmax(scores.masked_fill(~left, -1e9), dim=-1)[:, 5])
        left = left & (torch.arange(7) != i)
    return torch.stack(out)


def test_a_state_of_the_run_before_is_named_though_later_ones_agree() -> None:
    """Made of an older state, every value is what the reference has a step ago, up to what is masked."""

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        state, left, out = x[0], jnp.ones((5, 7), bool), []
        for i in range(4):
            new = jnp.tanh(state @ p["w"] + x[i])
            query = state @ p["u"]  # FAULT
            scores = jnp.tanh(jnp.einsum("sbd,bd->bs", x, query))
            out.append(jax.nn.log_softmax(jnp.where(left, scores, -1e9))[:, 5])
            left = left & (jnp.arange(7) != i)
            state = new
        return jnp.stack(out)

    report = report_of(decoded, candidate, {name: 0.5 * W[name] for name in ("w", "u")}, X)
    assert len(report.divergences) == 1, report
    cause = named_fault(report)
    assert cause.name is CauseKind.OPERANDS, cause
    assert "of the run before" in cause.text, cause


def scaled(p: Any, x: torch.Tensor) -> torch.Tensor:
    """Rows and columns of a plan of transport, scaled in turn."""
    cost = (x[:, 0] @ p["w"]) @ (x[:, 1] @ p["u"]).T
    rows = columns = torch.zeros(7, dtype=x.dtype)
    for _ in range(4):
        rows = -torch.logsumexp(cost + columns[None], dim=1)
        columns = -torch.logsumexp(cost + rows[:, None], dim=0)
    return (cost + rows[:, None] + columns[None]).exp() * cost


def test_a_state_that_is_read_before_its_update_from_the_first_step_on() -> None:
    """Two sequences run beside each other then, each the reference's half a step behind."""

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        cost = (x[:, 0] @ p["w"]) @ (x[:, 1] @ p["u"]).T

        def step(_: int, state: Any) -> Any:
            rows, columns = state
            new = -jax.nn.logsumexp(cost + columns[None], axis=1)
            columns = -jax.nn.logsumexp(cost + rows[:, None], axis=0)  # FAULT
            return new, columns

        zeros = jnp.zeros(7, x.dtype)
        rows, columns = jax.lax.fori_loop(0, 4, step, (zeros, zeros))
        return jnp.exp(cost + rows[:, None] + columns[None]) * cost

    report = report_of(scaled, candidate, {name: W[name] for name in ("w", "u")}, X)
    assert len(report.divergences) == 1, report
    cause = named_fault(report)
    assert cause.name is CauseKind.OPERANDS, cause
    assert "of the step before" in cause.text, cause


def filtered(p: Any, x: torch.Tensor) -> torch.Tensor:
    """A causal filter of its own for each channel."""
    padded = torch.nn.functional.pad(x.permute(1, 2, 0), (3, 0))
    return torch.tanh(torch.nn.functional.conv1d(padded, p["w"].T[:, None], groups=4)) @ x[:, 0]


def test_taps_that_are_read_from_the_other_end() -> None:
    def candidate(p: Any, x: jax.Array) -> jax.Array:
        padded = jnp.pad(x.transpose(1, 2, 0), ((0, 0), (0, 0), (3, 0)))
        taps = sum(padded[..., i : i + 7] * p["w"][3 - i][:, None] for i in range(4))  # FAULT
        return jnp.tanh(taps) @ x[:, 0]

    cause = named_fault(report_of(filtered, candidate, {"w": W["w"]}, X))
    assert cause.name is CauseKind.ORDER, cause
    assert "in the opposite order in PyTorch" in cause.text, cause
