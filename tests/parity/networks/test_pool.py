"""Cases in several processes: the same results in the order asked for, and errors that say what to do."""

import os

import pytest
from click.testing import CliRunner

from parity.cli import main
from parity.networks import pool
from parity.networks.processes import ProcessError
from parity.networks.registry import CASES
from parity.numerics.progress import no_progress
from parity.report.results import Verdict

QUICK = {"epochs": 2, "dtypes": ["float64"], "samples": 70}


def test_several_at_once_give_what_one_after_another_does():
    cases = [CASES["regression"], CASES["logistic"]]
    phases = []
    together = pool.run_cases(cases, jobs=2, progress=phases.append, **QUICK)
    alone = pool.run_cases(cases, jobs=1, progress=phases.append, **QUICK)
    assert [result.report.name for result in together] == ["regression", "logistic"]
    assert {result.verdict for result in (*together, *alone)} == {Verdict.PASS}
    for one, other in zip(together, alone, strict=True):
        assert [q.name for q in one.report.quantities] == [q.name for q in other.report.quantities]
    assert any(phase.startswith("2/2 done") for phase in phases)


def test_bad_input_in_a_process_is_told_as_in_this_one():
    with pytest.raises(ValueError, match="birds"):
        pool.run_cases([CASES["logistic"]], jobs=2, progress=no_progress, data_name="birds")


def die(jobs):
    os._exit(9)


def test_a_process_that_dies_is_told(monkeypatch):
    monkeypatch.setattr(pool, "_begin", die)
    with pytest.raises(ProcessError, match="--jobs 1 needs least"):
        pool.run_cases([CASES["logistic"]], jobs=2, progress=no_progress)


def test_default_is_a_process_per_core_and_one_for_a_gpu(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert pool.default_jobs("cpu", 13) == pool.MOST
    assert pool.default_jobs("cpu", 1) == 1
    assert pool.default_jobs("cuda", 13) == 1


def test_world_and_jobs_are_one_or_the_other():
    result = CliRunner().invoke(main, ["run", "logistic", "--world", "2", "--jobs", "2"])
    assert result.exit_code == 2
    assert "--world and --jobs" in result.output
