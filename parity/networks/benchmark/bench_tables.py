"""The table, the data and the picture of `parity bench`."""

import dataclasses
import os
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from parity.networks.picture import save_figure
from parity.report.results import Environment

if TYPE_CHECKING:
    from parity.networks.benchmark.machine import Machine
    from parity.networks.benchmark.timing import Timing


COLUMNS = ("ms/\nepoch", "spread", "x\neager", "x own\nform", "compile\ns", "peak\nMiB", "limit")
"""After case and program; 80 columns are enough for the longest names."""


def print_timings(console: Console, machine: "Machine", timings: Sequence["Timing"]) -> None:
    """Print a row per program, then remarks on single rows, then what the columns mean.

    Args:
        console: where to print; 80 columns are enough.
        machine: the limits that shares are of.
        timings: the rows, in order.
    """
    table = _table("case", "program", *COLUMNS)
    for timing, case in zip(timings, _cases_once(timings), strict=True):
        head = [case, timing.program]
        if not timing.times:
            table.add_row(*head, *["-"] * len(COLUMNS))
            continue
        own_step = "*" if timing.per != "epoch" else ""
        ratios = [_ratio(r) for r in (timing.ratios, timing.own_ratios)]
        cells = [f"{own_step}{_number(1e3 * timing.median)}", f"{timing.spread:.0%}", *ratios]
        peak = "-" if timing.peak_bytes is None else f"{timing.peak_bytes / 2**20:.0f}"
        table.add_row(*head, *cells, f"{timing.compiling:.1f}", peak, _percent(timing.share))
    console.print(table)
    if machine.device == "cuda":
        _print_shares(console, timings)
    for timing in timings:
        if line := _remark(timing, timings):
            console.print(escape(line), style="yellow" if not timing.times else None)
    repeats = max((len(timing.times) for timing in timings), default=0)
    console.print(f"\nMedians of {repeats} runs in turns; of NAME:RUNS per model and epoch.")
    lines = [*LEGEND, *(SHARES_LEGEND if machine.device == "cuda" else ())]
    legend = Table.grid(padding=(0, 1))
    legend.add_column(no_wrap=True)
    legend.add_column()
    for column, meaning in lines:
        rates = {"gb": f"{machine.bandwidth / 1e9:.0f}", "gf": f"{machine.rate / 1e9:.0f}"}
        legend.add_row(column, meaning.format(**rates))
    console.print(legend)


def _print_shares(console: Console, timings: Sequence["Timing"]) -> None:
    """Where the time of each program goes on an accelerator."""
    table = _table("case", "program", "memory", "compute", "launch", "limit set by")
    for timing, case in zip(timings, _cases_once(timings), strict=True):
        if timing.times and timing.limit is not None:
            shares = (timing.memory_share, timing.compute_share, timing.launch_share)
            table.add_row(case, timing.program, *map(_percent, shares), timing.limit.set_by)
    console.print()
    console.print(table)


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for name in names:
        left = name in ("case", "program", "limit set by")
        table.add_column(name, no_wrap=True, justify="left" if left else "right", vertical="bottom")
    return table


def _cases_once(timings: Sequence["Timing"]) -> list[str]:
    """The names of the cases, each in its first row alone."""
    before = ["", *(timing.case for timing in timings)]
    return [timing.case if timing.case != last else "" for timing, last in zip(timings, before, strict=False)]


def _number(value: float) -> str:
    """Three digits, or all of those before the point: never an exponent.

    >>> [_number(value) for value in (0.01234, 1.2, 64.123, 12345.6)]
    ['0.0123', '1.20', '64.1', '12346']
    """
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def _ratio(ratios: Sequence[float]) -> str:
    if not ratios:
        return "-"
    median = statistics.median(ratios)
    return f"{median:.2f}" if median < 100 else f"{median:.0f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _remark(timing: "Timing", timings: Sequence["Timing"]) -> str:
    """What a reader must know of a row: why it is not timed, of what its time is, which runs it trained."""
    head = f"{timing.case}, {timing.program}: "
    if not timing.times:
        return head + timing.note
    if timing.per == "epoch":
        most = max(other.models for other in timings if other.case == timing.case)
        some = f"{timing.models} of the {most} runs were trained; times are per model and epoch"
        return head + some if timing.models < most else ""
    same = [t for t in timings if t.case == timing.case and t.per == "epoch" and t.last_loss is not None]
    end = f"Validation loss after {timing.epochs}: {timing.last_loss:.4g}"
    others = f"; of the other programs after {same[0].epochs} epochs: {same[0].last_loss:.4g}" if same else ""
    return f"*{head}{timing.note}; ms per {timing.per} of this other algorithm. {end}{others}."


