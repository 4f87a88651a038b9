"""The benchmark: the same work in every program, the limits, the refusal to time what does not agree."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from parity.bench import programs, timing, work
from parity.bench.by_numpy import numpy_training
from parity.bench.machine import Machine
from parity.cases.registry import find_cases
from parity.cli import main

MACHINE = Machine("cpu", bandwidth=1e9, rate=1e10)


@pytest.fixture(scope="module", params=["logistic", "softmax", "linear_minibatch"])
def chosen(request: Any) -> programs.Setting:
    (case,) = find_cases((request.param,))
    return programs.setting(case, data_name="embedded", device="cpu")


def test_every_program_records_the_same_curves(chosen: programs.Setting) -> None:
    histories = {p.name: p.make(3)() for p in programs.programs(chosen, compiled=False)}
    assert "jax" in histories
    assert "torch" in histories
    assert ("numpy" in histories) == (numpy_training(chosen.case.recipe) is not None)
    assert ("torch linear" in histories) == (chosen.case.name != "linear_minibatch")
    for name, history in histories.items():
        for curve in ("train_loss", "val_loss", "train_accuracy", "val_accuracy"):
            ours, theirs = (np.asarray(h[curve], np.float64) for h in (history, histories["torch"]))
            assert ours == pytest.approx(theirs, rel=1e-4), (name, curve)


def test_a_second_run_starts_from_the_same_weights(chosen: programs.Setting) -> None:
    for program in programs.programs(chosen, compiled=False):
        run = program.make(2)
        first, second = run()["train_loss"], run()["train_loss"]
        assert np.array_equal(np.asarray(first), np.asarray(second)), program.name


def test_the_work_of_softmax_is_that_of_its_formulas() -> None:
    (case,) = find_cases(("softmax",))
    chosen = programs.setting(case, data_name="embedded", device="cpu")
    needed = work.of_epoch(
        chosen.pair.jax.call, chosen.params, chosen.arrays, chosen.theirs.loss, chosen.ours.batch_size
    )
    (n, d), m = chosen.arrays["x_train"].shape, len(chosen.arrays["x_val"])
    k = chosen.samples.num_outputs
    products = 2 * d * k * (2 * n + m)  # forward and the kernel's gradient; forward of the validation set
    assert products <= needed.operations <= 1.2 * products
    read = 4 * (n + m) * (d + k)
    assert read <= needed.num_bytes <= 1.2 * read


def test_rows_and_ratios_and_what_cannot_be_timed(chosen: programs.Setting) -> None:
    def broken(epochs: int) -> Any:
        raise RuntimeError("no compiler")

    def another(epochs: int) -> Any:
        return lambda: {"val_loss": np.full(epochs, 1e3)}

    several = list(programs.programs(chosen, compiled=False))
    several += [programs.Program("broken", "torch", broken), programs.Program("another", "numpy", another)]
    needed = work.Work(1e6, 1e6)
    rows = {r.program: r for r in timing.compare(chosen, several, MACHINE, needed, repeats=3, seconds=0.01)}
    assert list(rows) == [p.name for p in several]
    assert rows["torch"].own_ratios == (1.0, 1.0, 1.0)
    assert all(len(r.times) == len(r.ratios) == 3 for n, r in rows.items() if n not in ("broken", "another"))
    assert rows["jax"].share == pytest.approx(1e-3 / rows["jax"].median)
    assert "no compiler" in rows["broken"].note
    assert "another" not in rows["another"].note
    assert "its last loss is 1000" in rows["another"].note
    assert rows["broken"].times == rows["another"].times == ()


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
    assert [row["program"] for row in stored["timings"]] == ["jax", "torch", "torch linear", "numpy"]
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
        (["logistic", "--json", "/nowhere/x.json"], "there is no directory"),
        (["logistic", "--device", "cuda"], "JAX sees none"),
    ],
)
def test_bad_input_says_what_to_do(options: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["bench", *options])
    assert result.exit_code == 2
    assert message in result.output
