"""`parity run`, `parity cases` and `parity published`: the built-in networks."""

import contextlib
import functools
import math
import sys
import time
from typing import TYPE_CHECKING

import click

from parity.commands.terminal import (
    EXIT_CODES,
    bad_input,
    require_networks,
    require_writable,
    spinner,
    split_dtypes,
)
from parity.numerics.progress import prefixed

if TYPE_CHECKING:
    from parity.networks.registry import CaseResult
    from parity.report.results import Verdict

JUDGED = ("float64", "float32")
"""Precisions of the built-in cases."""


@click.command(epilog=EXIT_CODES)
@click.argument("cases", nargs=-1, metavar="[CASE ...]")
@click.option("--all", "every", is_flag=True, help="Run those, too, that are not run by default.")
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
@click.option(
    "--world",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Train over so many processes, too: a mesh in JAX, DistributedDataParallel in PyTorch.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Run so many cases at once (default: one per core, 4 at most; 1 with --world or on a GPU).",
)
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Write all figures to this file.")
@click.option("--figure", "figure_path", type=click.Path(dir_okay=False), help="Draw the curves here.")
@click.option("-v", "--verbose", is_flag=True, help="Show every compared quantity.")
def run(
    cases: tuple[str, ...],
    every: bool,
    data_name: str,
    dtypes: str,
    device: str,
    epochs: int | None,
    learning_rate: float | None,
    full: bool,
    seed: int,
    world: int,
    jobs: int | None,
    json_path: str | None,
    figure_path: str | None,
    verbose: bool,
) -> None:
    """Compare built-in networks in both frameworks: weights, forward, gradients, step and curve.

    Without CASE the notebook's own networks run, for a few epochs each; with --all also its exercises and its
    means against overfitting: Adam and a schedule, early stopping, dropout, penalties, augmentation. The
    columns show the worst rho of each stage: difference over yardstick, the yardstick being how far one-ulp
    noise moves the two programs. At most 10 passes.
    """
    from rich.console import Console

    from parity.networks import console as show
    from parity.report.results import Verdict

    started = time.perf_counter()
    out = Console()
    with bad_input(RuntimeError):
        require_networks()
        from parity.networks.registry import find_cases

        chosen = find_cases(cases, every=every)
        require_writable(json_path, figure_path)
        if learning_rate is not None and not math.isfinite(learning_rate):
            raise ValueError(f"--learning-rate is {learning_rate}; it must be a finite number")
        judged = split_dtypes(dtypes, JUDGED)
        if world > 1 and (jobs or 1) > 1:
            raise ValueError("--world and --jobs share out the same cores; give one of them")
        if full and epochs:
            raise ValueError("--full and --epochs contradict each other; give one of them")
        with contextlib.ExitStack() as stack:
            progress = stack.enter_context(spinner("loading PyTorch and JAX"))
            from parity.networks.pool import default_jobs, run_cases
            from parity.numerics.precision import require_device

            require_device(device)
            group = None
            if world > 1:
                from parity.networks.parallel import join
                from parity.networks.processes import process_group

                progress(f"starting {world} processes")
                group = stack.enter_context(process_group(world, functools.partial(join, device=device)))
            results = run_cases(
                chosen,
                jobs=jobs or (default_jobs(device, len(chosen)) if world == 1 else 1),
                progress=progress,
                data_name=data_name,
                dtypes=judged,
                device=device,
                epochs=epochs,
                learning_rate=learning_rate,
                full=full,
                seed=seed,
                group=group,
            )
    verdict = Verdict.worst(result.verdict for result in results)
    seconds = time.perf_counter() - started
    with bad_input():  # before printing: a reader of the table may close the pipe
        if json_path:
            _write(json_path, results, verdict, seconds)
        if figure_path:
            from parity.networks.figure import draw_curves

            draw_curves([result.report for result in results], figure_path)
    show.print_table(out, [(r.report, r.verdict, r.erratum.text if r.erratum else None) for r in results])
    if world > 1:
        show.print_programs(out, [result.report for result in results])
    for result in results:
        if result.confirmed and result.erratum is not None:
            show.print_erratum(out, result.report, result.erratum.text)
        if verbose or (result.verdict is not Verdict.PASS):
            show.print_findings(out, result.report, everything=verbose)
    counts = _counts(results)
    skipped = list(dict.fromkeys(line for r in results for line in r.report.not_checked))
    if not full and epochs is None:
        few = "curves are a few epochs on few samples; --full takes the notebook's epochs and all samples"
        skipped.append(f"long training: {few}")
    show.print_summary(out, results[0].report, counts, seconds, skipped)
    sys.exit(verdict.exit_code)


@click.command()
def cases() -> None:
    """List the built-in cases."""
    with bad_input():
        require_networks()
    from parity.networks.registry import CASES

    for case in CASES.values():
        asked = "" if case.by_default else ", with --all or by name"
        click.echo(f"{case.name:22} {case.quick_epochs:3} epochs by default{asked}")
        if case.erratum:
            why = click.wrap_text(f"must fail: {case.erratum.text}", 80, " " * 4, " " * 4)
            click.echo(why)


@click.command()
@click.argument("recipes", nargs=-1, metavar="[RECIPE ...]")
@click.option("--data", "data_name", help="Only experiments on this data set.", metavar="NAME")
@click.option("--seeds", type=click.IntRange(min=1), help="Runs per experiment (default: 5, two-layer 10).")
def published(recipes: tuple[str, ...], data_name: str | None, seeds: int | None) -> None:
    """Repeat the notebook's published experiments in full and print both results side by side.

    Needs the photographs (`python -m data prepare sign-digits ...`) and about half an hour. Exit code 1
    when a row that should land where the notebook did does not.
    """
    from rich.console import Console

    from parity.networks.published_table import print_reruns

    with bad_input():
        require_networks()
        from parity.networks.published import PUBLISHED, TRAIN_TOLERANCE, VAL_TOLERANCE, rerun

        chosen = [
            row
            for row in PUBLISHED
            if (not recipes or row.recipe in recipes) and (data_name is None or row.data == data_name)
        ]
        if not chosen:
            known = ", ".join(dict.fromkeys(row.recipe for row in PUBLISHED))
            raise ValueError(f"no published experiment fits; there are results for {known}")
        reruns = []
        with spinner("starting") as progress:
            for number, row in enumerate(chosen, 1):
                named = prefixed(progress, f"{number}/{len(chosen)} {row.title}")
                reruns.append(rerun(row, num_seeds=seeds, progress=named))
    print_reruns(Console(), reruns, (TRAIN_TOLERANCE, VAL_TOLERANCE))
    sys.exit(1 if any(r.agrees is False for r in reruns) else 0)


def _counts(results: "list[CaseResult]") -> dict[str, int]:
    counts = {"passed": 0, "erratum confirmed": 0, "failed": 0, "error": 0, "inconclusive": 0}
    words = {"pass": "passed", "fail": "failed"}
    for result in results:
        word = words.get(result.verdict.value, result.verdict.value)
        counts["erratum confirmed" if result.confirmed else word] += 1
    return counts


def _write(path: str, results: "list[CaseResult]", verdict: "Verdict", seconds: float) -> None:
    from parity.report.json import write_json

    rows: list[dict[str, object]] = [
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
