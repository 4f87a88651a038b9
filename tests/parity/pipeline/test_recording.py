"""Two sides recorded apart: each without the other framework, judged as if they had run together."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity.pipeline import record as recording
from parity.pipeline.arguments import require_known, sorted_arguments
from parity.pipeline.recordings import read
from parity.report.results import Report, Verdict

ROOT = Path(__file__).resolve().parents[3]


class Pair:
    """A PyTorch module with statistics and two outputs, its JAX twin, and inputs of two sizes."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.module = Net().eval()
        rng = np.random.default_rng(0)
        self.inputs = [{"x": rng.standard_normal((n, 4)).astype(np.float32)} for n in (5, 1)]
        shape = jax.ShapeDtypeStruct
        sizes = {"kernel": (4, 4), "bias": (4,), "scale": (4,), "beta": (4,), "mean": (4,), "var": (4,)}
        self.template = {name: shape(size, jnp.float32) for name, size in sizes.items()}

    def arguments(self, **changes: Any) -> dict[str, Any]:
        everything = {
            "reference": self.module,
            "candidate": apply,
            "inputs": self.inputs,
            "weights": parity.Weights(template=self.template),
        }
        return everything | changes

    def apart(self, where: Path, **changes: Any) -> Report:
        """Both sides recorded, then compared."""
        arguments = self.arguments(**changes)
        recording.record(where / "torch", side="reference", **arguments)
        recording.record(where / "jax", side="candidate", against=where / "torch", **arguments)
        return recording.compare(where / "jax", where / "torch")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.norm(self.dense(x))
        return {"y": y, "best": y.argmax(1)}


def apply(params: Any, x: jax.Array) -> dict[str, jax.Array]:
    h = (x @ params["kernel"] + params["bias"]).astype(jnp.float32)
    y = (h - params["mean"]) / jnp.sqrt(params["var"].astype(jnp.float32) + 1e-5)
    y = (y * params["scale"] + params["beta"]).astype(x.dtype)
    return {"y": y, "best": y.argmax(1)}


def wrong(params: Any, x: jax.Array) -> dict[str, jax.Array]:
    return apply({**params, "bias": params["bias"] * 1.01}, x)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair()


