"""A mask that is kept as a weight holds minus infinity: planned, moved and judged like any other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import parity
from parity.numerics.moved_weights import jittered


class Masked(torch.nn.Module):
    """A row of scores, masked above the diagonal."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scores = torch.nn.Linear(4, 4)
        self.register_buffer("mask", torch.triu(torch.full((4, 4), -torch.inf), 1))

    def forward(self, x):
        return (self.scores(x) + self.mask).softmax(-1)


def masked(params, x):
    """The same with params."""
    scores = x @ params["scores"]["kernel"] + params["scores"]["bias"]
    return jax.nn.softmax(scores + params["mask"], -1)


def params_of(module, diagonal=1):
    """The module's weights, converted, and a mask from a diagonal on."""
    return {
        "scores": {
            "kernel": jnp.asarray(module.scores.weight.detach().numpy().T),
            "bias": jnp.asarray(module.scores.bias.detach().numpy()),
        },
        "mask": jnp.asarray(np.triu(np.full((4, 4), -np.inf, np.float32), diagonal)),
    }


X = {"x": np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)}


@pytest.mark.parametrize("wish", ["template", "params"])
def test_a_mask_of_minus_infinity_is_a_weight_like_others(wish):
    module = Masked()
    report = parity.check(Masked(), masked, X, weights=parity.Weights(**{wish: params_of(module)}))
    assert report.verdict is parity.Verdict.PASS, str(report)


def test_a_mask_off_by_one_is_a_wrong_weight():
    weights = parity.Weights(params=params_of(Masked(), 2))
    report = parity.check(Masked(), masked, X, weights=weights)
    assert report.verdict is parity.Verdict.FAIL
    (wrong,) = report.failures("weights")
    assert "mask" in wrong.name
    assert wrong.rho == np.inf


def test_infinities_stay_and_their_neighbours_move():
    held = np.array([-np.inf, 0.5, np.inf], np.float32)
    moved = jittered({"w": held})["w"]
    assert moved[0] == -np.inf
    assert moved[2] == np.inf
    assert np.isfinite(moved[1])
    assert moved[1] != 0.5
