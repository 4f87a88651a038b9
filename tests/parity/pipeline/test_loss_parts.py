"""Losses of several parts: each is compared, in `check` and in training; parts of one side alone are said."""

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

RNG = np.random.default_rng(0)
X, Y = (RNG.standard_normal((4, 8, 4)).astype(np.float32) for _ in "xy")
SHAPES = {"encode": (4, 6), "decode": (3, 4)}


class Autoencoder(nn.Module):
    """A variational autoencoder without its noise."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(4, 6), nn.Linear(3, 4)

    def forward(self, x):
        mean, logvar = self.encode(x).chunk(2, 1)
        return {"mean": mean, "logvar": logvar, "y": self.decode(torch.tanh(mean))}


def autoencoder(params, x):
    encoded = x @ params["encode"]["kernel"] + params["encode"]["bias"]
    mean, logvar = jnp.split(encoded, 2, 1)
    return {
        "mean": mean,
        "logvar": logvar,
        "y": jnp.tanh(mean) @ params["decode"]["kernel"] + params["decode"]["bias"],
    }


def torch_parts(out, y):
    divergence = -0.5 * (1 + out["logvar"] - out["mean"] ** 2 - out["logvar"].exp()).sum(1).mean()
    return {"error": ((out["y"] - y) ** 2).mean(), "kl": divergence}


def jax_parts(out, y, over_latents=jnp.sum):
    of_each = 1 + out["logvar"] - out["mean"] ** 2 - jnp.exp(out["logvar"])
    return {"error": jnp.mean((out["y"] - y) ** 2), "kl": -0.5 * over_latents(of_each, 1).mean()}


def averaged_parts(out, y):
    """The fault: the divergence is averaged over the latents (L26)."""
    return jax_parts(out, y, jnp.mean)


def weighted(parts):
    """(sum, parts): the parts as they are logged, numbers of Python in PyTorch."""

    def loss(out, y):
        found = parts(out, y)
        logged = {name: value.item() if hasattr(value, "grad_fn") else value for name, value in found.items()}
        return found["error"] + 0.1 * found["kl"], logged

    return loss


def alone(parts):
    return lambda out, y: sum(parts(out, y).values())


def models():
    torch.manual_seed(0)
    leaf = jax.ShapeDtypeStruct
    template = {
        name: {"kernel": leaf((n, m), "float32"), "bias": leaf((m,), "float32")}
        for name, (n, m) in SHAPES.items()
    }
    return Autoencoder(), {
        "weights": parity.Weights(template=template),
        "settings": parity.Settings(dtypes=["float64"]),
    }


def trained(*losses):
    module, options = models()
    optimizer = (torch.optim.SGD(module.parameters(), lr=0.1), optax.sgd(0.1))
    batches = list(zip(X, Y, strict=True))
    return parity.check_training(module, autoencoder, batches, loss=losses, optimizer=optimizer, **options)


@pytest.mark.parametrize("form", [lambda parts: parts, weighted], ids=["a dict", "a pair"])
def test_parts_that_agree_pass_and_one_that_differs_is_named(form):
    report = trained(form(torch_parts), form(jax_parts))
    assert report.verdict is Verdict.PASS, str(report)
    assert {"loss/error", "loss/kl"} <= {q.name for q in report.quantities}
    report = trained(form(torch_parts), form(averaged_parts))
    assert report.parting is not None
    assert (report.parting.step, report.parting.phase) == (0, Phase.LOSS)
    assert "part kl of JAX is 0.333333 x" in report.parting.cause
    assert report.divergences


def test_parts_of_one_side_alone_are_said():
    report = trained(torch_parts, alone(jax_parts))
    assert report.verdict is Verdict.PASS, str(report)
    assert "parts that the loss of PyTorch alone tells of: loss/error, loss/kl" in str(report)


def test_check_compares_the_parts():
    module, options = models()
    given = {"x": X[0]}
    right, wrong, lone = (
        parity.check(module, autoencoder, given, targets=Y[0], loss=(weighted(torch_parts), other), **options)
        for other in (weighted(jax_parts), weighted(averaged_parts), alone(jax_parts))
    )
    assert right.verdict is Verdict.PASS, str(right)
    failed = {q.name for q in wrong.quantities if q.verdict is Verdict.FAIL and q.group == "loss"}
    assert failed == {"loss", "loss/kl"}
    assert "parts that the loss of PyTorch alone tells of" in str(lone)


def test_an_empty_dict_is_an_error_of_that_side():
    with pytest.raises(TypeError, match="the loss returned an empty dict"):
        trained(lambda out, y: {}, alone(jax_parts))
