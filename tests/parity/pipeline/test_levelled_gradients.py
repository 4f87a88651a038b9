"""Gradients that are zero but for rounding: chance moves nothing, and what else moves weights is judged."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import parity

TEMPLATE = {
    "first": {"kernel": jnp.zeros((4, 6)), "bias": jnp.zeros(6)},
    "scale": jnp.zeros(6),
    "shift": jnp.zeros(6),
    "last": {"kernel": jnp.zeros((6, 2)), "bias": jnp.zeros(2)},
}
BIAS_ALONE = {
    "first": {"kernel": False, "bias": True},
    "scale": False,
    "shift": False,
    "last": {"kernel": False, "bias": False},
}


def port(params: Any, x: jax.Array) -> jax.Array:
    hidden = x @ params["first"]["kernel"] + params["first"]["bias"]
    hidden = (hidden - hidden.mean(0)) / jnp.sqrt(hidden.var(0) + 1e-5)
    hidden = jnp.tanh(hidden * params["scale"] + params["shift"])
    return hidden @ params["last"]["kernel"] + params["last"]["bias"]


def squared(outputs: Any, targets: Any) -> Any:
    return ((outputs - targets) ** 2).mean()


def trained(torch_optimizer: Any, transformation: optax.GradientTransformation) -> parity.Report:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Tanh(), torch.nn.Linear(6, 2)
    )
    rng = np.random.default_rng(0)
    draw = rng.standard_normal
    return parity.check_training(
        module,
        port,
        [(draw((8, 4)).astype(np.float32), draw((8, 2)).astype(np.float32)) for _ in range(5)],
        loss=(squared, squared),
        optimizer=(torch_optimizer(module.parameters()), transformation),
        weights=parity.Weights(template=TEMPLATE, unused=["1.running_*"]),
    )


OPTIMIZERS = {
    "sgd": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), optax.sgd(0.1, momentum=0.9)),
    "adam": (lambda p: torch.optim.Adam(p, lr=0.01), optax.adam(0.01)),
    "a tiny epsilon": (lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-20), optax.adam(0.01, eps=1e-20)),
}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_bias_before_a_normalisation_moves_alike(name: str) -> None:
    report = trained(*OPTIMIZERS[name])
    assert report.verdict is parity.Verdict.PASS, str(report)
    assert not any("0.bias moves" in line for line in report.not_checked)


DECAYED = {
    "sgd": (
        OPTIMIZERS["sgd"][0],
        optax.chain(optax.add_decayed_weights(0.1, BIAS_ALONE), OPTIMIZERS["sgd"][1]),
    ),
    "adamw": (
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.0),
        optax.adamw(0.01, weight_decay=0.1, mask=BIAS_ALONE),
    ),
}


@pytest.mark.parametrize("name", list(DECAYED))
def test_weight_decay_of_it_is_a_fault(name: str) -> None:
    report = trained(*DECAYED[name])
    assert report.verdict is parity.Verdict.FAIL, str(report)
    assert report.parting is not None
    assert report.parting.step == 0
    assert "weight decay is 0 in PyTorch and 0.1 in JAX, for 0.bias" in report.parting.cause
    assert {q.name for q in report.failures() if q.group == "update"} == {"0.bias"}


def test_an_update_that_is_lost_in_rounding_of_its_weight_hides_nothing() -> None:
    """Of plain gradient descent by step functions: no slot tells that the gradient is rounding alone."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6, track_running_stats=False))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    first, norm = module[0], module[1]
    params = {
        "kernel": jnp.asarray(first.weight.detach().numpy().T),
        "bias": jnp.asarray(first.bias.detach().numpy()),
        "scale": jnp.asarray(norm.weight.detach().numpy()),
        "shift": jnp.asarray(norm.bias.detach().numpy()),
    }

    def torch_step(state: Any, batch: Any) -> Any:
        net, descent = state
        loss = ((net(batch["x"]) - batch["y"]) ** 2).mean()
        descent.zero_grad()
        loss.backward()
        descent.step()
        return {"loss": loss.detach()}

    @jax.jit
    def jax_step(held: Any, batch: Any) -> Any:
        def of(weights: Any) -> Any:
            hidden = batch["x"] @ weights["kernel"] + weights["bias"]
            hidden = (hidden - hidden.mean(0)) / jnp.sqrt(hidden.var(0) + 1e-5)
            return jnp.mean((hidden * weights["scale"] + weights["shift"] - batch["y"]) ** 2)

        loss, grads = jax.value_and_grad(of)(held)
        return jax.tree.map(lambda w, g: w - 0.1 * g, held, grads), {"loss": loss}

    rng = np.random.default_rng(0)
    draw = rng.standard_normal
    batches = [{"x": draw((8, 4)).astype("f"), "y": draw((8, 6)).astype("f")} for _ in range(6)]
    report = parity.check_training(torch_step, jax_step, batches, state=((module, optimizer), params))
    assert report.verdict is parity.Verdict.PASS, str(report)
