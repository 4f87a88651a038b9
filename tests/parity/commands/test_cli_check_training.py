"""`parity check-training FILE.py:FUNCTION` as its user meets it."""

import dataclasses
import inspect
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import parity
from parity.cli import main
from parity.pipeline.arguments import CHECK_TRAINING

PAIR = """
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import nn


def setting(decay, **more):
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    shape = jax.ShapeDtypeStruct
    rng = np.random.default_rng(0)
    batches = [(rng.standard_normal((5, 4)).astype("f"), rng.standard_normal((5, 3)).astype("f"))] * 6
    given = {
        "reference": net,
        "candidate": lambda params, x: x @ params["kernel"] + params["bias"],
        "batches": batches,
        "loss": (nn.MSELoss(), lambda outputs, targets: jnp.mean((outputs - targets) ** 2)),
        "optimizer": (
            torch.optim.AdamW(net.parameters(), weight_decay=decay),
            optax.adamw(1e-3, weight_decay=0.1),
        ),
        "template": {"kernel": shape((4, 3), "float32"), "bias": shape((3,), "float32")},
        "dtypes": ["float64"],
    }
    return {**given, **more}


def parity_check_training():
    return setting(0.1)


def undecayed():
    return setting(0.0)


def misspelt():
    return setting(0.1, optimiser=1)


def nothing_to_train_on():
    given = setting(0.1)
    del given["batches"]
    return given


def in_order():
    given = setting(0.1)
    return [given.pop(name) for name in ("reference", "candidate", "batches")], given
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pair") / "pair.py"
    path.write_text(PAIR)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["check-training", *map(str, arguments)])


def test_a_pair_that_trains_alike_passes_and_one_that_does_not_is_explained(
    pair: Path, tmp_path: Path
) -> None:
    target = tmp_path / "report.json"
    result = run(pair, f"{pair}:in_order", f"{pair}:undecayed", "--steps", 4, "--json", target)
    assert result.exit_code == 1, result.output
    assert "parts at step 0, phase update" in result.output
    told = " ".join(result.output.split())
    assert "weight decay is 0 in PyTorch and 0.1 in JAX" in told
    assert "3 checked: 2 pass, 1 fail" in result.output
    reports = json.loads(target.read_text())["reports"]
    assert [report["verdict"] for report in reports] == ["pass", "pass", "fail"]
    assert reports[2]["parting"]["step"] == 0


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("", ["--steps", 7], "`steps` is 7 and `batches` has 6: give more batches"),
        (":misspelt", [], "parity.check_training does not take: there is no argument 'optimiser'"),
        (":nothing_to_train_on", [], "returned no 'batches': parity.check_training needs it"),
        (":nowhere", [], "has no function 'nowhere'; it has parity_check_training, undecayed"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_names_it(
    pair: Path, function: str, options: list[object], message: str
) -> None:
    result = run(f"{pair}{function}", *options)
    assert result.exit_code == 2, result.output
    assert message in result.output


def test_every_argument_of_the_call_may_be_given_flat() -> None:
    own = set(inspect.signature(parity.check_training).parameters)
    of_programs = {"decided_by", "scales", "oracles", "sides"}
    fields = {field.name for kind in (parity.Weights, parity.Settings) for field in dataclasses.fields(kind)}
    assert set(CHECK_TRAINING.known()) - fields == own - of_programs
