"""`parity record` and `parity compare`: one framework at a time."""

import sys
from pathlib import Path
from typing import Any

import click

from parity.commands.check_pair import show, write_reports
from parity.commands.target import Arguments, Target, opened, parse, running_models
from parity.commands.terminal import EXIT_CODES, Stage, bad_input, complain, progress, require_writable, under


@click.command(epilog="Exit codes: 0 recorded, 2 error (bad input, a model that raises).")
@click.argument("target", metavar="FILE.py[:FUNCTION]")
@click.argument("directory", metavar="DIR")
@click.option("--side", required=True, type=click.Choice(["torch", "jax"]), help="Which model runs.")
@click.option("--weights", metavar="DIR", help="The recording of PyTorch's side, for --side jax.")
def record(target: str, directory: str, side: str, weights: str | None) -> None:
    """Run one side of a comparison and keep what the other is compared with, in DIR.

    FUNCTION is that of `parity check`; the other side's arguments may be missing, and so may the other
    framework. PyTorch's side comes first, because JAX's runs with its weights and inputs:

    \b
      parity record torch_side.py torch/ --side torch
      parity record jax_side.py jax/ --side jax --weights torch/
      parity compare torch/ jax/
    """  # noqa: D301 (click wants the character)
    with bad_input(TypeError):
        from parity.pipeline import record as run
        from parity.pipeline.recordings import require_room

        chosen = parse(target)
        require_room(directory)
        if (weights is None) != (side == "torch"):
            raise ValueError(
                "--side jax needs --weights, the recording of PyTorch's side"
                if side == "jax"
                else "--weights is for --side jax; PyTorch's side has its own weights"
            )
        with progress(f"{chosen.label}: importing") as stage, opened(chosen) as arguments:
            given = _given(chosen, arguments, stage)
            with running_models(chosen):
                recording = run(directory, side=side, weights=weights, **given)
    sides = recording.runs[""]
    count = sum(len(group) for group in next(iter(sides.values())).base.values())
    click.echo(f"{directory}: {count} quantities of the {side} side in {', '.join(sides)}")


@click.command(epilog=EXIT_CODES)
@click.argument("first", metavar="DIR")
@click.argument("second", metavar="DIR|FILE.py[:FUNCTION]")
@click.option("--json", "json_path", metavar="PATH", help="Write all figures to this file.")
@click.option("--html", "html_path", metavar="PATH", help="Write a page to look at and to pass on.")
@click.option("--junit", "junit_path", metavar="PATH", help="Write JUnit XML, for continuous integration.")
@click.option("--plan", is_flag=True, help="Print the weight plan, too.")
@click.option("-v", "--verbose", is_flag=True, help="Show every compared quantity.")
def compare(
    first: str,
    second: str,
    json_path: str | None,
    html_path: str | None,
    junit_path: str | None,
    plan: bool,
    verbose: bool,
) -> None:
    """Compare two recordings, or that of PyTorch's side with the JAX model of FILE.py:FUNCTION.

    With two recordings neither framework is needed.
    """
    with bad_input(TypeError):
        from parity.pipeline import compare as run

        require_writable(json_path, html_path, junit_path)
        if Path(second).is_dir() or not _is_python(second):
            report = run(first, second)
        else:
            chosen = parse(second)
            with progress(f"{chosen.label}: importing") as stage, opened(chosen) as arguments:
                given = _given(chosen, arguments, stage)
                stage(f"{chosen.label}: running the JAX side")
                report = run(first, given)
        if report.error is not None and not report.quantities:
            complain(report.error.removeprefix("ValueError: "))
        else:
            show(report, plan=plan, verbose=verbose)
        write_reports([report], json_path, html_path, junit_path, report.seconds)
    sys.exit(report.verdict.exit_code)


def _is_python(text: str) -> bool:
    return ".py" in Path(text).name


def _given(target: Target, arguments: Arguments, stage: Stage) -> dict[str, Any]:
    """The arguments by name; those of the other side may be missing."""
    args, kwargs = arguments
    given = {**dict(zip(("torch_model", "jax_model", "inputs"), args, strict=False)), **kwargs}
    return {"name": target.label, "stage": under(stage, target.label), **given}
