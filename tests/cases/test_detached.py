"""Gradients that finite differences say nothing of: detached values, and weights that may not be moved."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from torch import nn

from parity.report.kinds import CauseKind, Stage
from parity.report.results import Verdict
from tests.cases.declare import (
    cause,
    faulty_report,
    first,
    lines,
    plain,
    require_pass,
    right_only,
    twins,
)
from tests.kit.checking import check
from tests.kit.conversion import dense
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes

pytestmark = pytest.mark.filterwarnings("ignore")

COMMITMENT = 0.25


@twins(
    lambda t: {
        "encode": dense(t, "encode"),
        "codes": t["quantise.codes.weight"],
        "decode": dense(t, "decode"),
    },
    stage=Stage.GRADIENTS,
)
def quantiser(faulty: bool) -> Pair:
    """A vector quantiser: the commitment has a weight, the codebook has none, and their values are equal."""

    class Quantise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.codes = nn.Embedding(5, 4)

        def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            nearest = self.codes(torch.cdist(z, self.codes.weight).argmin(1))
            commitment = nn.functional.mse_loss(z, nearest.detach())
            loss = nn.functional.mse_loss(nearest, z.detach()) + COMMITMENT * commitment
            return z + (nearest - z).detach(), loss

    class Quantiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.quantise, self.decode = nn.Linear(6, 4), Quantise(), nn.Linear(4, 6)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            code, loss = self.quantise(self.encode(x))
            return {"again": self.decode(code), "loss": loss}

    def port(params: Any, x: jax.Array) -> dict[str, jax.Array]:
        z = x @ params["encode"]["kernel"] + params["encode"]["bias"]
        distances = jnp.square(z[:, None] - params["codes"]).sum(-1)
        nearest = params["codes"][distances.argmin(1)]
        commitment = jnp.square(jax.lax.stop_gradient(nearest) - z).mean()  # USE: quantiser
        codebook = jnp.square(nearest - jax.lax.stop_gradient(z)).mean()  # USE: quantiser
        if faulty:
            loss = commitment + COMMITMENT * codebook  # FAULT: quantiser
        else:
            loss = codebook + COMMITMENT * commitment
        code = z + jax.lax.stop_gradient(nearest - z)
        return {"again": code @ params["decode"]["kernel"] + params["decode"]["bias"], "loss": loss}

    template = {
        "encode": {"kernel": (6, 4), "bias": (4,)},
        "codes": (5, 4),
        "decode": {"kernel": (4, 6), "bias": (6,)},
    }
    return Pair(randomise(Quantiser()), port, {"x": normal(9, 6)}, template=shapes(template))


def test_a_model_that_detaches_passes_with_a_note() -> None:
    report = check(quantiser.right)
    require_pass(report)
    notes = [*report.findings, *report.not_checked, *(note for q in report.quantities for note in q.notes)]
    assert any("detach" in note for note in notes), notes


def test_a_weight_on_the_wrong_detached_term_is_between_the_two_sides() -> None:
    report = faulty_report(quantiser, whole=True)
    fault = first(report)
    assert fault.stage is Stage.GRADIENTS
    assert not report.failures("forward")
    assert not [q.name for q in report.failures() if "finite differences" in q.program]
    assert lines(fault)[0] in quantiser.use


def test_a_weight_on_the_wrong_detached_term_is_named_by_its_factor() -> None:
    report = faulty_report(quantiser, whole=True)
    found = cause(first(report))
    assert found.name in (CauseKind.SCALE, CauseKind.GRADIENT_RULE)
    assert "0.25" in found.text
    assert "adds 4 entries up" not in str(report)  # nothing is summed there


@right_only(None)
def cholesky_factor() -> Pair:
    """A covariance by its factor: PyTorch validates that the diagonal is positive."""

    class Density(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.eye(3) + torch.ones(3, 3).tril(-1) / 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean = torch.zeros(3, dtype=x.dtype)
            # `torch.compile`, in whichever test, turns validation off for all that follows.
            normal = torch.distributions.MultivariateNormal(mean, scale_tril=self.factor, validate_args=True)
            return normal.log_prob(x)

    def port(params: Any, x: jax.Array) -> jax.Array:
        factor = params["factor"]
        z = jax.scipy.linalg.solve_triangular(factor, x.T, lower=True)
        squares = jnp.square(z).sum(0)
        return -0.5 * (squares + 3 * jnp.log(2 * jnp.pi)) - jnp.log(jnp.diagonal(factor)).sum()

    pins = {"factor": ("factor", (0, 1))}
    return Pair(Density(), port, {"x": normal(5, 3)}, template=shapes({"factor": (3, 3)}), pins=pins)


@right_only(None)
def probabilities() -> Pair:
    """The same of probabilities, which have to sum to one."""

    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.share = nn.Parameter(torch.tensor([0.5, 0.25, 0.125, 0.125]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not torch.isclose(self.share.sum(), torch.ones((), dtype=x.dtype), atol=1e-5):
                raise ValueError("the shares have to sum to one")
            return (x.exp() * self.share).sum(-1).log()

    def port(params: Any, x: jax.Array) -> jax.Array:
        return jnp.log(jnp.exp(x) @ params["share"])

    return Pair(Mixture(), port, {"x": normal(5, 4)}, template=shapes({"share": (4,)}))


@pytest.mark.parametrize(
    "case",
    [
        plain(cholesky_factor),
        plain(probabilities),
    ],
)
def test_a_weight_that_may_not_be_moved_is_judged_as_given(case: Any) -> None:
    report = check(case.right)
    assert report.verdict is Verdict.PASS, str(report)
    name = next(iter(dict(case.right.reference.named_parameters())))
    assert any(name in note for note in [*report.findings, *report.not_checked]), str(report)


@pytest.mark.parametrize("case", [cholesky_factor, probabilities], ids=lambda case: case.id)
def test_a_weight_that_is_not_moved_at_all_passes(case: Any) -> None:
    require_pass(check(case.right, finite_differences=False, moved_weights=False))
