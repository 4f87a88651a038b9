"""Many runs at once: every program trains the same runs, and each run is compared."""

from typing import Any

import numpy as np
import pytest

from parity.commands.run_benchmark import find_asked
from parity.networks.benchmark import timing, work
from parity.networks.benchmark.contenders import all_contenders
from parity.networks.benchmark.machine import Machine
from parity.networks.benchmark.prepared_case import Contender, PreparedCase, prepare_case
from parity.networks.registry import find_cases

RUNS = 6
CURVES = ("train_loss", "val_loss", "train_accuracy", "val_accuracy")


@pytest.fixture(scope="module", params=["softmax", "two_layer_tanh", "regression"])
def chosen(request: Any) -> PreparedCase:
    """Plain descent by hand, two rates, and torch.optim with minibatches."""
    (case,) = find_cases((request.param,))
    return prepare_case(case, data_name="embedded", device="cpu", runs=RUNS)


def test_every_program_trains_its_runs_alike(chosen: PreparedCase) -> None:
    several = {p.name: p for p in all_contenders(chosen)}
    assert ("torch linear" in several) == (chosen.case.name == "softmax")
    assert several["jax"].which == several["torch vmap"].which == tuple(range(RUNS))
    assert several["torch"].which == (0, 2, 3, 5)  # evenly spread, the lowest and the highest rate among them
    histories = {name: p.make(2)() for name, p in several.items()}
    swept = histories["jax"]
    for name, history in histories.items():
        for curve in [curve for curve in CURVES if curve in swept]:
            same_runs = swept[curve][list(several[name].which)]
            assert np.asarray(history[curve]) == pytest.approx(same_runs, rel=1e-3, abs=1e-4), (name, curve)
    assert len(np.unique(swept["val_loss"][:, -1])) == RUNS


def test_the_rates_end_at_the_recipes(chosen: PreparedCase) -> None:
    assert chosen.rates is not None
    assert chosen.rates[-1] == pytest.approx(chosen.torch_recipe.learning_rate)
    assert chosen.rates[0] == pytest.approx(chosen.torch_recipe.learning_rate / 10)
    assert chosen.title == f"{chosen.case.name} x{RUNS}"


def test_times_are_per_model_and_one_wrong_run_is_seen(chosen: PreparedCase) -> None:
    several = list(all_contenders(chosen))
    right = several[0].make

    def one_wrong(epochs: int) -> Any:
        history = {name: np.array(curve) for name, curve in right(epochs)().items()}
        history["val_loss"][4] *= 1.1
        return lambda: history

    several.append(Contender("one wrong", "torch", one_wrong, which=tuple(range(RUNS))))
    machine, needed = Machine("cpu", 1e9, 1e10), work.Work(1e6, 1e6)
    rows = {
        r.program: r
        for r in timing.time_contenders(chosen, several, machine, needed, repeats=1, seconds=0.01)
    }
    assert "its last loss is" in rows["one wrong"].note
    assert [rows[name].models for name in ("jax", "torch", "torch vmap")] == [RUNS, 4, RUNS]
    assert rows["torch"].own_ratios == (1.0,)
    assert {row.case for row in rows.values()} == {chosen.title}


def test_runs_at_once_share_what_is_read_of_the_samples() -> None:
    (case,) = find_cases(("softmax",))
    chosen = prepare_case(case, data_name="embedded", device="cpu")
    how = (chosen.pair.candidate.call, chosen.params, chosen.arrays, chosen.jax_recipe.loss, None)
    one, many = work.of_epoch(*how), work.of_epoch(*how, 64)
    params = 2 * 4 * (4096 * 10 + 10)
    assert many.operations == one.operations
    assert many.num_bytes - params == pytest.approx((one.num_bytes - params) / 64)


def test_names_with_runs() -> None:
    asked = find_asked(("mlp", "softmax:8", "softmax", "softmax:8"))
    assert [(case.name, runs) for case, runs in asked] == [("mlp", None), ("softmax", 8), ("softmax", None)]
