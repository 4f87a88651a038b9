"""A user's own conversion in recordings: used, judged and said as `parity.check` does it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity.report.results import Report, Verdict
from tests.kit.inputs import integers, normal
from tests.kit.weights import randomise, weights

QUICK = parity.Settings(finite_differences=False, localise=False)


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(11, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(x))


def table(params: Any, x: jax.Array) -> jax.Array:
    return params["embed"][x] @ params["head"]["kernel"] + params["head"]["bias"]


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn, self.head = nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.bn(self.fc(x))))


def folded(params: Any, x: jax.Array) -> jax.Array:
    h = jax.nn.relu(x @ params["fc"]["kernel"] + params["fc"]["bias"])
    return h @ params["head"]["kernel"] + params["head"]["bias"]


def in_processes(place: Path, reference: Any, candidate: Any, inputs: Any, params: Any) -> list[Report]:
    """Checked, recorded twice and compared, and recorded once and compared with what runs."""
    given = parity.Weights(params=params)
    parity.record(place / "one", reference=reference, inputs=inputs, settings=QUICK)
    parity.record(place / "two", candidate=candidate, against=place / "one", weights=given)
    return [
        parity.check(reference, candidate, inputs, weights=given, settings=QUICK),
        parity.compare(place / "one", place / "two"),
        parity.compare(place / "one", {"candidate": candidate, "weights": given}),
    ]


def head_of(w: Any) -> dict[str, Any]:
    return {"kernel": w["head.weight"].T, "bias": w["head.bias"]}


CUTS: dict[str, tuple[Callable[[Any], Any], Verdict]] = {
    "a row fewer": (lambda rows: rows[:10], Verdict.FAIL),
    "padded": (lambda rows: np.pad(rows, ((0, 3), (0, 0))), Verdict.PASS),
    "padded in front": (lambda rows: np.pad(rows, ((3, 0), (0, 0))), Verdict.FAIL),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_leaf_of_another_shape_is_paired_with_its_nearest_tensor(tmp_path: Path, cut: str) -> None:
    change, verdict = CUTS[cut]
    module = randomise(Table())
    w = weights(module)
    params = {"embed": change(w["embed.weight"]), "head": head_of(w)}
    for report in in_processes(tmp_path, module, table, {"x": integers(10, 3, 4)}, params):
        assert report.verdict is verdict
        shapes = f"'embed.weight' (11, 6) and 'embed' {params['embed'].shape}"
        assert any(shapes in line for line in report.findings)
        assert (
            "weight embed by itself: of your conversion, compared by what is computed" in report.not_checked
        )
        failed = [q for q in report.failures("weights") if q.name == "embed.weight"]
        assert bool(failed) == (verdict is Verdict.FAIL)
        assert all(shapes in q.notes[0] for q in failed)


@pytest.mark.parametrize("epsilon", [1e-5, 1e-3])
def test_a_norm_folded_into_a_kernel(tmp_path: Path, epsilon: float) -> None:
    module = randomise(Normed())
    w = weights(module)
    scale = w["bn.weight"] / np.sqrt(w["bn.running_var"] + np.float32(epsilon))
    fc = {
        "kernel": (w["fc.weight"] * scale[:, None]).T,
        "bias": (w["fc.bias"] - w["bn.running_mean"]) * scale + w["bn.bias"],
    }
    params = {"fc": fc, "head": head_of(w)}
    for report in in_processes(tmp_path, module, folded, {"x": normal(3, 5)}, params):
        assert report.verdict is (Verdict.PASS if epsilon == 1e-5 else Verdict.FAIL)


def test_unplanned_weights_are_not_moved_without_their_partner(tmp_path: Path) -> None:
    module = randomise(Normed())
    params = {"fc": {"kernel": jnp.zeros((5, 4)), "bias": jnp.zeros(4)}, "head": head_of(weights(module))}
    for report in in_processes(tmp_path, module, folded, {"x": normal(3, 5)}, params)[1:]:
        assert any("other weights than these" in line for line in report.not_checked)
