"""`parity bench`: how fast the built-in networks train in each program."""

import sys
from typing import TYPE_CHECKING, NamedTuple

import click

from parity.commands.terminal import bad_input, complain, require_networks, require_writable, spinner
from parity.numerics.progress import prefixed

if TYPE_CHECKING:
    from parity.networks.benchmark.harness import Cost
    from parity.networks.benchmark.timing import Timing
    from parity.networks.registry import Case

DEFAULT = ("logistic", "softmax", "mlp", "cnn", "softmax:64")
"""Cases of a run without names."""

DEFAULT_HARNESS = ("logistic", "softmax", "mlp", "cnn")
"""The same with --harness."""


@click.command(epilog="Exit codes: 0 timed, 1 a case does not agree and was not timed, 2 error.")
@click.argument("cases", nargs=-1, metavar="[CASE[:RUNS] ...]")
@click.option("--data", "data_name", default="embedded", show_default=True, metavar="NAME")
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]))
@click.option("--repeats", default=10, show_default=True, type=click.IntRange(min=1), help="Runs of each.")
@click.option(
    "--seconds",
    default=0.5,
    show_default=True,
    type=click.FloatRange(min=0.0, min_open=True),
    help="What one run of eager PyTorch may take; the number of epochs follows from it.",
)
@click.option("--no-compile", is_flag=True, help="Leave out torch.compile, which compiles for half a minute.")
@click.option("--harness", is_flag=True, help="Time parity.check itself against plain passes instead.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Write all figures to this file.")
@click.option("--figure", "figure_path", type=click.Path(dir_okay=False), help="Draw the times here.")
def bench(
    cases: tuple[str, ...],
    data_name: str,
    device: str,
    repeats: int,
    seconds: float,
    no_compile: bool,
    harness: bool,
    json_path: str | None,
    figure_path: str | None,
) -> None:
    """Time the built-in networks: whole training runs, the same weights, data and metrics in each program.

    CASE is a name, or NAME:RUNS for many learning rates of one start at once. Without CASE: logistic,
    softmax, mlp, cnn and softmax:64. Each case is compared first, in float64 and float32, and timed only if
    it agrees. All programs run in turns; the first run of each, which compiles, is apart.

    With --harness: parity.check of each case against a plain forward and backward pass of both frameworks,
    and its time by phase.
    """
    with bad_input():
        require_networks()
        require_writable(json_path, figure_path)
        options = _Options(data_name, device, json_path, figure_path)
        if harness:
            refused = _time_checks(cases, options, repeats)
        else:
            refused = _time_training(cases, options, repeats, seconds, compiled=not no_compile)
    for line in refused:
        complain(line)
    sys.exit(1 if refused else 0)


def find_asked(names: tuple[str, ...]) -> list[tuple["Case", int | None]]:
    """Find the cases of names like `softmax` and, with many runs, `softmax:64`.

    Args:
        names: as the user wrote them.

    Returns:
        Each case with its number of runs, None for a single one.

    Raises:
        ValueError: naming every unknown case, or what is no number of runs.

    >>> [(case.name, runs) for case, runs in find_asked(("softmax", "softmax:64"))]
    [('softmax', None), ('softmax', 64)]
    """
    from parity.networks.registry import find_cases

    found: list[tuple[Case, int | None]] = []
    split = [name.partition(":") for name in dict.fromkeys(names)]
    cases = {case.name: case for case in find_cases(tuple(case for case, _, _ in split))}
    for name, colon, runs in split:
        if colon and not (runs.isdecimal() and int(runs) > 0):
            raise ValueError(
                f"{name}:{runs} must be NAME:RUNS, the number of runs at least 1, e.g. {name}:64"
            )
        found.append((cases[name], int(runs) if colon else None))
    return found


class _Options(NamedTuple):
    """Options of both benchmarks: the data, the device, and the files to write."""

    data_name: str
    device: str
    json_path: str | None
    figure_path: str | None


def _not_timed(name: str) -> str:
    return f"{name} is not timed: its two programs do not compute the same"


def _time_training(
    cases: tuple[str, ...], options: _Options, repeats: int, seconds: float, *, compiled: bool
) -> list[str]:
    """Time training, write, draw and print; returns a line per case that was refused."""
    from rich.console import Console

    from parity.networks.benchmark import bench_tables as show
    from parity.report.json import write_json

    chosen = find_asked(cases or DEFAULT)
    timings: list[Timing] = []
    refused: dict[str, str] = {}
    with spinner("loading PyTorch and JAX") as progress:
        from parity.frameworks.environment import environment
        from parity.networks.benchmark import machine, timing, work
        from parity.networks.benchmark.contenders import all_contenders
        from parity.networks.benchmark.prepared_case import prepare_case
        from parity.networks.run_case import run_case
        from parity.numerics.precision import pinned, require_device
        from parity.report.results import Verdict

        require_device(options.device)
        with pinned():
            progress("measuring the machine")
            limits, in_force = machine.measure_machine(options.device), environment(options.device)
        agree: dict[str, bool] = {}
        for number, (case, runs) in enumerate(chosen, 1):
            named = prefixed(progress, f"{number}/{len(chosen)} {case.name}")
            if case.name not in agree:
                named("checking that both programs compute the same")
                verdict = run_case(case, data_name=options.data_name, device=options.device).verdict
                agree[case.name] = case.erratum is None and verdict is Verdict.PASS
            if not agree[case.name]:
                refused[case.name] = _not_timed(case.name)
                continue
            with pinned():
                prepared = prepare_case(case, data_name=options.data_name, device=options.device, runs=runs)
                needed = work.of_epoch(
                    prepared.pair.candidate.call,
                    prepared.params,
                    prepared.arrays,
                    prepared.jax_recipe.loss,
                    prepared.torch_recipe.batch_size,
                    runs or 1,
                )
                several = list(all_contenders(prepared, compiled=compiled))
                timings += timing.time_contenders(
                    prepared, several, limits, needed, repeats=repeats, seconds=seconds, progress=named
                )
    if timings:
        if options.json_path:
            write_json(show.timings_as_data(limits, timings, in_force), options.json_path)
        if options.figure_path:
            show.draw_timings(timings, options.figure_path)
        show.print_timings(Console(), limits, timings)
    return list(refused.values())


def _time_checks(cases: tuple[str, ...], options: _Options, repeats: int) -> list[str]:
    """Time `parity.check` itself, write, draw and print; returns a line per case that was refused."""
    from rich.console import Console

    from parity.networks.benchmark import harness_tables as show
    from parity.networks.registry import find_cases
    from parity.report.json import write_json

    chosen = find_cases(cases or DEFAULT_HARNESS)
    costs: list[Cost] = []
    refused = []
    with spinner("loading PyTorch and JAX") as progress:
        from parity.frameworks.environment import environment
        from parity.networks.benchmark.harness import cost
        from parity.networks.drawing import draw_case
        from parity.numerics.precision import pinned, require_device

        require_device(options.device)
        with pinned():
            in_force = environment(options.device)
            for number, case in enumerate(chosen, 1):
                named = prefixed(progress, f"{number}/{len(chosen)} {case.name}")
                drawn = draw_case(case, options.data_name)
                found = cost(case.name, drawn, device=options.device, repeats=repeats, progress=named)
                if found is None or case.erratum is not None:
                    refused.append(_not_timed(case.name))
                else:
                    costs.append(found)
    if costs:
        if options.json_path:
            write_json(show.costs_as_data(costs, in_force), options.json_path)
        if options.figure_path:
            show.draw_costs(costs, options.figure_path)
        show.print_costs(Console(), costs)
    return refused
