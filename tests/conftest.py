"""Settings of the whole suite: Hypothesis without chance, and a data store that is never the user's."""

import os
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread each: the workers share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # nor of what the user has compiled

import jax
import pytest
from hypothesis import settings

import data
from data import store

jax.config.update("jax_num_cpu_devices", 8)  # virtual ones, for the tests of meshes; not of processes started

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

settings.register_profile("house", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("house")


OFF = {
    "whole": "minutes: the rest of the faults and of the right ports; select it with -m whole",
    "published": "hours of training: select it with -m published",
    "by_hand": "minutes of a check of the checks: select it with -m by_hand",
}
"""Markers of tests that run only when the user selects them, and why."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests with a marker of `OFF` run only when the user selects them with `-m`."""
    chosen = config.getoption("-m") or ""
    for item in items:
        for marker, reason in OFF.items():
            if marker in item.keywords and marker not in chosen:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads the user's cache: every one starts with a store of its own that does not exist yet."""
    place = tmp_path / "store"
    monkeypatch.setenv(store.VARIABLE, str(place))
    return place


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of the real archives."""
    if not (SHARED / "sign_digits.zip").is_file():
        pytest.skip(f"requires_photographs: {SHARED} is not there")
    return SHARED


@pytest.fixture(scope="session")
def _prepared_photographs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("photographs")
    data.prepare("sign-digits", shared / "sign_digits.zip", directory=directory, progress=False)
    data.prepare("dogs-cats", shared / "dogs_cats_sample.zip", directory=directory, progress=False)
    return directory


@pytest.fixture
def photographs(_prepared_photographs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real photographs, prepared once, where `load` looks for them."""
    monkeypatch.setenv(store.VARIABLE, str(_prepared_photographs))
    return _prepared_photographs
