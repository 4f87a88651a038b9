"""The tables, the data and the picture of `parity bench --harness`."""

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from parity.networks.picture import save_figure
from parity.report.results import Environment

if TYPE_CHECKING:
    from parity.networks.benchmark.harness import Cost

COLUMNS = (
    "torch\nms",
    "jax\nms",
    "jax first\ns",
    "check\nfirst s",
    "again\ns",
    "x plain\nfirst",
    "x plain\nagain",
    "peak\nMiB",
)


def print_costs(console: Console, costs: Sequence["Cost"]) -> None:
    """Print a row per case, and where the time of a check goes.

    Args:
        console: where to print; 80 columns are enough.
        costs: at least one.
    """
    table = _table("case", *COLUMNS)
    for cost in costs:
        plain = {f: 1e3 * sum(p.median for p in cost.plain if p.framework == f) for f in ("torch", "jax")}
        compiling = sum(p.first for p in cost.plain if p.framework == "jax")
        peak = "-" if cost.peak_bytes is None else f"{cost.peak_bytes / 2**20:.0f}"
        cells = [f"{plain['torch']:.3g}", f"{plain['jax']:.3g}", f"{compiling:.2f}"]
        cells += [f"{cost.cold:.2f}", f"{cost.median:.2f}", f"{cost.cold_factor:.0f}", f"{cost.factor:.0f}"]
        table.add_row(cost.case, *cells, peak)
    console.print(table)
    console.print()
    names = dict.fromkeys(name for cost in costs for name in cost.phases)
    by_phase = _table("share of a later check", *(cost.case for cost in costs))
    for name in names:
        shares = [cost.phases.get(name, 0.0) / sum(cost.phases.values()) for cost in costs]
        by_phase.add_row(name, *(f"{share:.0%}" for share in shares))
    console.print(by_phase)
    some = costs[0]
    console.print("\n" + EXPLAINED.format(repeats=len(some.again), batch=some.batch))


EXPLAINED = (
    "torch, jax: one forward and backward pass of {batch} samples in float64 and one in float32, PyTorch "
    "eager, JAX compiled; jax first: the first two, which compile. check: parity.check of the same networks, "
    "weights and samples in both dtypes, first with nothing compiled, then again; medians of {repeats} runs "
    "in turns. x plain: as a multiple of the passes of both frameworks. peak: how far memory rose during a "
    "check."
)
"""What stands under the tables."""


def costs_as_data(costs: Sequence["Cost"], environment: Environment) -> dict[str, object]:
    """Collect everything that was measured, for JSON.

    Args:
        costs: the figures of each case.
        environment: versions, devices and settings, a dataclass.

    Returns:
        Nested dicts and lists of plain values; times in seconds.
    """
    return {"environment": dataclasses.asdict(environment), "checks": [_row(cost) for cost in costs]}


def _row(cost: "Cost") -> dict[str, object]:
    plain = [p._asdict() | {"median": p.median} for p in cost.plain]
    derived = {"median": cost.median, "factor": cost.factor, "cold_factor": cost.cold_factor}
    return dataclasses.asdict(cost) | {"plain": plain} | derived


def draw_costs(costs: Sequence["Cost"], path: str | os.PathLike[str]) -> None:
    """Draw a bar per case, seconds of a later check, in pieces by phase.

    Args:
        costs: the figures of each case.
        path: an image file; its ending (.png, .svg, .pdf) says which format.

    Raises:
        ValueError: if the ending of `path` is no image format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 1.5 + 0.35 * len(costs)))
    left = [0.0] * len(costs)
    colours = plt.get_cmap("tab20").colors  # type: ignore[attr-defined]
    for number, name in enumerate(dict.fromkeys(name for cost in costs for name in cost.phases)):
        pieces = [cost.phases.get(name, 0.0) for cost in costs]
        axes.barh([c.case for c in costs], pieces, left=left, label=name, color=colours[number % 20])
        left = [begin + piece for begin, piece in zip(left, pieces, strict=True)]
    axes.invert_yaxis()
    axes.set_title("parity.check by phase, seconds", fontsize=9, loc="left")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save_figure(figure, path)


def _table(first: str, *names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=True)
    table.add_column(first, vertical="bottom")
    for name in names:
        table.add_column(name, no_wrap=True, justify="right", vertical="bottom")
    return table
