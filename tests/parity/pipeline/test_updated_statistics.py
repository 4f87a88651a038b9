"""Running statistics that a run updates: compared, a fault named, what a library alone decides excused."""

import functools
from typing import Any

import flax.linen as fl
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import parity
from parity.pipeline.arguments import sorted_arguments
from tests.parity.diagnose.diagnosed import numbers

OPTIONS = {"dtypes": ("float64",), "finite_differences": False, "moved_weights": False, "localise": False}
BIASED = "1.running_var: the library on the JAX side keeps the biased variance of a batch"


class Normalised(nnx.Module):
    """A dense layer with normalisation over the batch."""

    def __init__(self, momentum: float = 0.9) -> None:
        self.fc = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
        self.bn = nnx.BatchNorm(3, momentum=momentum, epsilon=1e-5, rngs=nnx.Rngs(0))

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(self.bn(self.fc(x)))


class Linen(fl.Module):
    """The same, in Linen."""

    momentum: float = 0.9

    @fl.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        normalise = fl.BatchNorm(use_running_average=False, momentum=self.momentum, epsilon=1e-5)
        return jnp.tanh(normalise(fl.Dense(3)(x)))


class ByHand(nnx.Module):
    """The same, written out.

    Args:
        unbiased: whether the running variance is that over n - 1, as PyTorch's.
        kept: whether the new statistics are stored.
    """

    def __init__(self, *, unbiased: bool = True, kept: bool = True) -> None:
        self.fc = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
        self.scale, self.bias = nnx.Param(jnp.ones(3)), nnx.Param(jnp.zeros(3))
        self.mean, self.var = nnx.BatchStat(jnp.zeros(3)), nnx.BatchStat(jnp.ones(3))
        self.unbiased, self.kept = unbiased, kept

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.fc(x)
        mean, var = h.mean(0), h.var(0)
        if self.kept:
            still = jax.lax.stop_gradient
            self.mean[...] = 0.9 * self.mean[...] + 0.1 * still(mean)
            self.var[...] = 0.9 * self.var[...] + 0.1 * still(h.var(0, ddof=int(self.unbiased)))
        return jnp.tanh((h - mean) / jnp.sqrt(var + 1e-5) * self.scale[...] + self.bias[...])


def original(*, training: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh()).train(training)


def linen(momentum: float, *, applied: bool) -> dict[str, Any]:
    """A Linen port; `applied`: as the user's own function, which returns the new statistics."""
    module = Linen(momentum)
    variables = module.init(jax.random.key(0), jnp.zeros((2, 4)))
    call = functools.partial(module.apply, mutable=["batch_stats"])
    return {"candidate": (lambda v, x: call(v, x)) if applied else module, "template": variables}


def checked(candidate: object, reference: nn.Module | None = None, **options: Any) -> parity.Report:
    given = {"reference": original() if reference is None else reference, "inputs": (numbers(6, 4),)}
    return parity.check(**sorted_arguments({**OPTIONS, **given, "candidate": candidate, **options}))


def statistics(report: parity.Report) -> dict[str, parity.Verdict]:
    return {q.name.split(" ")[0]: q.verdict for q in report.quantities if q.group == "statistics"}


PORTS = {
    "nnx": lambda momentum: {"candidate": Normalised(momentum)},
    "linen": lambda momentum: linen(momentum, applied=False),
    "linen's own function": lambda momentum: linen(momentum, applied=True),
}


@pytest.mark.parametrize("port", PORTS)
def test_statistics_of_a_library_agree_but_for_its_biased_variance(port: str) -> None:
    report = checked(**PORTS[port](0.9))
    assert report.verdict is parity.Verdict.PASS, str(report)
    assert statistics(report) == {"1.running_mean": parity.Verdict.PASS}
    (finding,) = (line for line in report.findings if line.startswith(BIASED))
    assert "6/5 times as large" in finding
    assert not any("not compared" in line for line in report.findings), report.findings
    assert not any(line.startswith("updated") for line in report.not_checked)