LEGEND = (
    ("spread", "half the distance between the quartiles, relative to the median"),
    ("x eager", "how many times as fast as the fastest eager form of PyTorch, pair by pair"),
    ("x own form", "the same against PyTorch in the notebook's own form"),
    ("compile", "by how much the first run was longer"),
    ("peak", "how far memory rose during a run above what data, weights and programs took before it"),
    (
        "limit",
        "the least time for the work, as a share of the time taken: its bytes at the {gb} GB/s of a copy, "
        "its operations at the {gf} GFLOP/s of a float32 matrix product, both measured in this run; samples "
        "that stay in the cache can take it past 100%",
    ),
)
"""What the columns mean."""

SHARES_LEGEND = (
    ("memory", "the share of the time that the bytes alone would take"),
    ("compute", "the share that the operations alone would take; the larger of the two sets the limit"),
    ("launch", "the share of one more run, under the profiler, in which the GPU did nothing"),
)
"""What the columns of the second table mean, on an accelerator."""


def timings_as_data(
    machine: "Machine", timings: Sequence["Timing"], environment: Environment
) -> dict[str, object]:
    """Collect everything that was measured, for JSON.

    Args:
        machine: the limits that shares are of.
        timings: the rows, in order.
        environment: versions, devices and settings, a dataclass.

    Returns:
        Nested dicts and lists of plain values; times in seconds.
    """
    return {
        "machine": machine._asdict(),
        "environment": dataclasses.asdict(environment),
        "timings": [_row(timing) for timing in timings],
    }


def _row(timing: "Timing") -> dict[str, object]:
    row = dataclasses.asdict(timing)
    if not timing.times:
        return row
    row |= {"median": timing.median, "spread": timing.spread, "share_of_limit": timing.share}
    limit = timing.limit
    return row | {
        "limit": None if limit is None else limit.seconds,
        "limit_set_by": None if limit is None else limit.set_by,
        "memory_share": timing.memory_share,
        "compute_share": timing.compute_share,
    }


def draw_timings(timings: Sequence["Timing"], path: str | os.PathLike[str]) -> None:
    """Draw a panel per case: time of an epoch per program, the limit as a line.

    Args:
        timings: the rows; those that were not timed, and steps of other algorithms, are left out.
        path: an image file; its ending (.png, .svg, .pdf) says which format.

    Raises:
        ValueError: if the ending of `path` is no image format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    drawn = [t for t in timings if t.times and t.per == "epoch"]
    names = list(dict.fromkeys(t.case for t in drawn))
    rows_of = {name: [t for t in drawn if t.case == name] for name in names}
    heights = [len(rows) + 2 for rows in rows_of.values()]  # in bars, those of title and axis with them
    figure, axes = plt.subplots(
        len(names), 1, figsize=(7, 0.3 * sum(heights)), squeeze=False, height_ratios=heights
    )
    colours = {"jax": "tab:orange", "numpy": "tab:gray", "sklearn": "tab:green"}
    for panel, name in zip(axes.flat, names, strict=True):
        rows = rows_of[name]
        bars = panel.barh(
            [t.program for t in rows],
            [1e3 * t.median for t in rows],
            color=[colours.get(t.program.partition(" ")[0], "tab:blue") for t in rows],
            height=0.7,
        )
        panel.bar_label(bars, [f" {_number(1e3 * t.median)} ms" for t in rows], fontsize=8)
        if rows[0].limit is not None:
            panel.axvline(1e3 * rows[0].limit.seconds, color="black", linewidth=1, linestyle=":")
        panel.margins(x=0.15)
        panel.invert_yaxis()
        of = "model and epoch" if max(t.models for t in rows) > 1 else "epoch"
        panel.set_title(f"{name}: milliseconds per {of}; dotted: the machine's limit", fontsize=9, loc="left")
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
