"""`parity bench`: how fast the built-in networks train in each program."""

import sys
from typing import TYPE_CHECKING, Any

import click

from parity.commands.terminal import bad_input, complain, require_networks, require_writable, spinner
from parity.numerics.progress import prefixed

if TYPE_CHECKING:
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
        if harness:
            refused = _time_checks(cases, data_name, device, repeats, json_path, figure_path)
        else:
            refused = _time_training(
                cases, data_name, device, repeats, seconds, no_compile, json_path, figure_path
            )
    for line in refused:
        complain(line)
    sys.exit(1 if refused else 0)


def find_asked(names: tuple[str, ...]) -> list[tuple["Case", int | None]]:
    """The cases of names like `softmax` and, with many runs, `softmax:64`.

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


def _time_training(
    cases: tuple[str, ...],
    data_name: str,
    device: str,
    repeats: int,
    seconds: float,
    no_compile: bool,
    json_path: str | None,
    figure_path: str | None,
) -> list[str]:
    """Time, write, draw and print; returns what was refused, in words."""
    from rich.console import Console

    from parity.networks.benchmark import bench_tables as show
    from parity.report.json import write_json

    chosen = find_asked(cases or DEFAULT)
    timings: list[Any] = []
    refused: dict[str, str] = {}
    with spinner("loading PyTorch and JAX") as progress:
        from parity.networks.benchmark import machine, timing, work
        from parity.networks.benchmark.contenders import all_contenders
        from parity.networks.benchmark.prepared_case import prepare_case
        from parity.networks.run_case import run_case
        from parity.numerics.precision import environment, pinned, require_device
        from parity.report.results import Verdict

        require_device(device)
        with pinned():
            progress("measuring the machine")
            limits, surroundings = machine.measure_machine(device), environment(device)
        agree: dict[str, bool] = {}
        for number, (case, runs) in enumerate(chosen, 1):
            head = prefixed(progress, f"{number}/{len(chosen)} {case.name}")
            if case.name not in agree:
                head("do both compute the same?")
                verdict = run_case(case, data_name=data_name, device=device).verdict
                agree[case.name] = case.erratum is None and verdict is Verdict.PASS
            if not agree[case.name]:
                refused[case.name] = f"{case.name} is not timed: its two programs do not compute the same"
                continue
            with pinned():
                held = prepare_case(case, data_name=data_name, device=device, runs=runs)
                needed = work.of_epoch(
                    held.pair.candidate.call,
                    held.params,
                    held.arrays,
                    held.jax_recipe.loss,
                    held.torch_recipe.batch_size,
                    runs or 1,
                )
                several = list(all_contenders(held, compiled=not no_compile))
                timings += timing.time_contenders(
                    held, several, limits, needed, repeats=repeats, seconds=seconds, progress=head
                )
    if timings:
        if json_path:
            write_json(show.timings_as_data(limits, timings, surroundings), json_path)
        if figure_path:
            show.draw_timings(timings, figure_path)
        show.print_timings(Console(), limits, timings)
    return list(refused.values())


def _time_checks(
    cases: tuple[str, ...],
    data_name: str,
    device: str,
    repeats: int,
    json_path: str | None,
    figure_path: str | None,
) -> list[str]:
    """The same for `parity.check` itself."""
    from rich.console import Console

    from parity.networks.benchmark import harness_tables as show
    from parity.networks.registry import find_cases
    from parity.report.json import write_json

    chosen = find_cases(cases or DEFAULT_HARNESS)
    costs: list[Any] = []
    refused = []
    with spinner("loading PyTorch and JAX") as progress:
        from parity.networks.benchmark.harness import cost
        from parity.networks.drawing import draw_case
        from parity.numerics.precision import environment, pinned, require_device

        require_device(device)
        with pinned():
            surroundings = environment(device)
            for number, case in enumerate(chosen, 1):
                head = prefixed(progress, f"{number}/{len(chosen)} {case.name}")
                drawn = draw_case(case, data_name)
                found = cost(case.name, drawn, device=device, repeats=repeats, progress=head)
                if found is None or case.erratum is not None:
                    refused.append(f"{case.name} is not timed: its two programs do not compute the same")
                else:
                    costs.append(found)
    if costs:
        if json_path:
            write_json(show.costs_as_data(costs, surroundings), json_path)
        if figure_path:
            show.draw_costs(costs, figure_path)
        show.print_costs(Console(), costs)
    return refused
