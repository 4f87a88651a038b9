"""The command line. Frameworks are imported by the commands that need them, so that help is immediate."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from parity.cases.run import CaseResult

EXIT_CODES = "Exit codes: 0 pass, 1 fail, 2 error (bad input, a model that raises), 3 inconclusive."


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(package_name="parity-networks", message="%(version)s")
def main() -> None:
    r"""Say whether a PyTorch program and a JAX program compute the same thing, with evidence.

    \b
    parity run            compare the built-in networks, offline, in two minutes
    parity cases          list them
    parity published      the notebook's published results beside ours
    """


@main.command(epilog=EXIT_CODES)
@click.argument("cases", nargs=-1, metavar="[CASE ...]")
@click.option(
    "--data",
    "data_name",
    default="embedded",
    show_default=True,
    metavar="NAME",
    help="embedded, sign-digits or dogs-cats; `python -m data info` says what is prepared.",
)
@click.option(
    "--dtype",
    "dtypes",
    default="float64,float32",
    show_default=True,
    help="Precisions to judge, separated by commas.",
)
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]))
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of the curve (default: few).")
@click.option("--learning-rate", type=float, help="Instead of the recipe's.")
@click.option("--full", is_flag=True, help="Train for the notebook's number of epochs.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the weights.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Write all figures to this file.")
@click.option("--figure", "figure_path", type=click.Path(dir_okay=False), help="Draw the curves here.")
@click.option("-v", "--verbose", is_flag=True, help="Show every compared quantity.")
def run(
    cases: tuple[str, ...],
    data_name: str,
    dtypes: str,
    device: str,
    epochs: int | None,
    learning_rate: float | None,
    full: bool,
    seed: int,
    json_path: str | None,
    figure_path: str | None,
    verbose: bool,
) -> None:
    """Compare built-in networks in both frameworks: weights, forward, gradients, step and curve.

    Without CASE all of them run, for a few epochs each. The columns show the worst rho of each stage:
    difference over yardstick, the yardstick being how far one-ulp noise moves the two programs. At most
    10 passes.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from parity.render import console as show
    from parity.result import Verdict

    started = time.perf_counter()
    out = Console()
    results: list[CaseResult] = []
    with _bad_input():
        from parity.cases.registry import find_cases

        chosen = find_cases(cases)
        for path in (json_path, figure_path):
            if path and not Path(path).absolute().parent.is_dir():
                raise ValueError(
                    f"cannot write {path}: there is no directory {Path(path).parent}; make it first"
                )
        if learning_rate is not None and not math.isfinite(learning_rate):
            raise ValueError(f"--learning-rate is {learning_rate}; it must be a finite number")
        judged = _dtypes(dtypes)
        if full and epochs:
            raise ValueError("--full and --epochs contradict each other; give one of them")
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("loading PyTorch and JAX")
            from parity.cases.run import run_case
            from parity.precision import require_device

            require_device(device)
            for number, case in enumerate(chosen, 1):
                head = f"{number}/{len(chosen)} {case.name}"

                def stage(text: str, head: str = head) -> None:
                    progress.update(task, description=f"{head}: {text}")

                result = run_case(
                    case,
                    data_name=data_name,
                    dtypes=judged,
                    device=device,
                    epochs=epochs,
                    learning_rate=learning_rate,
                    full=full,
                    seed=seed,
                    stage=stage,
                )
                results.append(result)
    verdict = Verdict.worst(result.verdict for result in results)
    seconds = time.perf_counter() - started
    with _bad_input():  # before printing: a reader of the table may close the pipe
        if json_path:
            _write(json_path, results, verdict, seconds)
        if figure_path:
            from parity.render.figure import draw_curves

            draw_curves([result.report for result in results], figure_path)
    show.print_table(out, [(r.report, r.verdict, r.erratum.text if r.erratum else None) for r in results])
    for result in results:
        if result.confirmed and result.erratum is not None:
            show.print_erratum(out, result.report, result.erratum.text)
        if verbose or (result.verdict is not Verdict.PASS):
            show.print_findings(out, result.report, everything=verbose)
    counts = _counts(results)
    skipped = list(dict.fromkeys(line for r in results for line in r.report.not_checked))
    if not full and epochs is None:
        few = "curves are a few epochs on 300 samples; --full takes the notebook's epochs and all samples"
        skipped.append(f"long training: {few}")
    show.print_summary(out, results[0].report, counts, seconds, skipped)
    sys.exit(verdict.exit_code)


