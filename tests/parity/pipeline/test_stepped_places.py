"""Step functions of users' own that differ: the line in the step, and the cause."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
import torch
from torch import nn

import parity
from parity.report.partings import Phase
from parity.report.verdicts import Verdict
from tests.parity.pipeline.loops import as_params, drawn, forward, mse, network

STEPS, LR, SHARE, EVERY, DISCOUNT = 7, 0.01, 0.5, 3, 0.9


def check(torch_step: Any, jax_step: Any, states: tuple[Any, Any]) -> parity.Report:
    settings = parity.Settings(dtypes=["float64"])
    return parity.check_training(torch_step, jax_step, drawn(STEPS), state=states, settings=settings)


def torch_values(state: Any, batch: Any) -> Any:
    """Q-learning with a copy of the network that catches up every few steps."""
    net, target, optimizer, count = state
    with torch.no_grad():
        wanted = batch["y"][:, 0] + DISCOUNT * target(batch["x"].flip(0)).max(1).values
    loss = ((net(batch["x"])[:, 0] - wanted) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    count += 1
    if int(count) % EVERY == 0:
        target.load_state_dict(net.state_dict())
    return {"loss": loss.detach()}


def jax_values(*, discount: float = DISCOUNT, every: int = EVERY, read: str = "target") -> Any:
    adam = optax.adam(LR)

    def step(state: Any, batch: Any) -> Any:
        def compute(params: Any) -> Any:
            following = forward({**state, "net": params}[read], batch["x"][::-1])  # FAULT: which network
            wanted = batch["y"][:, 0] + discount * jax.lax.stop_gradient(following.max(1))  # FAULT: discount
            return ((forward(params, batch["x"])[:, 0] - wanted) ** 2).mean()

        loss, grads = jax.value_and_grad(compute)(state["net"])
        updates, kept = adam.update(grads, state["adam"])
        net = optax.apply_updates(state["net"], updates)
        count = state["count"] + 1
        late = count % every == 0  # FAULT: when
        target = jax.tree.map(lambda new, old: jnp.where(late, new, old), net, state["target"])
        return {"net": net, "target": target, "adam": kept, "count": count}, {"loss": loss}

    params = as_params(network())
    state = {"net": params, "target": params, "adam": adam.init(params), "count": jnp.array(0)}
    return jax.jit(step), state


def states_of_values(jax_state: Any) -> tuple[Any, Any]:
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), LR)
    return (net, copy.deepcopy(net), optimizer, torch.tensor(0)), jax_state


def placed(report: parity.Report, phase: Phase, line: str, words: str) -> None:
    """The phase, the marked line of the first divergence, and the cause in the first sentence."""
    assert report.verdict is Verdict.FAIL, str(report)
    assert report.parting is not None
    assert report.parting.phase is phase, str(report)
    codes = [place.code for place in report.divergences[0].candidate]
    assert any(line in code for code in codes), str(report)
    assert words in report.sides.named(report.parting.cause), str(report)


def test_right_loops_have_no_place() -> None:
    step, state = jax_values()
    report = check(torch_values, step, states_of_values(state))
    assert report.verdict is Verdict.PASS, str(report)
    assert report.divergences == ()


@pytest.mark.parametrize(
    ("fault", "phase", "line", "words"),
    [
        (
            {"discount": 0.99},
            Phase.METRICS,
            "# FAULT: discount",
            "the number is 0.99 in JAX and 0.9 in PyTorch",
        ),
        ({"every": EVERY + 1}, Phase.UPDATE, "jnp.where(late", ""),
        ({"read": "net"}, Phase.METRICS, "jnp.tanh", "where those of target belong"),
    ],
    ids=["discount", "every", "network"],
)
def test_the_line_of_a_loop(fault: Any, phase: Phase, line: str, words: str) -> None:
    step, state = jax_values(**fault)
    placed(check(torch_values, step, states_of_values(state)), phase, line, words)


def descended(transformation: Any, net: Any, kept: Any, batch: Any) -> tuple[Any, Any, Any]:
    """One step down the squares: the network, what the optimiser keeps, and the loss."""
    loss, grads = jax.value_and_grad(lambda params: mse(forward(params, batch["x"]), batch["y"]))(net)
    updates, kept = transformation.update(grads, kept)
    return optax.apply_updates(net, updates), kept, loss


def torch_lookahead(state: Any, batch: Any) -> Any:
    net, slow, optimizer, count = state
    loss = mse(net(batch["x"]), batch["y"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    count += 1
    if int(count) % EVERY == 0:
        with torch.no_grad():
            for behind, ahead in zip(slow.parameters(), net.parameters(), strict=True):
                behind += SHARE * (ahead - behind)
                ahead.copy_(behind)
    return {"loss": loss.detach()}


def test_the_share_of_lookahead_is_named() -> None:
    adam = optax.adam(LR)

    @jax.jit
    def step(state: Any, batch: Any) -> Any:
        net, kept, loss = descended(adam, state["net"], state["adam"], batch)
        late = (state["count"] + 1) % EVERY == 0

        def moved(behind: Any, ahead: Any) -> Any:
            return jnp.where(late, behind + 0.8 * (ahead - behind), behind)  # FAULT: share

        slow = jax.tree.map(moved, state["slow"], net)
        net = jax.tree.map(lambda behind, ahead: jnp.where(late, behind, ahead), slow, net)
        return {"net": net, "slow": slow, "adam": kept, "count": state["count"] + 1}, {"loss": loss}

    params = as_params(network())
    state = {"net": params, "slow": params, "adam": adam.init(params), "count": jnp.array(0)}
    report = check(torch_lookahead, step, states_of_values(state))
    placed(report, Phase.UPDATE, "# FAULT: share", "the number is 0.8 in JAX and 0.5 in PyTorch")


def torch_clipped(state: Any, batch: Any) -> Any:
    net, optimizer = state
    loss = mse(net(batch["x"]), batch["y"])
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 0.1)
    optimizer.step()
    return {"loss": loss}


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (optax.clip_by_global_norm(0.2), "is given as many times the gradients; look for clipping"),
        (
            optax.clip_by_global_norm(0.1),
            "divides by the norm + 1e-6 and `optax.clip_by_global_norm` by the norm",
        ),
        (parity.optimizers.clip_grad_norm(0.1), ""),
    ],
    ids=["another-norm", "without-1e-6", "right"],
)
def test_clipping_in_a_step(clip: Any, words: str) -> None:
    chain = optax.chain(clip, optax.adam(LR))

    @jax.jit
    def step(state: Any, batch: Any) -> Any:
        net, kept, loss = descended(chain, state["net"], state["chain"], batch)
        return {"net": net, "chain": kept}, {"loss": loss}

    net = network()
    params = as_params(net)
    states = ((net, torch.optim.Adam(net.parameters(), LR)), {"net": params, "chain": chain.init(params)})
    report = check(torch_clipped, step, states)
    assert report.verdict is (Verdict.FAIL if words else Verdict.PASS), str(report)
    if words:
        assert report.parting is not None
        assert report.parting.phase is Phase.SLOTS
        assert words in report.sides.named(report.parting.cause), str(report)


def test_a_metric_that_is_a_number_of_pythons_says_what_to_do() -> None:
    step, state = jax_values(discount=0.99)

    def with_numbers(torch_state: Any, batch: Any) -> Any:
        return {"loss": torch_values(torch_state, batch)["loss"].item()}

    report = check(with_numbers, step, states_of_values(state))
    assert report.verdict is Verdict.FAIL
    assert report.divergences == ()
    assert any("loss is a number of Python's: return it as an array" in f for f in report.findings), str(
        report
    )
