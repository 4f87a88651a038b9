"""`parity bench`: how fast the built-in networks train in each program."""

import sys

import click

from parity.commands.terminal import bad_input, complain, progress, require_writable, under

DEFAULT = ("logistic", "softmax", "mlp", "cnn")
"""Cases of a run without names."""


@click.command(epilog="Exit codes: 0 timed, 1 a case does not agree and was not timed, 2 error.")
@click.argument("cases", nargs=-1, metavar="[CASE ...]")
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
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Write all figures to this file.")
@click.option("--figure", "figure_path", type=click.Path(dir_okay=False), help="Draw the times here.")
def bench(
    cases: tuple[str, ...],
    data_name: str,
    device: str,
    repeats: int,
    seconds: float,
    no_compile: bool,
    json_path: str | None,
    figure_path: str | None,
) -> None:
    """Time the built-in networks: whole training runs, the same weights, data and metrics in each program.

    Without CASE: logistic, softmax, mlp and cnn. Each case is compared first, in float64 and float32, and
    timed only if it agrees. All programs run in turns; the first run of each, which compiles, is apart.
    """
    from rich.console import Console

    from parity.render import bench as show

    out = Console()
    timings, refused = [], []
    with bad_input():
        from parity.cases.registry import find_cases

        chosen = find_cases(cases or DEFAULT)
        require_writable(json_path, figure_path)
        with progress("loading PyTorch and JAX") as stage:
            from parity.bench import machine, programs, timing, work
            from parity.cases.run import run_case
            from parity.precision import environment, pinned, require_device
            from parity.result import Verdict

            require_device(device)
            with pinned():
                stage("measuring the machine")
                limits, surroundings = machine.measure(device), environment(device)
            for number, case in enumerate(chosen, 1):
                head = under(stage, f"{number}/{len(chosen)} {case.name}")
                head("do both compute the same?")
                verdict = run_case(case, data_name=data_name, device=device).verdict
                if case.erratum is not None or verdict is not Verdict.PASS:
                    refused.append(f"{case.name} is not timed: its two programs do not compute the same")
                    continue
                with pinned():
                    setting = programs.setting(case, data_name=data_name, device=device)
                    needed = work.of_epoch(
                        setting.pair.jax.call,
                        setting.params,
                        setting.arrays,
                        setting.theirs.loss,
                        setting.ours.batch_size,
                    )
                    several = list(programs.programs(setting, compiled=not no_compile))
                    timings += timing.compare(
                        setting, several, limits, needed, repeats=repeats, seconds=seconds, stage=head
                    )
    for line in refused:
        complain(line)
    if timings:
        with bad_input():
            if json_path:
                from parity.render.json import write_json

                write_json(show.as_data(limits, timings, surroundings), json_path)
            if figure_path:
                show.draw_timings(timings, figure_path)
        show.print_timings(out, limits, timings)
    sys.exit(1 if refused else 0)
