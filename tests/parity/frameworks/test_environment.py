"""What a report says a run ran with."""

import subprocess
import sys

import flax
import haiku
import jax
import torch

from parity.frameworks.environment import environment
from parity.numerics.precision import pinned


def test_environment_names_versions_and_settings() -> None:
    with pinned():
        found = environment()
    assert found.versions["torch"] == torch.__version__
    assert found.versions["jax"] == jax.__version__
    assert found.settings["torch conv fp32"] == "ieee"
    assert list(found.devices) == ["PyTorch", "JAX"]
    assert found.devices["PyTorch"].startswith("cpu (")
    assert list(environment(sides=["jax"]).devices) == ["JAX"]


def test_versions_are_those_of_the_libraries_that_are_loaded() -> None:
    found = environment(sides=["jax"]).versions
    assert found["flax"] == flax.__version__
    assert found["haiku"] == haiku.__version__
    assert "torch" not in found
    assert not {"flax", "haiku"} & set(environment(sides=["torch"]).versions)
    code = (
        "from parity.frameworks.environment import environment; print(*environment(sides=['jax']).versions)"
    )
    alone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert alone.split() == ["python", "jax", "jaxlib", "numpy"]
