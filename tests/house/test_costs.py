"""What CONTRIBUTING.md says about the cost of an addition, tried out on a copy of the packages."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("data", "experiments", "jaxnn", "parity", "torchref")

WIDE = {
    "experiments/table.py": '"wide": replace(_LINEAR, hidden=(30,), quick_epochs=2, batch_size=64),',
    "jaxnn/models.py": '"wide": lambda shape, hidden, num_outputs: mlp('
    "(math.prod(shape), *hidden, num_outputs)),",
    "torchref/modules.py": '"wide": lambda shape, hidden, num_outputs: mlp('
    "(checks.num_features(shape), *hidden, num_outputs)),",
}
"""A line for each file, put before the one of `cnn`."""


def test_a_network_costs_three_files(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, line in WIDE.items():
        text = (tmp_path / name).read_text()
        assert text.count('\n        "cnn": ') == 1, name
        (tmp_path / name).write_text(text.replace('\n        "cnn": ', f'\n        {line}\n        "cnn": '))
    done = subprocess.run(
        [sys.executable, "-m", "parity", "run", "wide", "--data", "embedded", "--dtype", "float64"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("wide ")]
    assert row.rstrip().endswith("pass")
