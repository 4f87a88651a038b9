import subprocess
import sys
from pathlib import Path

import jaxnn

ROOT = Path(jaxnn.__file__).parents[1]


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_import_pulls_in_no_other_room_and_no_torch():
    others = ("torch", "torchref", "data", "parity", "matplotlib")
    code = f"import sys, jaxnn; print([m for m in {others} if m in sys.modules])"
    assert run_python(code) == "[]"


def test_import_leaves_the_configuration_of_jax_alone():
    code = (
        "import jax; before = dict(jax.config.values); import jaxnn; print(before == dict(jax.config.values))"
    )
    assert run_python(code) == "True"


def test_public_names():
    for name in ("Model", "fit", "Fit", "sweep", "Sweep", "per_sample_grads", "Recipe", "RECIPES"):
        assert name in jaxnn.__all__
    assert callable(jaxnn.sweep)
