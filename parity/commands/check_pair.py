"""`parity check` and `parity check-training`: the user's own pair."""

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from parity.commands.target import (
    TargetError,
    TargetFunction,
    by_name,
    opened,
    parse,
    require_both_sides,
    running_models,
)
from parity.commands.terminal import (
    EXIT_CODES,
    bad_input,
    complain,
    require_writable,
    spinner,
    split_dtypes,
)
from parity.numerics.progress import prefixed

if TYPE_CHECKING:
    from parity.report.results import Report


@click.command(epilog=EXIT_CODES)
@click.argument("targets", nargs=-1, required=True, metavar="FILE.py[:FUNCTION] ...")
@click.option("--dtype", "dtypes", help="Precisions to judge, separated by commas, instead of FUNCTION's.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Instead of FUNCTION's.")
@click.option("--json", "json_path", metavar="PATH", help="Write all figures to this file.")
@click.option("--html", "html_path", metavar="PATH", help="Write a page to look at and to pass on.")
@click.option("--junit", "junit_path", metavar="PATH", help="Write JUnit XML, for continuous integration.")
@click.option("--plan", is_flag=True, help="Print the weight plan, too.")
@click.option("--reproduce", metavar="DIR", help="Write the smallest reproducer of a divergence here.")
@click.option("-v", "--verbose", is_flag=True, help="Show every place, note and quantity.")
def check(
    targets: tuple[str, ...],
    dtypes: str | None,
    device: str | None,
    json_path: str | None,
    html_path: str | None,
    junit_path: str | None,
    plan: bool,
    reproduce: str | None,
    verbose: bool,
) -> None:
    """Compare two models: weights, outputs, gradients, and where the two first part.

    FUNCTION (by default parity_check) takes nothing and returns the arguments of parity.check: a dict, or
    (positional arguments, dict). The fields of parity.Weights and parity.Settings may stand among them:

    \b
        def parity_check():
            return {"reference": Net(), "candidate": net,
                    "inputs": {"x": x}, "template": params}

    Modules beside FILE.py can be imported. Of several targets each has its own report; the exit code is
    that of the gravest. JSON and JUnit hold all of them; pages are named report-1.html, report-2.html.
    """  # noqa: D301 (click wants the character)
    options = {} if reproduce is None else {"reproduce": reproduce}
    outputs = Outputs(json_path, html_path, junit_path, plan=plan, verbose=verbose)
    run_checks(targets, "check", dtypes, device, options, outputs)


