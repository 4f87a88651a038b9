"""The benchmark: the same work in every program, the limits, the refusal to time what does not agree."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from parity.cli import main
from parity.networks.benchmark import timing, work
from parity.networks.benchmark.by_numpy import numpy_training
from parity.networks.benchmark.by_sklearn import sklearn_contenders
from parity.networks.benchmark.contenders import all_contenders
from parity.networks.benchmark.machine import Machine
from parity.networks.benchmark.prepared_case import (
    EPOCH,
    Contender,
    PreparedCase,
    affine_layers,
    prepare_case,
)
from parity.networks.drawing import draw_case
from parity.networks.registry import find_cases

MACHINE = Machine("cpu", bandwidth=1e9, rate=1e10)


@pytest.fixture(scope="module", params=["logistic", "softmax", "linear_minibatch"])
def chosen(request: Any) -> PreparedCase:
    (case,) = find_cases((request.param,))
    return prepare_case(case, data_name="embedded", device="cpu")


def test_every_program_records_the_same_curves(chosen: PreparedCase) -> None:
    same = [p for p in all_contenders(chosen, compiled=False) if p.per == EPOCH]
    histories = {p.name: p.make(3)() for p in same}
    assert "jax" in histories
    assert "torch" in histories
    assert ("numpy" in histories) == (numpy_training(chosen.case.recipe) is not None)
    assert "sklearn MLP" in histories
    assert ("torch linear" in histories) == (chosen.case.name != "linear_minibatch")
    for name, history in histories.items():
        for curve in ("train_loss", "val_loss", "train_accuracy", "val_accuracy"):
            own, eager = (np.asarray(h[curve], np.float64) for h in (history, histories["torch"]))
            assert own == pytest.approx(eager, rel=1e-4), (name, curve)


def test_a_second_run_starts_from_the_same_weights(chosen: PreparedCase) -> None:
    for program in all_contenders(chosen, compiled=False):
        run = program.make(2)
        first, second = run()["train_loss"], run()["train_loss"]
        assert np.array_equal(np.asarray(first), np.asarray(second)), program.name


def test_the_work_of_softmax_is_that_of_its_formulas() -> None:
    (case,) = find_cases(("softmax",))
    chosen = prepare_case(case, data_name="embedded", device="cpu")
    needed = work.of_epoch(
        chosen.pair.candidate.call,
        chosen.params,
        chosen.arrays,
        chosen.jax_recipe.loss,
        chosen.torch_recipe.batch_size,
    )
    (n, d), m = chosen.arrays["x_train"].shape, len(chosen.arrays["x_val"])
    k = chosen.samples.num_outputs
    products = 2 * d * k * (2 * n + m)  # forward and the kernel's gradient; forward of the validation set
    assert products <= needed.operations <= 1.2 * products
    read = 4 * (n + m) * (d + k)
    assert read <= needed.num_bytes <= 1.2 * read


def test_rows_and_ratios_and_what_cannot_be_timed(chosen: PreparedCase) -> None:
    def broken(epochs: int) -> Any:
        raise RuntimeError("no compiler")

    def another(epochs: int) -> Any:
        return lambda: {"val_loss": np.full(epochs, 1e3)}

    own_steps = {"val_loss": np.array([2.0]), "iterations": 4}
    several = [p for p in all_contenders(chosen, compiled=False) if p.framework != "sklearn"]
    several += [
        Contender("broken", "torch", broken),
        Contender("another", "numpy", another),
    ]
    several += [Contender("lbfgs", "sklearn", lambda epochs: lambda: own_steps, per="iteration")]
    needed = work.Work(1e6, 1e6)
    rows = {
        r.program: r
        for r in timing.time_contenders(chosen, several, MACHINE, needed, repeats=3, seconds=0.01)
    }
    assert list(rows) == [p.name for p in several]
    assert rows["torch"].own_ratios == (1.0, 1.0, 1.0)
    assert all(len(r.times) == 3 for n, r in rows.items() if n not in ("broken", "another"))
    assert all(len(rows[name].ratios) == 3 for name in ("jax", "torch"))
    assert rows["jax"].share == pytest.approx(1e-3 / rows["jax"].median)
    assert rows["jax"].compute_share == pytest.approx(1e-4 / rows["jax"].median)
    assert rows["jax"].limit is not None
    assert rows["jax"].limit.set_by == "memory"
    assert "no compiler" in rows["broken"].note
    assert "another" not in rows["another"].note
    assert "its last loss is 1000" in rows["another"].note
    assert rows["broken"].times == rows["another"].times == ()
    lbfgs = rows["lbfgs"]
    assert (lbfgs.epochs, lbfgs.last_loss, lbfgs.ratios, lbfgs.share) == (4, 2.0, (), None)


def test_the_rule_of_the_same_loss_sees_another_rate_in_scikit_learn(
    chosen: PreparedCase,
) -> None:
    faster = chosen.torch_recipe._replace(learning_rate=1.5 * chosen.torch_recipe.learning_rate)
    several = [p for p in all_contenders(chosen, compiled=False) if p.name == "torch"]
    several += [
        p for p in sklearn_contenders(chosen._replace(torch_recipe=faster)) if p.name == "sklearn MLP"
    ]
    needed = work.Work(1e6, 1e6)
    rows = timing.time_contenders(chosen, several, MACHINE, needed, repeats=1, seconds=0.01)
    assert "its last loss is" in rows[1].note


def test_what_scikit_learn_fits_by_another_algorithm_is_the_same_model() -> None:
    (case,) = find_cases(("logistic",))
    chosen = prepare_case(case, data_name="embedded", device="cpu")
    others = {p.name: p for p in sklearn_contenders(chosen) if p.per != EPOCH}
    assert {name: p.per for name, p in others.items()} == {
        "sklearn lbfgs": "iteration",
        "sklearn SGD": "pass",
    }
    start = next(all_contenders(chosen, compiled=False)).make(2)()["val_loss"][0]
    for name, program in others.items():
        history = program.make(3)()
        assert 0 <= history["val_loss"][-1] < start, name
        assert np.array_equal(history["val_loss"], program.make(3)()["val_loss"]), name  # same start again
    assert others["sklearn lbfgs"].make(3)()["iterations"] == 3
    assert not list(sklearn_contenders(chosen._replace(case=find_cases(("cnn",))[0])))


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("logistic", [(1, 4096)]),
        ("softmax", [(10, 4096)]),
        ("mlp", [(200, 4096), (50, 200), (20, 50), (10, 20)]),
        ("cnn", []),
    ],
)
def test_affine_layers_are_outputs_by_inputs(name: str, shapes: list[tuple[int, int]]) -> None:
    pair = draw_case(find_cases((name,))[0], "embedded", limit=8).pair()
    layers = affine_layers(pair.weights)
    assert [matrix.shape for matrix, _ in layers] == shapes
    assert [bias.shape for _, bias in layers] == [(rows,) for rows, _ in shapes]


def test_the_command_prints_writes_and_draws(tmp_path: Path) -> None:
    data, figure = tmp_path / "bench.json", tmp_path / "bench.png"
    options = ["--no-compile", "--repeats", "2", "--seconds", "0.01"]
    result = CliRunner().invoke(
        main, ["bench", "logistic", *options, "--json", str(data), "--figure", str(figure)]
    )
    assert result.exit_code == 0, result.output
    assert "logistic" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    stored = json.loads(data.read_text())
    assert [row["program"] for row in stored["timings"]] == [
        "jax",
        "torch",
        "torch linear",
        "numpy",
        "sklearn MLP",
        "sklearn lbfgs",
        "sklearn SGD",
    ]
    assert all("peak_bytes" in row and row["last_loss"] is not None for row in stored["timings"])
    assert "ms per iteration of this other algorithm" in " ".join(result.stdout.split())
    assert stored["environment"]["versions"]["jax"]
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_case_whose_programs_differ_is_not_timed() -> None:
    result = CliRunner().invoke(main, ["bench", "two_layer_as_printed", "--no-compile"])
    assert result.exit_code == 1
    assert "two_layer_as_printed is not timed" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nosuch"], "there is no case nosuch"),
        (["softmax:0"], "softmax:0 must be NAME:RUNS"),
        (["softmax:many"], "the number of runs at least 1"),
        (["--harness", "softmax:8"], "there is no case softmax:8"),
        (["logistic", "--json", "/nowhere/x.json"], "there is no directory"),
        (["logistic", "--device", "cuda"], "JAX sees none"),
    ],
)
def test_bad_input_says_what_to_do(options: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["bench", *options])
    assert result.exit_code == 2
    assert message in result.output
