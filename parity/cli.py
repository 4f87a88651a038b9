"""The command line. Frameworks are imported by the commands that need them, so that help is immediate."""

import os
from pathlib import Path

import click
import platformdirs

from parity.commands.check_pair import check, check_training
from parity.commands.convert_weights import weights
from parity.commands.record_pair import compare, record
from parity.commands.run_benchmark import bench
from parity.commands.run_networks import cases, published, run
from parity.commands.terminal import EXIT_CODES


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(package_name="parity-networks", message="%(version)s")
def main() -> None:
    """Say whether two programs, in PyTorch or JAX, compute the same thing, with evidence.

    \b
    parity check FILE.py:FUNCTION    compare your two models
    parity check-training FILE.py    train both; the first step that differs
    parity weights FILE.py:FUNCTION  which weight is which; convert weights
    parity record, parity compare    the same with one side at a time
    parity run                       compare the built-in networks, offline
    parity bench                     time them, beside the limit of the machine
    parity cases                     list them
    parity published                 repeat the notebook's published results

    What XLA compiles is kept in the user's cache folder for the next time; JAX_COMPILATION_CACHE_DIR names
    another, JAX_ENABLE_COMPILATION_CACHE=false turns it off.
    """  # noqa: D301 (click wants the character)
    cache = Path(platformdirs.user_cache_dir("parity-networks")) / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**30))


for command in (check, check_training, weights, record, compare, run, bench, cases, published):
    main.add_command(command)
