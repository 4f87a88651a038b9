"""Two real processes train as one does, in both frameworks; a wrong way of sharing the work is found."""

import os
import signal
import threading

import pytest
from click.testing import CliRunner

from parity.cli import main
from parity.networks import parallel
from parity.networks.drawing import draw_case
from parity.networks.network_training import decided_by, jax_training, torch_training
from parity.networks.processes import ProcessError, process_group
from parity.networks.registry import CASES
from parity.networks.run_case import run_case
from parity.numerics.noise import Subject
from parity.pipeline.check_training import check_training
from parity.pipeline.request import Settings
from parity.report.results import Verdict
from torchref.parallel import Ranks

PROGRAMS = {"candidate", "torch x 2 processes", "jax x 2 processes"}


def join_unweighted(worker):
    """The classic fault: the mean of the processes' means, though their shares differ in size."""
    Ranks.weighted = lambda self, value, num_own, num_rows: value
    return parallel.join(worker)


@pytest.fixture(scope="module")
def group():
    with process_group(2, parallel.join) as group:
        yield group


@pytest.mark.parametrize("name", ["softmax", "linear_minibatch"])
def test_two_processes_train_as_one_does(name, group):
    result = run_case(CASES[name], group=group, dtypes=["float64"], samples=131)
    assert result.verdict is Verdict.PASS, result.report
    for stage in ("step", "curve"):
        assert {q.program for q in result.report.select(stage)} == PROGRAMS


@pytest.mark.parametrize(("samples", "verdict"), [(131, Verdict.FAIL), (128, Verdict.PASS)])
def test_an_average_of_means_is_found_where_shares_are_uneven(samples, verdict):
    case = CASES["linear_minibatch"]
    drawn = draw_case(case, "embedded", limit=samples)
    pair, how = drawn.pair(), (3, 0.1, drawn.order, "cpu")
    setup = parallel.Setup(case.name, "embedded", samples, 0, 3, 0.1, "cpu")
    with process_group(2, join_unweighted) as group:
        label = parallel.program_label("torch", 2)
        report = check_training(
            Subject(torch_training(pair, drawn.torch_recipe, *how), pair.weights),
            Subject(jax_training(pair, drawn.jax_recipe, *how), pair.candidate_weights),
            drawn.samples.inputs,
            decided_by=decided_by(drawn.torch_recipe.labels),
            oracles={label: parallel.subjects(group, setup, pair)[label]},
            settings=Settings(dtypes=["float64"]),
        )
    assert report.verdict is verdict
    wrong = report.select(verdict=Verdict.FAIL)
    assert {q.program for q in wrong} == ({label} if verdict is Verdict.FAIL else set())
    assert any(q.stage == "curve" for q in wrong) == (verdict is Verdict.FAIL)


@pytest.mark.parametrize("side", ["torch", "jax"])
def test_a_process_that_dies_in_training_ends_the_run(side):
    drawn = draw_case(CASES["linear"], "embedded", limit=131)
    pair = drawn.pair()
    setup = parallel.Setup("linear", "embedded", 131, 0, epochs=1_000_000, learning_rate=0.1, device="cpu")
    with process_group(2, parallel.join) as group:
        programs = parallel.subjects(group, setup, pair)
        program, weights = programs[parallel.program_label(side, 2)]
        threading.Timer(8.0, os.kill, (group.pids[1], signal.SIGKILL)).start()
        with pytest.raises(ProcessError, match=r"process 1 of 2 ended while working, killed by SIGKILL"):
            program(weights, drawn.samples.inputs, "float64")


def test_the_command_shows_every_program():
    result = CliRunner().invoke(main, ["run", "logistic", "--world", "2", "--dtype", "float64"])
    assert result.exit_code == 0, result.output
    table = result.output.partition("every program")[2]
    assert all(name.split()[0] in table for name in PROGRAMS)
    assert "1 passed" in result.output


def test_a_world_of_nothing_is_refused():
    result = CliRunner().invoke(main, ["run", "logistic", "--world", "0"])
    assert result.exit_code == 2
    assert "--world" in result.output
