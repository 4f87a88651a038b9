"""What an optimiser of optax has too much is found by leaving it out."""

import optax
import pytest

from parity.optimizers.chains import links_of, without_one
from tests.training_faults.chain_cases import FAULTS
from tests.training_faults.suite import Row, report_of


@pytest.mark.parametrize("name", ["LAMB for AdamW", "accumulated on one side", "restarts that do not grow"])
def test_it_is_named(name: str) -> None:
    row = Row(name, FAULTS[name], report_of(FAULTS[name]))
    assert row.placed, str(row.report.parting)
    assert row.named, str(row.report.parting)


def test_chains_inside_of_chains_and_what_is_wrapped_are_opened() -> None:
    inner = optax.chain(optax.clip(1.0), optax.adamw(1e-3, mask=True))
    names = [link.name for link in links_of(optax.chain(inner, optax.ema(0.9)))]
    assert names == ["clip", "scale_by_adam", "masked", "scale", "ema"]
    left_out = [link.name for link in without_one(inner)]
    assert left_out == ["clip", "scale_by_adam", "masked", "add_decayed_weights", "scale"]


def test_a_transformation_of_the_user_s_own_has_the_name_of_what_made_it() -> None:
    def doubling() -> optax.GradientTransformation:
        def update(updates, state, params=None):  # type: ignore[no-untyped-def]
            return 2 * updates, state

        return optax.GradientTransformation(lambda params: (), update)

    (link,) = links_of(doubling())
    assert link.name == "doubling"
    assert not list(without_one(doubling()))