@main.command()
def cases() -> None:
    """List the built-in cases."""
    from parity.cases.registry import CASES

    for case in CASES.values():
        erratum = f"  must fail: {case.erratum.text}" if case.erratum else ""
        click.echo(f"{case.name:22} {case.quick_epochs:3} epochs by default{erratum}")


@main.command()
@click.argument("recipes", nargs=-1, metavar="[RECIPE ...]")
@click.option("--data", "data_name", help="Only experiments on this data set.", metavar="NAME")
@click.option("--seeds", type=click.IntRange(min=1), help="Runs per experiment (default: 5, two-layer 10).")
def published(recipes: tuple[str, ...], data_name: str | None, seeds: int | None) -> None:
    """Repeat the notebook's published experiments in full and print both results side by side.

    Needs the photographs (`python -m data prepare sign-digits ...`) and about half an hour. Exit code 1
    when a row that should land where the notebook did does not.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from parity.render.published import print_reruns

    with _bad_input():
        from parity.cases.published import EXPERIMENTS, TRAIN_TOLERANCE, VAL_TOLERANCE, rerun

        chosen = [
            e
            for e in EXPERIMENTS
            if (not recipes or e.recipe in recipes) and (data_name is None or e.data == data_name)
        ]
        if not chosen:
            known = ", ".join(dict.fromkeys(e.recipe for e in EXPERIMENTS))
            raise ValueError(f"no published experiment fits; there are results for {known}")
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        reruns = []
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("starting")
            for number, experiment in enumerate(chosen, 1):
                head = f"{number}/{len(chosen)} {experiment.title}"

                def stage(text: str, head: str = head) -> None:
                    progress.update(task, description=f"{head}: {text}")

                reruns.append(rerun(experiment, num_seeds=seeds, stage=stage))
    print_reruns(Console(), reruns, (TRAIN_TOLERANCE, VAL_TOLERANCE))
    sys.exit(1 if any(r.agrees is False for r in reruns) else 0)


def _dtypes(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = ("float64", "float32")
    if not names or any(name not in known for name in names):
        raise ValueError(f"--dtype is {text!r}; it must name {' and '.join(known)}, or one of them")
    return list(dict.fromkeys(names))


def _counts(results: "list[CaseResult]") -> dict[str, int]:
    counts = {"passed": 0, "erratum confirmed": 0, "failed": 0, "error": 0, "inconclusive": 0}
    words = {"pass": "passed", "fail": "failed"}
    for result in results:
        word = words.get(result.verdict.value, result.verdict.value)
        counts["erratum confirmed" if result.confirmed else word] += 1
    return counts


def _write(path: str, results: "list[CaseResult]", verdict: Any, seconds: float) -> None:
    from parity.render.json import write_json

    rows = [
        {
            **result.report.as_dict(),
            "verdict": result.verdict.value,
            "comparison": result.report.verdict.value,
            "data": result.data,
            "epochs": result.epochs,
            "erratum": result.erratum.text if result.erratum else None,
        }
        for result in results
    ]
    write_json({"verdict": verdict.value, "seconds": seconds, "cases": rows}, path)


@contextlib.contextmanager
def _bad_input() -> Iterator[None]:
    """Errors of the user's making become one line on stderr and exit code 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        click.echo(f"parity: {error}", err=True)
        sys.exit(2)
