"""`parity record` and `parity compare`: one framework at a time."""

import sys
from pathlib import Path

import click

from parity.commands.check_pair import show, write_reports
from parity.commands.target import by_name, opened, parse, running_models
from parity.commands.terminal import EXIT_CODES, bad_input, require_writable, spinner
from parity.numerics.progress import prefixed


@click.command(epilog="Exit codes: 0 recorded, 2 error (bad input, a model that raises).")
@click.argument("target", metavar="FILE.py[:FUNCTION]")
@click.argument("directory", metavar="DIR")
@click.option(
    "--side", required=True, type=click.Choice(["reference", "candidate"]), help="Which model runs."
)
@click.option("--against", metavar="DIR", help="The recording of the reference, for --side candidate.")
@click.option("--trace", is_flag=True, help="Keep every value of the reference: then comparing finds places.")
@click.option(
    "--stream",
    is_flag=True,
    help="For models larger than memory: read weights at each use, write values as they come; on both sides.",
)
@click.option("--training", is_flag=True, help="Record how it trains: FUNCTION is that of check-training.")
def record(
    target: str, directory: str, side: str, against: str | None, trace: bool, stream: bool, training: bool
) -> None:
    """Run one side of a comparison and keep what the other is compared with, in DIR.

    FUNCTION is that of `parity check`, with --training that of `parity check-training`; the other side's
    arguments may be missing, and so may the other framework, or another version of the same one. The
    reference comes first, because the candidate runs with its weights and inputs:

    \b
      parity record torch_side.py reference/ --side reference --trace
      parity record jax_side.py candidate/ --side candidate --against reference/
      parity compare reference/ candidate/
      parity compare reference/ jax_side.py        the same at once, with the place of a difference

    With --training each side trains in its own environment, with the reference's weights and batches; the
    candidate's file returns candidate, loss=(None, JAX's) and optimizer=(None, optax's):

    \b
      parity record torch_side.py reference/ --side reference --trace --training
      parity record jax_side.py candidate/ --side candidate --training --against reference/
      parity compare reference/ candidate/

    With --stream a model may be larger than memory. FUNCTION names the files of the reference's weights as
    weights_file, safetensors or a directory of them; its module may lie on PyTorch's meta device, and the
    candidate has shapes as its template. The forward pass is judged, and its place found by compare:

    \b
      parity record pair.py reference/ --side reference --stream
      parity record pair.py candidate/ --side candidate --stream --against reference/
      parity compare reference/ candidate/
    """  # noqa: D301 (click wants the character)
    with bad_input(TypeError):
        from parity.pipeline.record import record as run
        from parity.pipeline.recorded_training import is_training
        from parity.pipeline.recordings import require_room

        chosen = parse(target, "check_training" if training else "check")
        require_room(directory)
        if (against is None) != (side == "reference"):
            raise ValueError(
                "--side candidate needs --against, the recording of the reference"
                if side == "candidate"
                else "--against is for --side candidate; the reference has its own weights"
            )
        if trace and side == "candidate":
            raise ValueError("--trace is for --side reference; a candidate is traced when it runs")
        if trace and stream:
            raise ValueError("--stream writes every value by itself; leave --trace out")
        if against is not None and is_training(Path(against)) != training:
            raise ValueError(
                f"{against} is a recording of training: give --training"
                if not training
                else f"{against} is no recording of training: leave --training out, or record it with it"
            )
        with spinner(f"{chosen.label}: importing") as progress, opened(chosen) as arguments:
            given = {**by_name(chosen, arguments), "progress": prefixed(progress, chosen.label)}
            if training and side == "reference":
                given = {"batches": (), **given}  # a file without them is told so
            with running_models(chosen):
                recording = run(directory, side=side, against=against, trace=trace, stream=stream, **given)
    if training:
        click.echo(f"{directory}: {recording.settings['steps']} steps of training of the {side}")
        return
    sides = recording.runs[""]
    count = sum(len(group) for group in next(iter(sides.values())).base.values())
    quantities = "1 quantity" if count == 1 else f"{count} quantities"
    click.echo(f"{directory}: {quantities} of the {side} in {', '.join(sides)}")


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
    """Compare two recordings, or that of the reference with the candidate of FILE.py:FUNCTION.

    With two recordings neither framework is needed. With the candidate itself, and a reference that was
    recorded with --trace, the place of a difference is found as in `parity check`.
    """
    with bad_input(TypeError):
        from parity.pipeline.record import compare as run
        from parity.pipeline.recorded_training import is_training

        require_writable(json_path, html_path, junit_path)
        if Path(second).is_dir() or not _is_python(second):
            report = run(first, second)
        else:
            chosen = parse(second, "check_training" if is_training(Path(first)) else "check")
            with spinner(f"{chosen.label}: importing") as progress, opened(chosen) as arguments:
                given = by_name(chosen, arguments)
                with running_models(chosen):
                    report = run(first, given, progress=prefixed(progress, chosen.label))
        show(report, plan=plan, verbose=verbose)
        write_reports([report], json_path, html_path, junit_path, report.seconds)
    sys.exit(report.verdict.exit_code)


def _is_python(text: str) -> bool:
    return ".py" in Path(text).name