@pytest.mark.parametrize("port", PORTS)
def test_another_momentum_fails_though_outputs_and_gradients_agree(port: str) -> None:
    report = checked(**PORTS[port](0.1))
    assert report.verdict is parity.Verdict.FAIL, str(report)
    assert {q.group for q in report.failures()} == {"statistics"}
    (mean,) = (q for q in report.failures() if "running_mean" in q.name)
    assert mean.notes[0].startswith("JAX moves it 9 x as far as PyTorch: another momentum") or (
        "<candidate> moves it 9 x as far as <reference>: another momentum" in mean.notes[0]
    )


def test_statistics_written_out_are_held_to_their_word() -> None:
    assert checked(ByHand()).verdict is parity.Verdict.PASS
    biased = checked(ByHand(unbiased=False))
    assert statistics(biased) == {
        "1.running_mean": parity.Verdict.PASS,
        "1.running_var": parity.Verdict.FAIL,
    }
    lost = checked(ByHand(kept=False))
    assert set(statistics(lost).values()) == {parity.Verdict.FAIL}
    assert "does not update it: the new statistic is not kept" in str(lost)


def test_in_inference_mode_nothing_is_said_and_both_models_stay_as_they_were() -> None:
    reference, candidate = original(training=False), Normalised()
    candidate.eval()
    report = checked(candidate, reference)
    assert report.verdict is parity.Verdict.PASS, str(report)
    assert not statistics(report)
    reference, candidate = original(), Normalised()
    checked(candidate, reference)
    assert torch.equal(reference[1].running_mean, torch.zeros(3))
    np.testing.assert_array_equal(candidate.bn.mean[...], np.zeros(3))


def test_what_one_side_cannot_tell_is_said() -> None:
    def plain(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = x @ params["kernel"] + params["bias"]
        h = (h - h.mean(0)) / jnp.sqrt(h.var(0) + 1e-5)
        return jnp.tanh(h * params["scale"] + params["shift"])

    shape = jax.ShapeDtypeStruct
    template = {"kernel": shape((4, 3), "float32")} | dict.fromkeys(
        ("bias", "scale", "shift"), shape((3,), "float32")
    )
    report = checked(plain, template=template, unused=["1.running_*"])
    assert report.verdict is parity.Verdict.PASS, str(report)
    (line,) = (line for line in report.not_checked if line.startswith("updated running statistics"))
    assert "1.running_mean, 1.running_var in PyTorch" in line


class Counted(nn.Module):
    """It writes to a buffer that is no layer's of PyTorch, in place or by putting another there."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.fc, self.in_place = nn.Linear(4, 3), in_place
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.fc(x)
        if self.in_place:
            self.mean.lerp_(h.detach().mean(0), 0.1)
        else:
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        return torch.tanh(h)


def with_average(x: jax.Array, share: float) -> jax.Array:
    h = hk.Linear(3, name="fc")(x)
    mean = hk.get_state("mean", (3,), init=jnp.zeros)
    hk.set_state("mean", (1 - share) * mean + share * jax.lax.stop_gradient(h.mean(0)))
    return jnp.tanh(h)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("share", [0.1, 0.2])
def test_what_is_written_to_is_known_by_the_write_and_not_by_the_kind_of_layer(
    in_place: bool, share: float
) -> None:
    average = functools.partial(with_average, share=share)
    port = hk.without_apply_rng(hk.transform_with_state(lambda x: average(x)))
    report = checked(port, Counted(in_place=in_place))
    right = share == 0.1
    assert report.verdict is (parity.Verdict.PASS if right else parity.Verdict.FAIL), str(report)
    assert set(statistics(report).values()) == {report.verdict}
    assert right or "moves it 2 x as far" in str(report)


def test_training_names_statistics_as_the_phase() -> None:
    module = original()
    rng = np.random.default_rng(0)
    report = parity.check_training(
        module,
        Normalised(0.8),
        [(rng.standard_normal((6, 4)).astype("f"), rng.standard_normal((6, 3)).astype("f"))] * 3,
        loss=(lambda o, t: ((o - t) ** 2).mean(), lambda o, t: jnp.mean((o - t) ** 2)),
        optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
        settings=parity.Settings(dtypes=["float64"]),
    )
    assert report.verdict is parity.Verdict.FAIL, str(report)
    assert report.parting is not None
    assert str(report.parting.phase) == "running statistics"
    assert "another momentum" in report.parting.cause
