"""`parity weights`: the table, the files, and what does not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

from parity.cli import main
from tests.kit.errors import HARNESS

PAIR = """
import jax
import torch
import numpy as np
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(3, 4, 2)
        self.dense = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.tensor(0.3))

    def forward(self, x):
        return self.dense(self.conv(x).mean(2)) * self.scale

def apply(params, x):
    dims = ("NCH", "HIO", "NCH")
    y = jax.lax.conv_general_dilated(x, params["conv"]["kernel"], (1,), "VALID", dimension_numbers=dims)
    y = (y + params["conv"]["bias"][:, None]).mean(2)
    return (y @ params["dense"]["kernel"] + params["dense"]["bias"]) * params["scale"]

def parity_check(missing=()):
    s = jax.ShapeDtypeStruct
    template = {
        "conv": {"kernel": s((2, 3, 4), "float32"), "bias": s((4,), "float32")},
        "dense": {"kernel": s((4, 4), "float32"), "bias": s((4,), "float32")},
        "scale": s((), "float32"),
    }
    x = np.random.default_rng(0).standard_normal((2, 3, 5)).astype("float32")
    return {"reference": Net(), "candidate": apply, "inputs": {"x": x}, "template": template}

def extra():
    arguments = parity_check()
    arguments["reference"].odd = nn.Parameter(torch.ones(7))
    return arguments

def half():
    arguments = parity_check()
    arguments["reference"].bfloat16()
    return arguments

def raising():
    arguments = parity_check()
    def broken(params, x):
        raise RuntimeError("no such luck")
    return {**arguments, "candidate": broken}
"""


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["weights", *(str(argument) for argument in arguments)])


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    path = tmp_path / "pair.py"
    path.write_text(PAIR)
    return path


def rows(output: str) -> dict[str, str]:
    """Lines of the table by their first word, with single spaces."""
    return {line.split()[0]: " ".join(line.split()) for line in output.splitlines() if line.strip()}


def test_the_table_and_the_round_trip_through_files(pair: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "jax.safetensors", tmp_path / "torch.safetensors"
    result = invoke(pair, "--save", there)
    assert result.exit_code == 0, result.output
    table = rows(result.stdout)
    assert table["PyTorch"] == "PyTorch JAX how why"
    assert table["conv.weight"].startswith("conv.weight 4x3x2 conv/kernel 2x3x4 permute (2, 1, 0)")
    assert table["dense.weight"].startswith("dense.weight 4x4 dense/kernel 4x4 permute (1, 0)")
    assert table["scale"].startswith("scale scalar scale scalar as it is")
    assert "5 weights of the candidate written to" in result.stdout

    torch.manual_seed(0)
    conv, dense = torch.nn.Conv1d(3, 4, 2), torch.nn.Linear(4, 4)
    leaves = load_file(there)
    assert np.array_equal(leaves["conv/kernel"], conv.weight.detach().numpy().transpose(2, 1, 0))
    assert np.array_equal(leaves["dense/kernel"], dense.weight.detach().numpy().T)
    assert leaves["scale"].shape == ()
    assert leaves["scale"].dtype == np.float32

    result = invoke(pair, "--to", "reference", "--load", there, "--save", back)
    assert result.exit_code == 0, result.output
    tensors = load_file(back)
    assert np.array_equal(tensors["conv.weight"], conv.weight.detach().numpy())
    assert np.array_equal(tensors["dense.weight"], dense.weight.detach().numpy())
    assert sorted(tensors) == ["conv.bias", "conv.weight", "dense.bias", "dense.weight", "scale"]
    # And the other way from a file of PyTorch's instead of the model.
    assert invoke(pair, "--load", back, "--save", tmp_path / "again.safetensors").exit_code == 0
    assert (tmp_path / "again.safetensors").read_bytes() == there.read_bytes()
    assert "fits the plan" in invoke(pair, "--load", back).stdout


def test_weights_keep_their_own_dtype(pair: Path, tmp_path: Path) -> None:
    path = tmp_path / "jax.safetensors"
    assert invoke(f"{pair}:half", "--save", path).exit_code == 0
    assert {array.dtype.name for array in load_file(path).values()} == {"bfloat16"}


def test_what_does_not_fit_is_named(pair: Path, tmp_path: Path) -> None:
    result = invoke(f"{pair}:extra")
    assert result.exit_code == 2
    assert "unused PyTorch tensor 'odd' (7,)" in result.stderr
    assert "Traceback" not in result.stderr
    path = tmp_path / "jax.safetensors"
    save_file({"conv/kernel": np.ones((2, 3, 3), np.float32)}, path)
    result = invoke(pair, "--to", "reference", "--load", path)
    assert result.exit_code == 2
    assert "'conv/kernel' has shape (2, 3, 3)" in result.stderr
    assert "'scale' is absent" in result.stderr


def test_a_model_that_raises_is_shown_with_the_users_line(pair: Path) -> None:
    result = invoke(f"{pair}:raising")
    assert result.exit_code == 2
    line = PAIR.splitlines().index('        raise RuntimeError("no such luck")') + 1
    assert f'File "{pair}", line {line}' in result.stderr
    assert "raised by the JAX model" in result.stderr
    assert HARNESS not in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "reference", "--save", "x.safetensors"], "--to reference needs --load"),
        (["--load", "missing.safetensors"], "missing.safetensors, which does not exist"),
        (["--save", "no/such/x.safetensors"], "there is no directory no/such"),
    ],
)
def test_bad_options_are_one_line(pair: Path, options: list[str], message: str) -> None:
    result = invoke(pair, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
