"""What importing the package loads, and what it offers."""

import subprocess
import sys
from pathlib import Path

import torchref


def test_import_loads_neither_jax_nor_the_other_packages() -> None:
    program = (
        "import sys, torchref; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} "
        "& {'jax', 'jaxlib', 'flax', 'optax', 'jaxnn', 'data', 'parity', 'torch', 'beartype'}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(torchref.__file__).parents[1],
    )
    assert done.stdout.strip() == "['torch']"


def test_public_names_exist() -> None:
    assert all(hasattr(torchref, name) for name in torchref.__all__)
