"""The command line as its user meets it: exit codes, messages, JSON, and no framework before it must be."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from parity.cli import main
from parity.report.rounded import rounded


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_a_run_prints_the_table_and_writes_what_it_shows(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    result = invoke("run", "logistic", "--epochs", "2", "--json", str(path))
    assert result.exit_code == 0, result.output
    assert "logistic" in result.output
    assert "pass" in result.output
    assert "1 passed" in result.output
    data = json.loads(path.read_text())
    assert data["verdict"] == "pass"
    (case,) = data["cases"]
    assert (case["name"], case["data"], case["epochs"]) == ("logistic", "embedded", 2)
    assert case["environment"]["versions"]["jax"]
    for row in case["quantities"]:
        assert {"rho", "relative_error", "relative_yardstick", "verdict", "stage"} <= set(row)
    curve = next(r["curve"] for r in case["quantities"] if r["name"] == "train_loss")
    assert len(curve["reference"]) == len(curve["candidate"]) == 2
    shown = max(r["rho"] for r in case["quantities"] if r["stage"] == "forward" and r["dtype"] == "float64")
    assert rounded(shown) in result.output


def test_the_erratum_is_presented_and_the_run_is_green() -> None:
    result = invoke("run", "two_layer_as_printed", "--epochs", "2")
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "erratum, found by the harness" in text
    assert "W1 <-> hidden/kernel, b1 <-> hidden/bias, and no other" in text


def test_a_planted_fault_makes_the_run_red(monkeypatch: pytest.MonkeyPatch) -> None:
    import jaxnn

    recipes = {**jaxnn.RECIPES}
    recipes["logistic"] = recipes["logistic"]._replace(
        loss=lambda logits, labels: 2 * jaxnn.losses.binary_cross_entropy(logits, labels)
    )
    monkeypatch.setattr("parity.networks.run_case.jaxnn.RECIPES", recipes)
    result = invoke("run", "logistic", "--epochs", "2", "--dtype", "float64")
    assert result.exit_code == 1, result.output
    assert "FAIL gradients, float64: w <-> kernel" in result.output
    assert "JAX = 2 x PyTorch" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "vgg"], "there is no case vgg"),
        (["run", "--dtype", "float8"], "--dtype is 'float8'"),
        (["run", "--full", "--epochs", "3"], "contradict each other"),
        (["run", "mlp", "--all"], "--all runs every case"),
        (["run", "logistic", "--data", "mnist"], "mnist"),
        (["run", "logistic", "--epochs", "0"], "0"),
        (["run", "logistic", "--json", "no/such/folder/run.json", "--epochs", "2"], "no/such/folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_missing_data_set_says_how_to_prepare_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARITY_DATA_DIR", str(tmp_path))
    result = invoke("run", "logistic", "--data", "sign-digits")
    assert result.exit_code == 2
    assert "python -m data" in result.output


def test_cases_are_listed() -> None:
    output = invoke("cases").output
    assert "cnn_global_pool" in output
    assert "must fail" in output
    asked_for = {line.split()[0] for line in output.splitlines() if "with --all or by name" in line}
    assert {"linear_adam", "linear_early_stop", "cnn_augmented"} <= asked_for
    assert not asked_for & {"logistic", "mlp", "cnn"}


def in_new_process(code: str) -> Any:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_imports_load_no_framework() -> None:
    loaded = "import sys; print(*sorted({'torch', 'jax', 'flax', 'sklearn', 'cv2'} & set(sys.modules)))"
    for package in ("parity", "parity.cli", "data"):
        assert in_new_process(f"import {package}; {loaded}").strip() == "", package
    assert "torch" not in in_new_process(f"import jaxnn; {loaded}").split()
    assert "jax" not in in_new_process(f"import torchref; {loaded}").split()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['parity', '--help']\n"
        "from parity.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*sorted({'torch', 'jax', 'rich', 'numpy'} & set(sys.modules)))"
    )
    output = in_new_process(code)
    assert output.splitlines()[-1] == ""
    assert "Exit codes" in output