@click.command("check-training", epilog=EXIT_CODES)
@click.argument("targets", nargs=-1, required=True, metavar="FILE.py[:FUNCTION] ...")
@click.option("--dtype", "dtypes", help="Precisions to judge, separated by commas, instead of FUNCTION's.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Instead of FUNCTION's.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps to train, instead of FUNCTION's.")
@click.option("--json", "json_path", metavar="PATH", help="Write all figures to this file.")
@click.option("--html", "html_path", metavar="PATH", help="Write a page to look at and to pass on.")
@click.option("--junit", "junit_path", metavar="PATH", help="Write JUnit XML, for continuous integration.")
@click.option("--plan", is_flag=True, help="Print the weight plan, too.")
@click.option("-v", "--verbose", is_flag=True, help="Show every place, note and quantity.")
def check_training(
    targets: tuple[str, ...],
    dtypes: str | None,
    device: str | None,
    steps: int | None,
    json_path: str | None,
    html_path: str | None,
    junit_path: str | None,
    plan: bool,
    verbose: bool,
) -> None:
    """Train two models side by side: the first step in which they part, the phase of it, and why.

    FUNCTION (by default parity_check_training) takes nothing and returns the arguments of
    parity.check_training: a dict, or (positional arguments, dict). The fields of parity.Weights and
    parity.Settings may stand among them:

    \b
        def parity_check_training():
            net = Net()
            return {"reference": net, "candidate": port, "batches": batches,
                    "loss": (torch_loss, jax_loss), "template": params,
                    "optimizer": (torch.optim.Adam(net.parameters()), optax.adam(1e-3))}

    Reports and exit codes are those of `parity check`.
    """  # noqa: D301 (click wants the character)
    options = {} if steps is None else {"steps": steps}
    outputs = Outputs(json_path, html_path, junit_path, plan=plan, verbose=verbose)
    run_checks(targets, "check_training", dtypes, device, options, outputs)


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Where reports go.

    Attributes:
        json_path: a file for JSON, or None.
        html_path: a file for HTML, or None.
        junit_path: a file for JUnit XML, or None.
        plan: whether to print the weight plan, too.
        verbose: whether to print every place, note and quantity.
    """

    json_path: str | None
    html_path: str | None
    junit_path: str | None
    plan: bool
    verbose: bool


def run_checks(
    targets: Sequence[str],
    function: str,
    dtypes: str | None,
    device: str | None,
    given: Mapping[str, object],
    outputs: Outputs,
) -> NoReturn:
    """Compare what each target returns, show and write the reports, and exit with the gravest verdict.

    Args:
        targets: as the user wrote them.
        function: "check" or "check_training".
        dtypes: precisions to judge, separated by commas; None for the target's own.
        device: instead of the target's own, or None.
        given: other arguments instead of the target's own.
        outputs: where the reports go.
    """
    from parity.report.results import Verdict

    started = time.perf_counter()
    options = dict(given)
    with bad_input():
        chosen = [parse(text, function) for text in targets]
        require_writable(outputs.json_path, outputs.html_path, outputs.junit_path)
        if dtypes is not None:
            from parity.numerics.arrays import EPS

            options["dtypes"] = split_dtypes(dtypes, tuple(EPS))
        if device is not None:
            options["device"] = device
    reports = []
    for number, target in enumerate(chosen, 1):
        head = f"{number}/{len(chosen)} " if len(chosen) > 1 else ""
        report = _checked(target, options, head)
        reports.append(report)
        if report.error is None or report.quantities:
            show(report, plan=outputs.plan, verbose=outputs.verbose)
        else:
            named = report.error.startswith(report.name)
            complain(report.error if named else f"{report.name}: {report.error}")
    verdict = Verdict.worst(report.verdict for report in reports)
    with bad_input():
        paths = (outputs.json_path, outputs.html_path, outputs.junit_path)
        write_reports(reports, *paths, time.perf_counter() - started)
    if len(reports) > 1:
        counts = [(word, sum(r.verdict is word for r in reports)) for word in Verdict]
        summary = ", ".join(f"{count} {word.value}" for word, count in counts if count)
        click.echo(f"{len(reports)} checked: {summary}")
    sys.exit(verdict.exit_code)


def _checked(target: TargetFunction, options: Mapping[str, object], head: str) -> "Report":
    """The report on one target; what is wrong with the user's file is its error."""
    from parity.report.results import Report

    started = time.perf_counter()
    try:
        with spinner(f"{head}{target.label}: importing") as progress, opened(target) as arguments:
            named = prefixed(progress, f"{head}{target.label}")
            named("loading PyTorch and JAX")
            import parity
            from parity.pipeline.arguments import CALLS, sorted_arguments

            given = {**by_name(target, arguments), "progress": named, **options}
            require_both_sides(target, given)
            with running_models(target):
                report: Report = getattr(parity, target.call)(**sorted_arguments(given, CALLS[target.call]))
                return report
    except TargetError as error:
        return Report(target.label, (), error=str(error), seconds=time.perf_counter() - started)


def show(report: "Report", *, plan: bool, verbose: bool) -> None:
    """Print a report.

    Args:
        report: what to print.
        plan: whether to print the weight plan, too.
        verbose: whether to print every place, every note and every compared quantity, too.
    """
    from parity.report.text import describe

    click.echo(describe(report, plan=plan, verbose=verbose))


def write_reports(
    reports: "Sequence[Report]",
    json_path: str | None,
    html_path: str | None,
    junit_path: str | None,
    seconds: float,
) -> None:
    """Write reports as JSON and JUnit XML (all in one file) and as HTML (a page for each).

    Args:
        reports: at least one.
        json_path: file for JSON; None for no such file.
        html_path: file for HTML; of several reports each has a number behind the name.
        junit_path: file for JUnit XML.
        seconds: of the whole run.

    Raises:
        OSError: if a file cannot be written.
    """
    from parity.report.results import Verdict

    if json_path:
        from parity.report.json import write_json

        verdict = Verdict.worst(report.verdict for report in reports)
        rows = [report.as_dict() for report in reports]
        write_json({"verdict": verdict.value, "seconds": seconds, "reports": rows}, json_path)
    if junit_path:
        from parity.report.junit import write_junit

        write_junit(reports, junit_path)
    if html_path:
        from parity.report.html import write_html

        path = Path(html_path)
        for number, report in enumerate(reports, 1):
            page = path if len(reports) == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
            write_html(report, page)
