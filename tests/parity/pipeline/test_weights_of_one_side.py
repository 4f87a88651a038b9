"""Weights that PyTorch trains and a port has otherwise: as a constant, or as the sum of two."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import nnx
from torch import nn

import parity
from parity.report.partings import Phase
from parity.report.verdicts import Verdict

RNG = np.random.default_rng(4)
TARGETS = RNG.standard_normal((5, 6, 3)).astype(np.float32)


def mean_square(out, y):
    return ((out - y) ** 2).mean()


class Scaled(nn.Module):
    """A linear layer with a scale of its own."""

    def __init__(self):
        super().__init__()
        self.layer, self.scale = nn.Linear(4, 3), nn.Parameter(torch.full((3,), 1.5))

    def forward(self, x):
        return self.scale * self.layer(x)


def test_a_weight_that_the_port_holds_as_a_constant_fails_and_is_named():
    """In outputs, losses and gradients of equal weights nothing shows."""
    torch.manual_seed(0)
    module, leaf = Scaled(), jax.ShapeDtypeStruct
    x = RNG.standard_normal((5, 6, 4)).astype(np.float32)
    report = parity.check_training(
        module,
        lambda params, x: 1.5 * (x @ params["kernel"] + params["bias"]),
        list(zip(x, TARGETS, strict=True)),
        loss=(mean_square, mean_square),
        optimizer=(torch.optim.SGD(module.parameters(), lr=0.1), optax.sgd(0.1)),
        weights=parity.Weights(
            template={"kernel": leaf((4, 3), jnp.float32), "bias": leaf((3,), jnp.float32)}, unused=["scale"]
        ),
        settings=parity.Settings(dtypes=["float64"]),
    )
    assert report.verdict is Verdict.FAIL
    assert report.parting is not None
    assert (report.parting.step, report.parting.phase) == (0, Phase.UPDATE)
    assert "PyTorch trains scale, JAX has no such weight" in report.parting.cause
    assert {q.name for q in report.quantities if q.verdict is Verdict.FAIL} == {"scale"}


class Recurrent(nn.Module):
    """An LSTM, of which PyTorch holds two biases, and a head."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


class RecurrentPort(nnx.Module):
    """Flax's, with one bias."""

    def __init__(self, rngs):
        self.cell = nnx.RNN(nnx.OptimizedLSTMCell(2, 4, rngs=rngs))
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.cell(x)[:, -1])


def trained_recurrent(optimizer, transformation):
    torch.manual_seed(0)
    module = Recurrent()
    x = RNG.standard_normal((5, 6, 3, 2)).astype(np.float32)
    return parity.check_training(
        module,
        RecurrentPort(nnx.Rngs(0)),
        list(zip(x, TARGETS, strict=True)),
        loss=(mean_square, mean_square),
        optimizer=(optimizer(module.parameters()), transformation),
        settings=parity.Settings(dtypes=["float64"]),
    )


def test_two_tensors_that_a_port_holds_as_their_sum_train_otherwise_and_are_named():
    report = trained_recurrent(lambda p: torch.optim.SGD(p, lr=0.1), optax.sgd(0.1))
    assert report.verdict is Verdict.FAIL
    assert report.parting is not None
    assert (report.parting.step, report.parting.phase) == (0, Phase.UPDATE)
    assert "PyTorch trains cell.bias_ih_l0 and cell.bias_hh_l0, JAX their sum" in report.parting.cause


def test_another_fault_beside_them_is_the_one_that_is_named():
    report = trained_recurrent(
        lambda p: torch.optim.SGD(p, lr=0.1, nesterov=True, momentum=0.9), optax.sgd(0.1, 0.9)
    )
    assert report.parting is not None
    assert "Nesterov's momentum is on in PyTorch and off in JAX" in report.parting.cause
