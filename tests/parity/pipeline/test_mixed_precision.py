"""Training in mixed precision: weights in float32, passes in bfloat16 on both sides."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch import nn

import parity
from parity.pipeline.training_contexts import module_within
from parity.report.partings import Phase
from parity.report.verdicts import Verdict

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 16, 4)).astype(np.float32)
Y = RNG.standard_normal((5, 16, 3)).astype(np.float32)
NARROW = jnp.bfloat16


class Net(nn.Module):
    """Two layers, which a loop computes under autocast, and a normalisation in float32 between them."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 16), nn.Linear(16, 3)

    def forward(self, x):
        h = self.first(x).float()
        h = (h - h.mean(-1, keepdim=True)) * torch.rsqrt(h.var(-1, correction=0, keepdim=True) + 1e-5)
        return self.last(h).float()


class CastingNet(Net):
    """The same, under its own autocast."""

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x)


def port(params, x, normalised_in=jnp.float32):
    def dense(name, x):
        held = {kind: leaf.astype(NARROW) for kind, leaf in params[name].items()}
        return x.astype(NARROW) @ held["kernel"] + held["bias"]

    h = dense("first", x).astype(normalised_in)
    mean = h.mean(-1, keepdims=True)
    variance = ((h - mean) ** 2).mean(-1, keepdims=True)
    return dense("last", (h - mean) * jax.lax.rsqrt(variance + 1e-5)).astype(jnp.float32)


def narrow_port(params, x):
    """The fault: the statistics of the normalisation are computed in bfloat16."""
    return port(params, x, NARROW)


def mean_square(out, y):
    return ((out - y) ** 2).mean()


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


def trained(model, optimizer, transformation=None, kind=CastingNet, **options):
    torch.manual_seed(0)
    module = kind()
    leaf = jax.ShapeDtypeStruct
    template = {
        name: {"kernel": leaf((n, m), "float32"), "bias": leaf((m,), "float32")}
        for name, (n, m) in {"first": (4, 16), "last": (16, 3)}.items()
    }
    made = optimizer(module.parameters())
    return parity.check_training(
        module,
        model,
        list(zip(X, Y, strict=True)),
        loss=(mean_square, mean_square),
        optimizer=made if transformation is None else (made, transformation),
        weights=parity.Weights(template=template),
        **options,
    )


def test_mixed_precision_on_both_sides_passes_in_both_dtypes():
    """Roundings to bfloat16 differ between the two frameworks' passes, and training carries that on."""
    for optimizer in (lambda p: torch.optim.SGD(p, lr=0.1), lambda p: torch.optim.Adam(p, lr=0.01)):
        report = trained(port, optimizer)
        assert report.verdict is Verdict.PASS, str(report)
        assert {q.dtype for q in report.quantities if q.group == "weights"} == {"float64", "float32"}


def test_a_wrong_rate_shows_beside_the_roundings():
    report = trained(port, lambda p: torch.optim.SGD(p, lr=0.1), optax.sgd(0.1001))
    assert report.parting is not None
    assert (report.parting.step, report.parting.phase) == (0, Phase.SCHEDULE)


def test_statistics_in_the_narrow_dtype_are_found_with_their_line():
    """In float64 the two are the same function."""
    report = trained(narrow_port, lambda p: torch.optim.SGD(p, lr=0.1))
    assert report.verdict is Verdict.FAIL
    assert report.parting is not None
    assert (report.parting.step, report.parting.phase) == (0, Phase.OUTPUTS)
    assert "round to bfloat16 at different places" in report.parting.cause
    places = [place for one in report.divergences for place in one.candidate]
    assert any(place.file.endswith("test_mixed_precision.py") for place in places)


def test_the_autocast_of_a_loop_is_an_option_and_leaves_the_module_as_it_was():
    seen = []

    def made(parameters):
        return torch.optim.SGD(parameters, lr=0.1)

    class Seen(Net):
        def forward(self, x):
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(x)

    report = trained(port, made, kind=Seen, autocast=autocast())
    assert report.verdict is Verdict.PASS, str(report)
    assert all(seen)
    assert any("both models compute in bfloat16" in finding for finding in report.findings)


def test_what_is_no_autocast_is_named():
    with pytest.raises(TypeError, match="`autocast` is a bool; it must be a context such as"):
        trained(port, lambda p: torch.optim.SGD(p, lr=0.1), autocast=True)


def test_a_module_is_as_it_was_behind_the_context():
    module = Net()
    with module_within(autocast(), module):
        assert module(torch.zeros(1, 4)).dtype is torch.float32
        assert "forward" in vars(module)
    assert "forward" not in vars(module)
