"""`parity record` and `parity compare` as their user meets them; test_recording.py has what they compute."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from parity.cli import main
from tests.kit.errors import HARNESS

PAIR = """
import jax
import numpy as np
import torch

def parity_check():
    torch.manual_seed(0)
    shape = jax.ShapeDtypeStruct
    template = {"kernel": shape((3, 2), "float32"), "bias": shape((2,), "float32")}
    x = np.random.default_rng(0).standard_normal((5, 3)).astype("float32")
    return {
        "reference": torch.nn.Linear(3, 2),
        "candidate": lambda params, x: x @ params["kernel"] + params["bias"],
        "inputs": {"x": x},
        "template": template,
        "dtypes": ["float64"],
        "finite_differences": False,
        "moved_weights": False,
    }

def wrong():
    return {**parity_check(), "candidate": lambda params, x: x @ params["kernel"] - params["bias"]}

def raising():
    class Net(torch.nn.Linear):
        def forward(self, x):
            raise RuntimeError("no such luck")
    return {**parity_check(), "reference": Net(3, 2)}
"""


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pair.py").write_text(PAIR)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_record_both_sides_and_compare_them(here: Path) -> None:
    assert invoke("record", "pair.py", "first", "--side", "reference").exit_code == 0
    result = invoke("record", "pair.py", "second", "--side", "candidate", "--against", "first")
    assert result.exit_code == 0, result.output
    assert "4 quantities of the candidate in float64" in result.stdout
    result = invoke("compare", "first", "second", "--plan")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("pair.py: PASS")
    assert "weight (2, 3) -> kernel (3, 2)" in " ".join(result.stdout.split())
    result = invoke("compare", "first", "pair.py:wrong", "--json", "out.json", "--html", "out.html")
    assert result.exit_code == 1, result.output
    assert json.loads((here / "out.json").read_text())["verdict"] == "fail"
    assert "FAIL" in result.stdout
    assert (here / "out.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["record", "pair.py", "second", "--side", "candidate"], "--side candidate needs --against"),
        (
            ["record", "pair.py", "first", "--side", "reference", "--against", "x"],
            "--against is for --side candidate",
        ),
        (["record", "pair.py", "b", "--side", "candidate", "--against", "x", "--trace"], "--trace is for"),
        (["record", "pair.py", "second", "--side", "candidate", "--against", "x"], "x does not exist"),
        (["record", "pair.py", "a/b", "--side", "reference"], "there is no directory a"),
        (["record", "pair.py", ".", "--side", "reference"], "holds files that are not of a recording"),
        (["record", "nothing.py", "first", "--side", "reference"], "nothing.py is not there"),
        (["compare", "here", "there"], "here does not exist"),
        (["compare", "here", "nothing.py"], "nothing.py is not there"),
        (["compare", "here", "there", "--json", "a/b.json"], "there is no directory a"),
    ],
)
def test_bad_input_is_one_line(here: Path, arguments: list[str], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_model_that_raises_is_shown_with_the_users_line(here: Path) -> None:
    result = invoke("record", "pair.py:raising", "first", "--side", "reference")
    assert result.exit_code == 2
    line = PAIR.splitlines().index('            raise RuntimeError("no such luck")') + 1
    assert f'pair.py", line {line}' in result.stderr
    assert "raised by the PyTorch model" in result.stderr
    assert HARNESS not in result.stderr
    assert not (here / "first").exists()


TRAINING = """
import jax
import numpy as np
import optax
import torch

def parity_check_training():
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 2)
    draw = np.random.default_rng(0).standard_normal
    return {
        "reference": module,
        "candidate": lambda params, x: x @ params["kernel"] + params["bias"],
        "batches": [(draw((4, 3)).astype("f"), draw((4, 2)).astype("f")) for _ in range(3)],
        "loss": (lambda outputs, targets: ((outputs - targets) ** 2).mean(),) * 2,
        "optimizer": (torch.optim.SGD(module.parameters(), lr=0.1), optax.sgd(0.1)),
        "template": {
            "kernel": jax.ShapeDtypeStruct((3, 2), "float32"),
            "bias": jax.ShapeDtypeStruct((2,), "float32"),
        },
        "dtypes": ["float64"],
    }

def another_rate():
    return {**parity_check_training(), "optimizer": (None, optax.sgd(0.2))}
"""


def test_training_is_recorded_and_compared(here: Path) -> None:
    (here / "pair.py").write_text(TRAINING)
    result = invoke("record", "pair.py", "first", "--side", "reference", "--training")
    assert result.exit_code == 0, result.output
    assert "first: 3 steps of training of the reference" in result.stdout
    second = ("record", "pair.py", "second", "--side", "candidate", "--against", "first")
    result = invoke(*second, "--training")
    assert result.exit_code == 0, result.output
    result = invoke("compare", "first", "second")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("pair.py: PASS")
    result = invoke("compare", "first", "pair.py:another_rate", "--json", "out.json")
    assert result.exit_code == 1, result.output
    assert "the rate of JAX is 2 x that of PyTorch in every step" in " ".join(result.stdout.split())
    assert json.loads((here / "out.json").read_text())["reports"][0]["parting"]["step"] == 0


def test_a_recording_of_training_is_not_taken_for_one_of_a_check(here: Path) -> None:
    (here / "pair.py").write_text(TRAINING)
    invoke("record", "pair.py", "first", "--side", "reference", "--training")
    result = invoke("record", "pair.py", "second", "--side", "candidate", "--against", "first")
    assert result.exit_code == 2
    assert "first is a recording of training: give --training" in result.stderr
    (here / "pair.py").write_text(PAIR)
    result = invoke("record", "pair.py", "other", "--side", "reference", "--training")
    assert result.exit_code == 2
    assert "has no function 'parity_check_training'" in result.stderr
