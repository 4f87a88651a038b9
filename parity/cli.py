"""The command line. Frameworks are imported by the commands that need them, so that help is immediate."""

import click

from parity.commands.builtin import cases, published, run
from parity.commands.check import check
from parity.commands.recordings import compare, record
from parity.commands.terminal import EXIT_CODES
from parity.commands.weights import weights


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(package_name="parity-networks", message="%(version)s")
def main() -> None:
    """Say whether a PyTorch program and a JAX program compute the same thing, with evidence.

    \b
    parity check FILE.py:FUNCTION    compare your two models
    parity weights FILE.py:FUNCTION  which tensor is which leaf; convert weights
    parity record, parity compare    the same with one framework at a time
    parity run                       compare the built-in networks, offline, in two minutes
    parity cases                     list them
    parity published                 the notebook's published results beside ours
    """  # noqa: D301 (click wants the character)


for command in (check, weights, record, compare, run, cases, published):
    main.add_command(command)
