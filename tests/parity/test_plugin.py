"""The pytest plugin in a pytest of its own: what passes, what fails and with which words."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

PAIR = """
import jax
import numpy as np
import pytest
import torch
from torch import nn

import parity


def pair(factor=1.0):
    torch.manual_seed(0)
    shape = jax.ShapeDtypeStruct
    template = {"kernel": shape((4, 3), "float32"), "bias": shape((3,), "float32")}
    x = np.random.default_rng(0).standard_normal((5, 4)).astype("float32")

    def apply(params, x):
        return factor * (x @ params["kernel"] + params["bias"])

    return (nn.Linear(4, 3), apply, {"x": x}), {"template": template, "finite_differences": False}
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs pytest with the plugin, and without any other, on a file of the user's."""

    def start(code: str, *options: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "test_port.py").write_text(PAIR + code)
        # On a CI machine pytest's summary repeats whole messages.
        kept = {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER")}
        environment = {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "pytest", "-p", "parity.plugin", "-p", "no:cacheprovider", *options]
        return subprocess.run(
            [*command, "test_port.py"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return start


def test_passing_failing_defaults_and_pages(run: Any, tmp_path: Path) -> None:
    result = run(
        """
pytestmark = pytest.mark.parity(dtypes=["float32"])


@pytest.mark.parity(dtypes=["float64"], seed=3)
def test_right(parity_check):
    args, kwargs = pair()
    report = parity_check(*args, **kwargs)
    assert report.verdict is parity.Verdict.PASS
    assert report.dtypes == ("float64",)  # the closest marker
    assert parity_check(*args, **kwargs, dtypes=["float32"]).dtypes == ("float32",)  # the call itself


@pytest.mark.parametrize("factor", [1.001])
def test_wrong(parity_check, factor):
    args, kwargs = pair(factor)
    with pytest.raises(BaseException):
        parity_check(*args, **kwargs)
    parity_check(*args, **kwargs)


def test_nonsense(parity_check):
    parity_check(*pair()[0], templete=3)


def test_raising(parity_check):
    def broken(params, x):
        raise RuntimeError("no such luck")

    args, kwargs = pair()
    parity_check(args[0], broken, args[2], **kwargs)


def test_other():
    pass
""",
        "--parity-html",
        "pages/of/failures",
    )
    out = result.stdout
    assert result.returncode == 1, out
    assert "2 passed" in out
    assert "3 failed" in out
    # The report is the message, and nothing of the harness is around it.
    assert "The two programs do not compute the same thing" in out
    assert "test_wrong[1.001]: FAIL" in out
    assert "JAX = 1.001 x PyTorch" in out
    assert "parity/pipeline" not in out
    assert "parity/frameworks" not in out
    assert "plugin.py" not in out
    assert "parity_check takes what parity.check does: there is no argument 'templete'" in out
    assert "(did you mean 'template'?); there are reference, candidate, inputs" in out
    assert "no such luck" in out
    assert "raised by the JAX model" in out
    pages = sorted(path.name for path in (tmp_path / "pages/of/failures").iterdir())
    assert pages == [
        "test_port.py-test_wrong-1.001-2.html",
        "test_port.py-test_wrong-1.001.html",
    ]
    # Said where the failure is, and again at the end.
    assert out.count("pages/of/failures/test_port.py-test_wrong-1.001-2.html") == 2


def test_training_is_compared_and_the_first_words_are_what_differs(run: Any) -> None:
    code = """
import optax

def setting(rate):
    (net, apply, inputs), options = pair()
    batches = [(inputs["x"], np.ones((5, 3), "float32"))] * 3
    optimizer = (torch.optim.SGD(net.parameters(), 0.1), optax.sgd(rate))
    loss = (lambda o, t: ((o - t) ** 2).sum(), lambda o, t: ((o - t) ** 2).sum())
    return (net, apply, batches), {"loss": loss, "optimizer": optimizer, "template": options["template"]}

pytestmark = pytest.mark.parity(dtypes=["float64"])

def test_right(parity_check_training):
    args, options = setting(0.1)
    assert parity_check_training(*args, **options).verdict is parity.Verdict.PASS

def test_wrong(parity_check_training):
    args, options = setting(0.2)
    parity_check_training(*args, **options)

def test_nonsense(parity_check_training):
    parity_check_training(None, None, [], optimiser=1)
"""
    result = run(code)
    assert "2 failed, 1 passed" in result.stdout, result.stdout
    told = "Training parts at step 0, phase schedule: the rate is 0.1 in PyTorch and 0.2 in JAX"
    assert told in result.stdout
    assert "parity_check_training takes what parity.check_training does" in result.stdout


def test_the_marker_selects_the_tests_that_use_the_fixture(run: Any) -> None:
    code = """
def test_uses(parity_check):
    pass

@pytest.mark.parity
def test_marked():
    pass

def test_other():
    pass
"""
    result = run(code, "-m", "parity", "-v", "--strict-markers", "-W", "error")
    assert result.returncode == 0, result.stdout
    assert "2 passed, 1 deselected" in result.stdout
    assert "test_other" not in result.stdout


def test_wrong_use_says_what_is_right(run: Any, tmp_path: Path) -> None:
    result = run('@pytest.mark.parity("float64")\ndef test_a(parity_check): parity_check()\n')
    assert "takes named arguments only" in result.stdout
    (tmp_path / "file").touch()
    result = run("def test_a(): pass\n", "--parity-html", "file")
    assert result.returncode == 4
    assert "--parity-html: cannot make file" in result.stderr


def test_importing_the_plugin_loads_no_framework() -> None:
    code = "import sys, parity.plugin; print(*sorted({'torch', 'jax', 'numpy', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == ""
