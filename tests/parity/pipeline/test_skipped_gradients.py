"""Weights without a gradient: PyTorch's optimiser skips them, optax sees a zero."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import nn

import parity
from parity.report.partings import Phase
from parity.report.verdicts import Verdict


class _WithUnusedHead(nn.Module):
    """A head that the loss of some steps does not reach."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.other = nn.Linear(4, 5), nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x):
        h = torch.tanh(self.body(x))
        return {"head": self.head(h), "other": self.other(h)}


def _with_unused_head(params, x):
    def layer(name: str, x):
        return x @ params[name]["kernel"] + params[name]["bias"]

    h = jnp.tanh(layer("body", x))
    return {"head": layer("head", h), "other": layer("other", h)}


def _train_with_unused(optimizer, transformation, losses, **options):
    torch.manual_seed(0)
    module = _WithUnusedHead()
    leaf = jax.ShapeDtypeStruct
    sizes = {"body": (4, 5), "head": (5, 3), "other": (5, 3)}
    template = {
        name: {"kernel": leaf((n, m), "float32"), "bias": leaf((m,), "float32")}
        for name, (n, m) in sizes.items()
    }
    rng = np.random.default_rng(3)
    xs, ys = (rng.standard_normal((6, 8, n)).astype(np.float32) for n in (4, 3))
    ys[:, 0, 0] = np.where(np.arange(6) % 2, -1, 1)  # what decides on the loss of a step
    made = optimizer(module.parameters())
    return parity.check_training(
        module,
        _with_unused_head,
        list(zip(xs, ys, strict=True)),
        loss=losses,
        optimizer=made if transformation is None else (made, transformation),
        weights=parity.Weights(template=template),
        settings=parity.Settings(dtypes=["float64"]),
        **options,
    )


def _head_alone(outputs, targets):
    return ((outputs["head"] - targets) ** 2).mean()


def _by_turns_torch(outputs, targets):
    return ((outputs["head" if float(targets[0, 0]) > 0 else "other"] - targets) ** 2).mean()


def _by_turns_jax(outputs, targets):
    chosen = jnp.where(targets[0, 0] > 0, outputs["head"], outputs["other"])
    return jnp.mean((chosen - targets) ** 2)


def test_a_gradient_of_none_is_skipped_and_one_of_zero_decays():
    """PyTorch skips a head that no loss reaches; optax decays it."""
    decayed = {"lr": 0.01, "weight_decay": 0.1}
    report = _train_with_unused(
        lambda p: torch.optim.AdamW(p, **decayed),
        optax.adamw(0.01, weight_decay=0.1),
        (_head_alone, _head_alone),
    )
    assert report.verdict is Verdict.FAIL
    assert report.parting is not None
    assert (report.parting.step, report.parting.phase) == (0, Phase.UPDATE)
    assert "other.bias, other.weight" in report.parting.cause
    assert "None" in report.parting.cause


@pytest.mark.parametrize(
    ("optimizer", "transformation"),
    [
        (lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1), None),
        (lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9), optax.sgd(0.01, 0.9)),
    ],
    ids=["translated", "nothing decays"],
)
def test_a_head_that_no_loss_reaches_is_no_fault(optimizer, transformation):
    """A translated optimiser leaves it alone; without decay it stays in any case."""
    report = _train_with_unused(optimizer, transformation, (_head_alone, _head_alone))
    assert report.verdict is Verdict.PASS, report


def test_a_weight_without_gradient_in_some_steps_is_skipped_there():
    """Its momentum stands still in PyTorch and goes on in optax."""
    report = _train_with_unused(
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        optax.sgd(0.1, 0.9),
        (_by_turns_torch, _by_turns_jax),
    )
    assert report.parting is not None
    assert (report.parting.step, report.parting.phase) == (1, Phase.UPDATE)
    assert "head.bias, head.weight" in report.parting.cause
