"""Training curves of both sides, one over the other, as an image."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from parity.networks.picture import save_figure
from parity.report.kinds import Stage
from parity.report.quantities import Quantity
from parity.report.report import Report
from parity.report.sides import Sides

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"train_loss": "tab:blue", "val_loss": "tab:orange"}
COLUMNS = 4


def draw_curves(reports: Sequence[Report], path: str | os.PathLike[str]) -> None:
    """Draw the losses of each report, the reference as a broad line and the candidate as a thin one on it.

    The widest precision that was run is drawn, with the yardstick as a band, which is visible only where
    training is chaotic. A cross marks the first point that fails.

    Args:
        reports: those with curves are drawn, one panel each.
        path: an image file; its ending (.png, .svg, .pdf) says which.

    Raises:
        ValueError: if no report has a curve, the ending is not that of an image format, or the directory of
            `path` does not exist.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    drawn = [(report, curves) for report in reports if (curves := _losses(report))]
    if not drawn:
        raise ValueError("there is no curve to draw: no report holds a loss curve")
    rows = -(-len(drawn) // COLUMNS)
    columns = min(COLUMNS, len(drawn))
    figure, axes = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.6 * rows), squeeze=False)
    for panel in axes.flat[len(drawn) :]:
        panel.set_visible(False)
    for panel, (report, curves) in zip(axes.flat, drawn, strict=False):
        for quantity in curves:
            _draw(panel, quantity, report.sides)
        panel.set_title(f"{report.name}: {report.verdict.value}", fontsize=9)
        panel.set_xlabel("epoch", fontsize=8)
        panel.tick_params(labelsize=7)
    axes.flat[0].legend(fontsize=7, frameon=False)
    save_figure(figure, path)


def _losses(report: Report) -> list[Quantity]:
    """The loss curves in the widest precision of a report."""
    dtype = "float64" if "float64" in report.dtypes else next(iter(report.dtypes), None)
    return [q for q in report.select(Stage.CURVE, dtype) if q.name in COLOURS and q.curve is not None]


def _draw(panel: "Axes", quantity: Quantity, sides: Sides) -> None:
    if quantity.curve is None:
        return
    curve, colour = quantity.curve, COLOURS[quantity.name]
    epochs = range(1, len(curve.reference) + 1)
    name = quantity.name.replace("_", " ")
    reference, candidate = (f"{name}, {side}" for side in sides.titles)
    panel.plot(epochs, curve.reference, color=colour, alpha=0.3, linewidth=5, label=reference)
    panel.plot(epochs, curve.candidate, color=colour, linewidth=1.2, label=candidate)
    low = [e - y for e, y in zip(curve.reference, curve.yardstick, strict=True)]
    high = [e + y for e, y in zip(curve.reference, curve.yardstick, strict=True)]
    panel.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
    if curve.first_failure is not None:
        point = curve.first_failure
        panel.plot(point + 1, curve.candidate[point], "x", color="tab:red", markersize=8)
