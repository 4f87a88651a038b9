"""`parity check FILE.py:FUNCTION` as its user meets it: files found, errors theirs, answers in every form."""

import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner, Result

import parity
from parity.cli import main
from parity.report.results import Quantity, Report, Verdict
from tests.kit.errors import HARNESS

MODEL = """
import jax.numpy as jnp

FACTOR = 1.0

def apply(params, x):
    return jnp.tanh(x @ params["kernel"] + params["bias"]) * FACTOR
"""

PAIR = """
import jax
import numpy as np
import torch
from torch import nn

import model


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.dense = nn.Linear(4, 3)

    def forward(self, x):
        return torch.tanh(self.dense(x))


def parity_check():
    shape = jax.ShapeDtypeStruct
    template = {"kernel": shape((4, 3), "float32"), "bias": shape((3,), "float32")}
    x = np.random.default_rng(0).standard_normal((5, 4)).astype("float32")
    return {
        "reference": Net(),
        "candidate": model.apply,
        "inputs": {"x": x},
        "template": template,
        "finite_differences": False,
        "dtypes": ["float64"],
    }


def in_two():
    arguments = parity_check()
    models = arguments.pop("reference"), arguments.pop("candidate")
    return models, arguments


def wrong():
    arguments = parity_check()
    right = arguments["candidate"]
    arguments["candidate"] = lambda params, x: 1.001 * right(params, x)
    return arguments
"""


