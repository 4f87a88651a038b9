"""A cause is tried again on another draw."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import parity.diagnose
from parity.diagnose import diagnose
from parity.diagnose.fault import Fault
from parity.diagnose.trials import Change
from parity.localise import Comparison, Region
from parity.numerics.another_draw import drawn_again
from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import numbers, report_of
from tests.parity.diagnose.test_diagnose_engine import a_fault


def test_inputs_are_drawn_again_within_their_range() -> None:
    inputs = {"x": np.array([-1.5, 0.0, 2.25]), "n": np.array([0, 7, 3, 3]), "flag": np.array([0, 1, 1])}
    again = drawn_again(inputs, whole=True)
    np.testing.assert_array_equal(np.sign(again["x"]), np.sign(inputs["x"]))
    assert (np.abs(again["x"]) <= np.abs(inputs["x"])).all()
    assert not np.array_equal(again["x"], inputs["x"])
    assert 0 <= again["n"].min() <= again["n"].max() <= 7
    assert (np.diff(again["n"][np.argsort(inputs["n"], kind="stable")]) >= 0).all()
    assert set(again["n"]) <= {0, 3, 7}  # a number in between might be no label, no token
    np.testing.assert_array_equal(again["flag"], inputs["flag"])
    np.testing.assert_array_equal(drawn_again(inputs, whole=False)["n"], inputs["n"])


def test_a_change_that_holds_on_one_draw_alone_is_no_cause(monkeypatch) -> None:
    comparison, region = a_fault()
    scaled = region._replace(value=np.asarray(region.value) * 1.5)

    def coincidence(fault: Fault) -> Iterator[Change]:
        yield Change(CauseKind.CONSTANT, "use 5", {fault.target.node: np.asarray(region.value)})

    def elsewhere(_: Region) -> tuple[Comparison, Region]:
        return comparison, scaled

    monkeypatch.setattr(parity.diagnose, "FAMILIES", (coincidence,))
    alone, again = diagnose(comparison, region), diagnose(comparison, region, None, elsewhere)
    assert alone is not None
    assert alone.cause.text == "use 5"
    assert again is None


def test_another_draw_is_traced_with_64_bits_as_the_user_has_set_them() -> None:
    """A factor that fits one draw of a scalar is no cause, also of a model that computes indices."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        return (x @ x.T + torch.exp(2 * p["log_noise"]) * torch.eye(4, dtype=x.dtype)).diagonal()

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        return jnp.diag(x @ x.T + jnp.exp(p["log_noise"]) * jnp.eye(4, dtype=x.dtype))

    report = report_of(reference, candidate, {"log_noise": np.array(-1.2, np.float32)}, numbers(4, 3))
    (divergence,) = report.divergences
    assert divergence.cause is None, report
    assert divergence.formulas is not None
    assert "exp(log_noise * 2)" in divergence.formulas[0]
