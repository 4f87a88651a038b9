"""Every kind of pair of sides: a right pair passes, a planted fault is placed at its line and explained."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity.pipeline.arguments import sorted_arguments
from parity.report.kinds import Stage
from parity.report.results import Report, Verdict
from tests.sides.declare import Arguments, PairOfSides, fault_lines, pairs

ROOT = Path(__file__).resolve().parents[3]

QUICK = {"dtypes": ["float64"], "finite_differences": False}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What one test compiles is not there in the next."""
    yield
    jax.clear_caches()
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


def check(arguments: Arguments) -> Report:
    return parity.check(**sorted_arguments(QUICK | arguments))


def each(*, quick_too: bool = True) -> list[Any]:
    """All pairs; those that are not quick with `-m whole`."""
    return [
        pytest.param(one, marks=() if one.quick and quick_too else (pytest.mark.whole,), id=one.name)
        for one in pairs()
    ]


class Kept:
    """What a model holds before a check, to be compared with what it holds after."""

    def __init__(self, model: Any, params: Any) -> None:
        """Copies of the state of `model`, and of `params`."""
        self.model, self.params = model, params
        self.before = self.state()

    def state(self) -> list[Any]:
        """Mode, gradients and numbers, as they are now."""
        if isinstance(self.model, nn.Module):
            tensors = {**self.model.state_dict(), **dict(self.model.named_buffers())}
            modes = [module.training for module in self.model.modules()]
            grads = [parameter.grad for parameter in self.model.parameters()]
            needed = [parameter.requires_grad for parameter in self.model.parameters()]
            return [modes, grads, needed, {name: t.detach().numpy().copy() for name, t in tensors.items()}]
        leaves = [x for x in jax.tree.leaves((self.model, self.params)) if hasattr(x, "shape")]
        leaves = [x.numpy() if isinstance(x, torch.Tensor) else x for x in leaves]
        return [np.array(x) for x in leaves if not isinstance(x, jax.ShapeDtypeStruct)]

    def require_unchanged(self) -> None:
        """Compare bit for bit."""
        after = self.state()
        if isinstance(self.model, nn.Module):
            assert after[:3] == self.before[:3]
            after, before = after[3], self.before[3]
            assert list(after) == list(before)
            assert all(np.array_equal(after[name], before[name]) for name in after)
        else:
            assert all(map(np.array_equal, after, self.before))


def both_sides(arguments: Arguments) -> list[Kept]:
    return [
        Kept(arguments["reference"], arguments.get("reference_params")),
        Kept(arguments["candidate"], arguments.get("template")),
    ]


@pytest.mark.parametrize("pair", each())
def test_a_right_pair_passes(pair: PairOfSides) -> None:
    arguments = pair.build(False)
    kept = both_sides(arguments)
    report = check(arguments)
    assert report.verdict is Verdict.PASS, str(report)
    assert report.divergences == ()
    for side in kept:
        side.require_unchanged()


@pytest.mark.parametrize("pair", each())
def test_a_fault_is_placed_and_explained(pair: PairOfSides) -> None:
    arguments = pair.build(True)
    kept = both_sides(arguments)
    report = check(arguments)
    assert report.verdict is Verdict.FAIL, str(report)
    assert {q.stage for q in report.failures()} >= {pair.stage}
    if pair.stage is Stage.GRADIENTS:
        assert report.failures("forward") == ()
    first = report.divergences[0]
    assert first.stage is pair.stage
    marked = fault_lines(pair.name)
    named = {(place.file, place.line) for place in first.candidate}
    assert named & marked or not marked, str(report)
    assert first.reference
    if pair.cause:
        assert first.cause is not None, str(report)
        assert first.cause.name in pair.cause, str(report)
    for side in kept:
        side.require_unchanged()


def test_every_kind_of_pair_is_there_and_quick_once() -> None:
    """A guard: of each kind a pair runs by default; only where no gradient is left has a fault no line."""
    kinds = {one.name.partition("/")[0] for one in pairs() if one.quick or one.name == "jax-torch/gru"}
    assert kinds == {
        "torch-torch",
        "torch-compiled",
        "torch-functions",
        "linen-nnx",
        "nnx-equinox",
        "linen-equinox",
        "haiku-nnx",
        "jax-functions",
        "linen-torch",
        "nnx-torch",
        "jax-torch",
    }
    assert {one.name for one in pairs() if not fault_lines(one.name)} == {"nnx-torch/detach"}


def test_weights_folded_before_the_check_do_not_pair_up() -> None:
    """A candidate without the normalisation that the reference has lacks its weights: each is named."""
    reference = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    with pytest.raises(parity.WeightError) as caught:
        parity.check(reference, nn.Conv2d(3, 4, 3), {"input": np.ones((1, 3, 5, 5), np.float32)})
    for name in ("1.weight", "1.running_mean", "1.running_var"):
        assert name in str(caught.value)


ALONE = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)

sys.meta_path.insert(0, Block())
import numpy as np
import parity

settings = parity.Settings(dtypes=["float64"], finite_differences=False)
inputs = {{"x": np.random.default_rng(0).standard_normal((5, 4)).astype("float32")}}
{sides}
right, wrong = (parity.check(reference, candidate, inputs, settings=settings, weights=weights)
                for candidate in candidates)
assert right.verdict.value == "pass", str(right)
assert wrong.verdict.value == "fail", str(wrong)
(place, *_), cause = wrong.divergences[0].candidate, wrong.divergences[0].cause
print(place.line, cause.name.value)
"""

TORCH_ALONE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.fc, self.head, self.form = nn.Linear(4, 6), nn.Linear(6, 3), form

    def forward(self, x):
        return self.head(nn.functional.gelu(self.fc(x), approximate=self.form))

reference, candidates, weights = Net("none"), (Net("none"), Net("tanh")), None
"""

JAX_ALONE = """
import jax
import jax.numpy as jnp

def net(approximate):
    def apply(params, x):
        return jax.nn.gelu(x @ params["fc"], approximate=approximate) @ params["head"]
    return apply

params = {"fc": jnp.sin(jnp.arange(24.0)).reshape(4, 6), "head": jnp.cos(jnp.arange(18.0)).reshape(6, 3)}
reference, candidates = net(False), (net(False), net(True))
weights = parity.Weights(reference_params=params, template=params)
"""

JAX = {"jax", "jaxlib", "flax", "optax", "equinox", "haiku"}


@pytest.mark.parametrize(
    ("sides", "names"),
    [(TORCH_ALONE, JAX), (JAX_ALONE, {"torch"})],
    ids=["without-jax", "without-torch"],
)
def test_one_framework_is_enough(sides: str, names: set[str], tmp_path: Path) -> None:
    """Two sides of one framework are checked, and a fault explained, where the other cannot be imported."""
    script = tmp_path / "alone.py"
    script.write_text(ALONE.format(names=names, sides=sides))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    number, _, cause = done.stdout.strip().partition(" ")
    assert cause == "activation"
    assert "gelu" in script.read_text().splitlines()[int(number) - 1]