BOTH = {"reference": 0, "candidate": 0, "inputs": 0}
"""Arguments without which nothing is checked."""


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A file with a right and a wrong pair, and the module beside it that it imports."""
    (tmp_path / "model.py").write_text(MODEL)
    path = tmp_path / "pair.py"
    path.write_text(PAIR)
    return path


@pytest.fixture
def user(tmp_path: Path) -> Any:
    """Writes a file of the user's."""

    def write(code: str, name: str = "user.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        return path

    return write


def test_a_right_pair_passes_and_leaves_nothing_behind(pair: Path) -> None:
    path, modules = list(sys.path), set(sys.modules)
    result = invoke("check", pair)
    assert result.exit_code == 0, result.output
    assert f"{pair}: PASS" in words(result.stdout)
    assert sys.path == path
    assert not {"pair", "model"} & (set(sys.modules) - modules)


def test_several_targets_are_told_apart_and_the_gravest_decides(pair: Path, tmp_path: Path) -> None:
    files = {kind: tmp_path / f"report.{kind}" for kind in ("json", "html", "xml")}
    result = invoke(
        "check",
        f"{pair}:in_two",
        f"{pair}:wrong",
        *("--json", files["json"], "--html", files["html"], "--junit", files["xml"], "--plan", "-v"),
    )
    assert result.exit_code == 1, result.output
    assert f"{pair}:in_two: PASS" in words(result.stdout)
    assert f"{pair}:wrong: FAIL" in words(result.stdout)
    assert "JAX = 1.001 x PyTorch" in result.stdout
    assert "dense.weight (3, 4) -> kernel (4, 3) permute (1, 0)" in words(result.stdout)
    assert "PASS forward, float64: output" in words(result.stdout)  # --verbose
    assert "2 checked: 1 pass, 1 fail" in result.stdout
    data = json.loads(files["json"].read_text())
    assert data["verdict"] == "fail"
    assert [report["verdict"] for report in data["reports"]] == ["pass", "fail"]
    suites = ElementTree.parse(files["xml"]).getroot()
    assert int(suites.attrib["failures"]) > 0
    pages = [(tmp_path / f"report-{number}.html").read_text() for number in (1, 2)]
    assert [f"pair.py:{name}" in page for page, name in zip(pages, ("in_two", "wrong"), strict=True)] == [
        True,
        True,
    ]


def test_options_override_what_the_function_says(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def check(
        reference: Any,
        candidate: Any,
        inputs: Any,
        weights: parity.Weights,
        settings: parity.Settings,
        name: str,
        progress: Any,
    ) -> Report:
        assert weights.template.keys() == {"kernel", "bias"}
        assert not settings.finite_differences
        seen.update(dtypes=settings.dtypes, name=name, device=settings.device, reproduce=settings.reproduce)
        return Report("name", (Quantity("forward", "outputs", "y", "float32", Verdict.PASS, 1.0),))

    monkeypatch.setattr("parity.pipeline.check.check", check)
    result = invoke("check", pair, "--dtype", "bfloat16,float32", "--reproduce", "there", "--device", "cpu")
    assert result.exit_code == 0, result.output
    dtypes = ["bfloat16", "float32"]
    assert seen == {"dtypes": dtypes, "name": str(pair), "device": "cpu", "reproduce": "there"}


@pytest.mark.parametrize("verdict", list(Verdict))
def test_exit_codes_are_those_of_the_verdict(
    verdict: Verdict, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(reference: Any, candidate: Any, inputs: Any, name: str, progress: Any) -> Report:
        return Report(name, (Quantity("forward", "outputs", "y", "float64", verdict, 1.0),))

    monkeypatch.setattr("parity.pipeline.check.check", check)
    codes = {"pass": 0, "fail": 1, "error": 2, "inconclusive": 3}
    assert invoke("check", user(f"def parity_check(): return {BOTH}")).exit_code == codes[verdict.value]


@pytest.mark.parametrize(
    ("code", "target", "message"),
    [
        ("", "missing.py", "missing.py is not there"),
        ("", ".", "is a directory"),
        ("", "user.py:no-name", "'no-name' is not the name of a function"),
        ("def a(): ...\ndef b(x): ...\n", "user.py", "has no function 'parity_check'; it has a"),
        ("f = 3", "user.py:f", "is of type int"),
        ("def f(x): ...", "user.py:f", "needs the arguments x"),
        ("def f(): ...", "user.py:f", "returned None; it must return the arguments of parity.check"),
        ("def f(): return 1, {}", "user.py:f", "returned a tuple of int, dict"),
        ("def f(): return {'modle': 1, 'inputs': 2}", "user.py:f", "there is no argument 'modle'"),
        ("def f(): return {'referense': 1}", "user.py:f", "did you mean 'reference'?"),
        ("def f(): return {'torch_model': 1}", "user.py:f", "'torch_model' is called reference now"),
        ("def f(): return {'reference': 1, 'candidate': 2}", "user.py:f", "'inputs'"),
    ],
)
def test_what_is_wrong_with_a_target_is_one_line(
    code: str, target: str, message: str, user: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user(code)
    monkeypatch.chdir(tmp_path)
    result = invoke("check", target)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "no/such/out.json"], "there is no directory no/such"),
        (["--html", "no/such/out.html"], "there is no directory no/such"),
        (["--junit", "."], "it is a directory"),
        (
            ["--dtype", "float8"],
            "--dtype is 'float8'; choose one or several of float64, float32, bfloat16, float16",
        ),
    ],
)
def test_options_are_checked_before_the_long_work(
    options: list[str], message: str, user: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = user("from pathlib import Path\nPath('ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    result = invoke("check", path, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("code", "where", "what"),
    [
        (
            "def helper():\n    return {}['a']\n\ndef parity_check():\n    return helper()\n",
            2,
            "KeyError: 'a'",
        ),
        ("import no_such_module\n", 1, "No module named 'no_such_module'"),
        ("def f(:\n", 1, "SyntaxError"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3"),
    ],
)
def test_an_error_in_the_users_file_is_shown_with_the_users_lines(
    code: str, where: int, what: str, user: Any
) -> None:
    path = user(code)
    result = invoke("check", path)
    assert result.exit_code == 2
    assert f'File "{path}", line {where}' in result.stderr
    assert what in result.stderr
    assert HARNESS not in result.stderr
    assert "site-packages" not in result.stderr


def test_what_the_comparison_could_not_do_is_told_of_its_target(
    user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(reference: Any, candidate: Any, inputs: Any, name: str, progress: Any) -> Report:
        return Report(name, (), error="WeightError: nothing fits")

    monkeypatch.setattr("parity.pipeline.check.check", check)
    path = user(f"def parity_check(): return {BOTH}\n")
    result = invoke("check", path)
    assert result.exit_code == 2
    assert result.stderr == f"parity: {path}: WeightError: nothing fits\n"


def test_an_error_in_one_target_spares_the_others(pair: Path, user: Any, tmp_path: Path) -> None:
    broken = user("1 / 0\n")
    out = tmp_path / "out.json"
    result = invoke("check", broken, pair, "--json", out)
    assert result.exit_code == 2
    assert "ZeroDivisionError" in result.stderr
    assert f"{pair}: PASS" in words(result.stdout)
    assert [report["verdict"] for report in json.loads(out.read_text())["reports"]] == ["error", "pass"]


def test_a_model_that_raises_spares_the_other_targets_and_its_line_is_shown(pair: Path, user: Any) -> None:
    broken = user(
        "import pair\n"
        "def raising(params, x):\n    raise RuntimeError('no such layer')\n"
        "def parity_check():\n    return {**pair.parity_check(), 'candidate': raising}\n"
    )
    result = invoke("check", broken, pair)
    assert result.exit_code == 2
    assert f'File "{broken}", line 3' in result.stderr
    assert "no such layer" in result.stderr
    assert "raised by the JAX model" in result.stderr
    assert HARNESS not in result.stderr
    assert f"{pair}: PASS" in words(result.stdout)


def test_bad_input_spares_the_other_targets(pair: Path, user: Any) -> None:
    bad = user("import pair\ndef parity_check(): return {**pair.parity_check(), 'inputs': {}}\n")
    result = invoke("check", bad, pair)
    assert result.exit_code == 2
    assert "`inputs` is empty" in result.stderr
    assert f"{pair}: PASS" in words(result.stdout)


@pytest.mark.parametrize("place", ["beside the file", "in the current directory"])
def test_relative_data_is_found(
    place: str, user: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = user("import numpy as np\ndef f(): return {'no_argument': np.load('x.npy')}\n", "sub/user.py")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    np.save((path.parent if place == "beside the file" else elsewhere) / "x.npy", np.ones(2))
    monkeypatch.chdir(elsewhere)
    result = invoke("check", f"{path}:f")
    assert "no_argument" in result.stderr  # it was called, and returned
    assert Path.cwd() == elsewhere


def test_missing_data_is_told_of_the_place_where_the_user_is(
    user: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = user("open('nothing.bin')\n", "sub/user.py")
    monkeypatch.chdir(tmp_path)
    result = invoke("check", path)
    assert "FileNotFoundError" in result.stderr
    assert "nothing.bin" in result.stderr


def test_modules_of_the_same_name_in_two_directories_are_two(user: Any) -> None:
    targets = []
    for name in ("one", "two"):
        user(f"NAME = '{name}'\n", f"{name}/shared_name.py")
        targets.append(user("import shared_name\ndef f(): return {shared_name.NAME: 0}\n", f"{name}/user.py"))
    result = invoke("check", *(f"{target}:f" for target in targets))
    assert "no argument 'one'" in result.stderr
    assert "no argument 'two'" in result.stderr


def test_a_late_import_beside_the_file_works_when_the_model_runs(
    user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    user("VALUE = 7\n", "late_module.py")
    path = user(
        "def f():\n    import late_module\n    return late_module.VALUE\n"
        "def g(): return {'reference': f, 'candidate': 0, 'inputs': 0}\n"
    )

    def check(reference: Any, candidate: Any, inputs: Any, name: str, progress: Any) -> Report:
        assert reference() == 7
        return Report(name, (Quantity("forward", "outputs", "y", "float64", Verdict.PASS, 1.0),))

    monkeypatch.setattr("parity.pipeline.check.check", check)
    assert invoke("check", f"{path}:g").exit_code == 0