@pytest.fixture(scope="module")
def recorded(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both sides."""
    where = tmp_path_factory.mktemp("recorded")
    assert pair.apart(where).verdict is Verdict.PASS
    return where


def test_apart_and_together_give_the_same_figures(pair: Pair, recorded: Path) -> None:
    apart = recording.compare(recorded / "torch", recorded / "jax")
    together = parity.check(**sorted_arguments(pair.arguments()))
    assert together.verdict is apart.verdict is Verdict.PASS
    figures = {(q.name, q.dtype, q.program, q.stage, q.group): q for q in apart.quantities}
    assert len(figures) == len(apart.quantities) == len(together.quantities)
    for q in together.quantities:
        same = figures[q.name, q.dtype, q.program, q.stage, q.group]
        assert (same.rho, same.noise_reference, same.noise_candidate) == (
            q.rho,
            q.noise_reference,
            q.noise_candidate,
        ), q.name
    assert apart.plan == together.plan
    assert apart.environment is not None
    assert apart.environment.versions["torch"]
    assert apart.environment.versions["jax"]
    assert any("where the two sides part" in line for line in apart.not_checked)


def test_a_fault_is_found_in_the_recordings_and_when_one_side_runs_now(pair: Pair, tmp_path: Path) -> None:
    report = pair.apart(tmp_path, candidate=wrong)
    assert report.verdict is Verdict.FAIL
    failed = {q.name for q in report.failures("forward", "float64")}
    assert "y" in failed
    report = recording.compare(tmp_path / "torch", pair.arguments(candidate=wrong))
    assert {q.name for q in report.failures("forward", "float64")} == failed
    assert recording.compare(tmp_path / "torch", pair.arguments()).verdict is Verdict.PASS


def test_params_converted_by_the_user_are_checked(pair: Pair, tmp_path: Path) -> None:
    weights = {name: p.detach().numpy() for name, p in pair.module.state_dict().items()}
    params = {
        "kernel": weights["dense.weight"],  # not transposed
        "bias": weights["dense.bias"],
        "scale": weights["norm.weight"],
        "beta": weights["norm.bias"],
        "mean": weights["norm.running_mean"],
        "var": weights["norm.running_var"],
    }
    report = pair.apart(tmp_path, params=params, template=None)
    (quantity,) = report.failures("weights")
    assert quantity.name == "dense.weight"
    assert "transposed" in quantity.notes[0]


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).mean((2, 3))


def pooled(params: Any, x: jax.Array) -> jax.Array:
    dims = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, params["kernel"], (1, 1), "VALID", dimension_numbers=dims)
    return (y + params["bias"]).mean((1, 2))


def test_channels_last_is_recognised(pair: Pair, tmp_path: Path) -> None:
    shape = jax.ShapeDtypeStruct
    template = {"kernel": shape((3, 3, 3, 2), jnp.float32), "bias": shape((2,), jnp.float32)}
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 5)).astype(np.float32)
    report = pair.apart(
        tmp_path,
        reference=Pooled(),
        candidate=pooled,
        template=template,
        inputs={"x": x},
        dtypes=["float64"],
    )
    assert report.verdict is Verdict.PASS, str(report)
    assert any("(0, 2, 3, 1)" in line for line in report.findings)


def test_losses_of_their_own_and_narrow_dtypes(pair: Pair, tmp_path: Path) -> None:
    losses = (lambda out, y: ((out["y"] - y) ** 2).mean(), lambda out, y: jnp.mean((out["y"] - y) ** 2))
    extra = {"inputs": pair.inputs[0], "targets": np.ones((5, 4), np.float32), "dtypes": ["bfloat16"]}
    arguments = pair.arguments(**extra)
    recording.record(tmp_path / "torch", side="reference", **arguments | {"loss": (losses[0], None)})
    with pytest.raises(ValueError, match=r"recorded with its own `loss`.*\(None, candidate_loss\)"):
        recording.record(tmp_path / "jax", side="candidate", against=tmp_path / "torch", **arguments)
    recording.record(
        tmp_path / "jax",
        side="candidate",
        against=tmp_path / "torch",
        **arguments | {"loss": (None, losses[1])},
    )
    report = recording.compare(tmp_path / "torch", tmp_path / "jax")
    assert report.verdict is Verdict.PASS, str(report)
    assert report.dtypes == ("bfloat16",)
    (quantity,) = report.select("forward", "bfloat16")[-1:]
    assert quantity.name == "loss"


def test_outputs_that_jax_lacks_must_be_left_out_of_the_recording(pair: Pair, tmp_path: Path) -> None:
    class More(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = pair.module

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {**self.net(x), "extra": x.sum()}

    arguments = pair.arguments(reference=More(), inputs=pair.inputs[0], dtypes=["float64"])
    recording.record(tmp_path / "torch", side="reference", **arguments)
    with pytest.raises(ValueError, match=r"outputs=\['y', 'best'\]"):
        recording.record(tmp_path / "jax", side="candidate", against=tmp_path / "torch", **arguments)
    assert pair.apart(tmp_path, **arguments, outputs=["y", "best"]).verdict is Verdict.PASS


def test_what_lies_in_the_directory(pair: Pair, recorded: Path) -> None:
    from safetensors.numpy import load_file

    ours, theirs = recorded / "torch", recorded / "jax"
    values = [f"values-{run}-{dtype}.safetensors" for run in (0, 1, 2) for dtype in ("float32", "float64")]
    assert sorted(p.name for p in theirs.iterdir()) == ["index.json", "moves.safetensors", *values]
    weights = load_file(ours / "weights.safetensors")
    state = pair.module.state_dict()
    assert all(np.array_equal(array, state[name].numpy()) for name, array in weights.items())
    narrow, wide = (load_file(ours / f"values-0-{dtype}.safetensors") for dtype in ("float32", "float64"))
    with torch.no_grad():
        y = pair.module(torch.as_tensor(pair.inputs[0]["x"]))["y"].numpy()
    assert np.allclose(narrow["outputs/y"], y, atol=1e-6)
    assert narrow["outputs/y"].dtype == np.float32
    assert wide["outputs/y"].dtype == np.float64
    moves = load_file(ours / "moves.safetensors")
    assert moves["0/float64/gradients/dense.weight"].size <= 4  # a number or a row of them, no copies
    index = json.loads((ours / "index.json").read_text())
    assert index["role"] == "reference"
    assert index["framework"] == "PyTorch"
    assert index["signatures"]["dense.weight"]["layer"] == "Linear"
    assert index["signatures"]["dense.weight"]["use"]["contracted"] == [1]
    assert read(ours).settings["trainable"] == ["dense.weight", "dense.bias", "norm.weight", "norm.bias"]


def test_recordings_that_do_not_belong_together_are_refused(
    pair: Pair, recorded: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="both recordings are of a reference"):
        recording.compare(recorded / "torch", recorded / "torch")
    arguments = pair.arguments(
        inputs=pair.inputs[1], dtypes=["float64"], moved_weights=False, finite_differences=False
    )
    recording.record(tmp_path / "other", side="reference", **arguments)
    with pytest.raises(ValueError, match="another recording"):
        recording.compare(tmp_path / "other", recorded / "jax")
    with pytest.raises(ValueError, match="does not exist"):
        recording.compare(tmp_path / "nowhere", recorded / "jax")
    with pytest.raises(ValueError, match="give another directory for the candidate's"):
        recording.record(recorded / "torch", side="candidate", against=recorded / "torch", **arguments)
    assert read(recorded / "torch").role == "reference"
    with pytest.raises(ValueError, match="recording of a candidate"):
        recording.record(tmp_path / "jax", side="candidate", against=recorded / "jax", **arguments)


def test_a_directory_is_checked_before_the_work(pair: Pair, tmp_path: Path) -> None:
    def never(*args: Any) -> Any:
        raise RuntimeError("it ran")

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    with pytest.raises(ValueError, match="holds files that are not of a recording"):
        recording.record(tmp_path / "mine", reference=never, inputs=pair.inputs, torch_params={})
    with pytest.raises(ValueError, match="there is no directory"):
        recording.record(tmp_path / "a/b", reference=never, inputs=pair.inputs, torch_params={})


def test_a_recording_cut_short_is_no_recording(pair: Pair, recorded: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in (recorded / "torch").iterdir():
        if file.name != "index.json":
            (broken / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match="cut short"):
        read(broken)
    (broken / "index.json").write_text("{")
    with pytest.raises(ValueError, match="not the index of a recording"):
        read(broken)
    (broken / "index.json").write_text('{"format": 0, "noise_runs": 4}')
    with pytest.raises(ValueError, match="another version"):
        read(broken)
    recording.record(  # and can be made again in the same place
        broken,
        side="reference",
        **pair.arguments(dtypes=["float64"], finite_differences=False, moved_weights=False),
    )
    assert read(broken).role == "reference"


def test_arguments_are_those_of_check(pair: Pair, tmp_path: Path) -> None:
    require_known(dict.fromkeys(inspect.signature(parity.check).parameters))
    with pytest.raises(ValueError, match="there is no argument 'templete'"):
        recording.record(tmp_path / "torch", side="reference", **pair.arguments(templete=3))
    with pytest.raises(ValueError, match="`side` is None"):
        recording.record(tmp_path / "torch", **pair.arguments())
    with pytest.raises(ValueError, match="`reference` is missing"):
        recording.record(tmp_path / "torch", side="reference", candidate=apply)
    with pytest.raises(ValueError, match="needs `against`"):
        recording.record(tmp_path / "jax", candidate=apply)


BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)

sys.meta_path.insert(0, Block())
from parity.cli import main
main({arguments})
"""

TORCH_SIDE = """
import numpy as np
import torch

def parity_check():
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((5, 4)).astype("float32")
    return {"reference": torch.nn.Linear(4, 4), "inputs": {"x": x}, "name": "apart"}
"""

JAX_SIDE = """
import jax

def apply(params, x):
    return x @ params["kernel"] + params["bias"]

def parity_check():
    shape = jax.ShapeDtypeStruct
    template = {"kernel": shape((4, 4), "float32"), "bias": shape((4,), "float32")}
    return {"candidate": apply, "template": template}

def wrong():
    return {**parity_check(), "candidate": lambda params, x: apply(params, x) + 0.01}
"""

JAX = {"jax", "jaxlib", "flax", "optax", "equinox"}
TORCH = {"torch"}


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs a command in a directory of its own, in a process in which some packages cannot be imported."""
    where = tmp_path_factory.mktemp("apart")
    (where / "torch_side.py").write_text(TORCH_SIDE)
    (where / "jax_side.py").write_text(JAX_SIDE)

    def run(names: set[str], *arguments: str) -> subprocess.CompletedProcess[str]:
        code = BLOCK.format(names=names, arguments=list(arguments))
        command = [sys.executable, "-W", "error", "-c", code]
        return subprocess.run(
            command,
            cwd=where,
            env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(where)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_neither_side_needs_the_other_framework_and_comparing_needs_none(without: Any) -> None:
    done = without(JAX, "record", "torch_side.py", "torch", "--side", "reference")
    assert done.returncode == 0, done.stderr
    assert "quantities of the reference in float64, float32" in done.stdout
    done = without(TORCH, "record", "jax_side.py", "jax", "--side", "candidate", "--against", "torch")
    assert done.returncode == 0, done.stderr
    done = without(JAX | TORCH, "compare", "torch", "jax", "--plan", "--html", "page.html")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("apart: PASS")
    assert "weight (4, 4) -> kernel (4, 4)" in " ".join(done.stdout.split())
    done = without(TORCH, "compare", "torch", "jax_side.py:wrong", "--json", "out.json")
    assert done.returncode == 1, done.stderr
    assert "FAIL forward, float64: output" in done.stdout


def test_the_blocking_blocks(without: Any) -> None:
    done = without(JAX, "record", "jax_side.py", "other", "--side", "reference")
    assert done.returncode == 2
    assert "No module named 'jax' (blocked)" in done.stderr
    assert 'jax_side.py", line 2' in done.stderr
