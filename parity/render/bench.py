"""The table, the data and the picture of `parity bench`."""

import dataclasses
import io
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from parity.files import write_atomically

if TYPE_CHECKING:
    from parity.bench.machine import Machine
    from parity.bench.timing import Timing


def print_timings(console: Console, machine: "Machine", timings: Sequence["Timing"]) -> None:
    """A row per program; 80 columns are enough."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for name in ("case", "program", "ms/epoch", "spread", "x eager", "x own form", "compile s", "limit"):
        table.add_column(name, no_wrap=True, justify="left" if name in ("case", "program") else "right")
    notes = []
    for number, timing in enumerate(timings):
        first = not number or timings[number - 1].case != timing.case
        head = [timing.case if first else "", timing.program]
        if not timing.times:
            table.add_row(*head, *["-"] * 6)
            notes.append(f"{timing.case}, {timing.program}: {timing.note}")
            continue
        ratios = [f"{statistics.median(ratios):.2f}" for ratios in (timing.ratios, timing.own_ratios)]
        cells = [f"{1e3 * timing.median:.3g}", f"{timing.spread:.0%}", *ratios, f"{timing.compiling:.1f}"]
        table.add_row(*head, *cells, f"{timing.share:.0%}")
    console.print(table)
    for note in notes:
        console.print(escape(note), style="yellow")
    repeats = max((len(timing.times) for timing in timings), default=0)
    console.print(f"\n{EXPLAINED.format(repeats=repeats, gb=machine.bandwidth / 1e9, gf=machine.rate / 1e9)}")


EXPLAINED = (
    "Medians of {repeats} runs in turns, spread half the distance of the quartiles. x eager: how many "
    "times as fast as the fastest eager form of PyTorch, x own form: as the notebook's, both pair by "
    "pair. limit: the least time for the bytes that must be read and the operations that must be done, at "
    "the {gb:.0f} GB/s of a copy and {gf:.0f} GFLOP/s of a float32 matrix product measured in this run, "
    "as a share of the time taken; samples that stay in the cache can take it past 100%."
)
"""What stands under the table."""


def as_data(machine: "Machine", timings: Sequence["Timing"], environment: Any) -> dict[str, Any]:
    """Everything that was measured."""
    rows = [
        dataclasses.asdict(t)
        | ({"median": t.median, "spread": t.spread, "share_of_limit": t.share} if t.times else {})
        for t in timings
    ]
    return {
        "machine": machine._asdict(),
        "environment": dataclasses.asdict(environment),
        "timings": rows,
    }


def draw_timings(timings: Sequence["Timing"], path: str | os.PathLike[str]) -> None:
    """A panel per case: time of an epoch per program, the limit as a line.

    Raises:
        ValueError: if the ending of `path` is no image format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    drawn = [t for t in timings if t.times]
    names = list(dict.fromkeys(t.case for t in drawn))
    figure, axes = plt.subplots(len(names), 1, figsize=(7, 0.6 + 1.5 * len(names)), squeeze=False)
    kind = Path(path).suffix.lstrip(".").lower()
    if kind not in figure.canvas.get_supported_filetypes():
        plt.close(figure)
        raise ValueError(f"cannot draw {path}: the ending must say an image format, e.g. .png, .svg or .pdf")
    colours = {"jax": "tab:orange", "numpy": "tab:gray"}
    for panel, name in zip(axes.flat, names, strict=True):
        rows = [t for t in drawn if t.case == name]
        bars = panel.barh(
            [t.program for t in rows],
            [1e3 * t.median for t in rows],
            color=[colours.get(t.program, "tab:blue") for t in rows],
            height=0.7,
        )
        panel.bar_label(bars, [f" {1e3 * t.median:.3g} ms" for t in rows], fontsize=8)
        panel.axvline(1e3 * rows[0].limit, color="black", linewidth=1, linestyle=":")
        panel.margins(x=0.15)
        panel.invert_yaxis()
        panel.set_title(
            f"{name}: milliseconds per epoch; dotted: the machine's limit", fontsize=9, loc="left"
        )
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=150)
    plt.close(figure)
    write_atomically(path, content.getvalue())
