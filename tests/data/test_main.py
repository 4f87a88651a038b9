import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from data import store
from data.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="python -m data")


def test_help_names_the_commands_and_the_layouts() -> None:
    assert all(f"\n  {command} " in _run("--help").output for command in ("prepare", "fetch", "info"))
    assert "Dataset/<digit>/*.JPG" in _run("prepare", "--help").output
    assert "--sha256" in _run("fetch", "--help").output
    assert store.VARIABLE in _run("info", "--help").output


def test_prepare_then_info(digits_folder: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    before = _run("info")
    assert before.exit_code == 0
    assert "not prepared" in before.output
    assert "python -m data prepare sign-digits SOURCE" in before.output
    assert all(name in before.output for name in ("embedded", "sign-digits", "dogs-cats", "diabetes"))
    done = _run("prepare", "sign-digits", digits_folder)
    assert done.exit_code == 0
    assert f"sign-digits: 20 photographs in {empty_store}" in done.stdout
    assert "100%" in done.stderr
    after = _run("info", "sign-digits").output
    assert "(20, 64, 64)" in after
    assert "9:2  0:2  7:2" in after
    assert str(empty_store / "sign-digits.npz") in after
    assert digits_folder.name in after
    assert "embedded" not in after


def test_info_of_bundled_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert "(442, 10)" in _run("info", "diabetes").output
    embedded = _run("info", "embedded").output
    assert "(1797, 64, 64)" in embedded
    assert "0:178" in embedded


def test_info_shows_a_corrupt_set(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    empty_store.mkdir()
    (empty_store / "dogs-cats.npz").write_bytes(b"PK")
    shown = _run("info")
    assert shown.exit_code == 0
    assert "is corrupt; prepare dogs-cats again" in shown.output


def test_directory_comes_before_the_variable(pets_folder: Path, tmp_path: Path, empty_store: Path) -> None:
    assert _run("prepare", "dogs-cats", pets_folder, "--directory", tmp_path / "mine", "--quiet").stderr == ""
    assert (tmp_path / "mine" / "dogs-cats.npz").is_file()
    assert not empty_store.exists()


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["prepare", "mnist", "."], "unknown data set 'mnist'"),
        (["prepare", "sign-digits", "/nowhere"], "'/nowhere' does not exist"),
        (["fetch", "dogs-cats"], "cannot be fetched without an account"),
        (["fetch", "sign-digits", "--sha256", "12"], "`sha256` must be 64 hexadecimal digits"),
        (["info", "mnist"], "unknown data set 'mnist'"),
    ],
)
def test_errors_are_one_line_and_exit_with_two(arguments: list[str], reason: str) -> None:
    failed = _run(*arguments)
    assert failed.exit_code == 2
    assert failed.stderr.startswith("Error: ")
    assert reason in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert failed.stdout == ""


def test_the_command_runs_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "data", "prepare", "dogs-cats", tmp_path / "pets"]
    failed = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.startswith("Error: ")
    assert "Traceback" not in failed.stderr
