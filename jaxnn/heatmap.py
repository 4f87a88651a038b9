"""The picture of a sweep: a metric as colours over epoch and learning rate."""

import io
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MOST_PANELS", "draw"]

MOST_PANELS = 12
"""More would be too small to read on one page."""

DECADE = 10.0
"""Rates that span more are drawn on a logarithmic axis."""

STEEP = 1000.0
"""Positive values that span more (the losses of runs about to diverge) get logarithmic colours."""

COLUMNS = 4


def draw(
    values: Float[np.ndarray, "runs epochs"],
    settings: Mapping[str, Shaped[np.ndarray, " runs"]],
    *,
    label: str,
    largest: bool,
    kind: str,
) -> bytes:
    """Draws the medians over the starts, one panel per scale and weight decay.

    Args:
        values: The metric; NaN where a run has diverged.
        settings: ``scale``, ``weight_decay`` and ``learning_rate`` of every run.
        label: What the colours mean.
        largest: Whether the best value, in a ring, is the largest.
        kind: Image format: png, svg, pdf.

    Returns:
        The content of an image file.

    Raises:
        ValueError: If there are more than `MOST_PANELS` panels, or `kind` is no image format.
    """
    # Figure and canvas by themselves: pyplot would touch the backend of the user's session.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    scales, decays = np.unique(settings["scale"]), np.unique(settings["weight_decay"])
    chosen = list(itertools.product(scales, decays))
    if len(chosen) > MOST_PANELS:
        raise ValueError(
            f"the sweep has {len(scales)} scales and {len(decays)} weight decays, a panel for each pair: at "
            f"most {MOST_PANELS} fit into a figure; draw a smaller sweep, or draw from `table()`."
        )
    panels = [_medians(values, settings, scale, decay) for scale, decay in chosen]
    rates = np.unique(settings["learning_rate"])
    columns = len(decays) if 1 < len(decays) <= COLUMNS else min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(1.6 + (5.4 if columns == 1 else 3.2) * columns, 0.8 + 3.2 * rows))
    figure.set_layout_engine("constrained")
    canvas = FigureCanvasAgg(figure)
    if kind not in canvas.get_supported_filetypes():
        raise ValueError(f"`path` ends with {kind!r}: it must end with an image format, .png, .svg or .pdf.")

    finite = np.concatenate([panel[np.isfinite(panel)] for panel in panels])
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    colours = LogNorm(low, high) if 0 < low * STEEP < high else Normalize(low, high)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, panel, (scale, decay) in zip(axes.flat, panels, chosen, strict=False):
        mesh = axis.pcolormesh(
            np.arange(panel.shape[1] + 1) + 0.5, _edges(rates), np.ma.masked_invalid(panel), norm=colours
        )
        axis.patch.set(facecolor="0.9", edgecolor="0.6", hatch="////")  # shows where the mesh has no value
        names = [f"scale {scale:g}"] * (len(scales) > 1) + [f"weight decay {decay:g}"] * (len(decays) > 1)
        axis.set_title("\n".join([", ".join(names)] * bool(names) + [_ring(axis, panel, rates, largest)]))
        axis.title.set_fontsize(9)
        _rule(axis, rates)
    starts = len(np.unique(settings["start"]))
    figure.supxlabel("epoch", fontsize=10)
    figure.supylabel("learning rate", fontsize=10)
    bar = figure.colorbar(mesh, ax=figure.axes, aspect=20 * rows, fraction=0.15 / columns)
    bar.set_label(label + (f" (median of {starts} starts)" if starts > 1 else ""))
    if finite.size < sum(panel.size for panel in panels):
        hatched = Patch(facecolor="0.9", edgecolor="0.6", hatch="////", label="diverged: not finite")
        figure.legend(handles=[hatched], loc="outside lower right", fontsize=8, frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=150)
    return content.getvalue()


def _medians(
    values: Float[np.ndarray, "runs epochs"],
    settings: Mapping[str, Shaped[np.ndarray, " runs"]],
    scale: float,
    decay: float,
) -> Float[np.ndarray, "rates epochs"]:
    """Returns the medians over the starts, a row per learning rate; NaN if any start has diverged."""
    here = (settings["scale"] == scale) & (settings["weight_decay"] == decay)
    rates = settings["learning_rate"]
    return np.stack([np.median(values[here & (rates == rate)], axis=0) for rate in np.unique(rates)])


def _logarithmic(rates: Float[np.ndarray, " rates"]) -> bool:
    positive = rates[rates > 0]
    return bool(rates[0] >= 0 and positive.size > 1 and positive[-1] > DECADE * positive[0])


def _places(rates: Float[np.ndarray, " rates"]) -> Float[np.ndarray, " rates"]:
    """Returns where the rates stand on their axis: themselves; zero below a logarithmic one."""
    if not _logarithmic(rates) or rates[0] > 0:
        return rates
    positive = rates[1:]
    step = max(positive[1] / positive[0], (positive[-1] / positive[0]) ** (1 / len(positive)))
    return np.concatenate([[positive[0] / step], positive])


def _edges(rates: Float[np.ndarray, " rates"]) -> Float[np.ndarray, " rates+1"]:
    """Returns the borders of the rows, half way between the rates as the axis shows them."""
    logarithmic = _logarithmic(rates)
    places = np.log(_places(rates)) if logarithmic else rates
    if len(places) == 1:
        return np.array([places[0] - 0.5, places[0] + 0.5])
    middles = (places[1:] + places[:-1]) / 2
    edges = np.concatenate([[2 * places[0] - middles[0]], middles, [2 * places[-1] - middles[-1]]])
    return np.exp(edges) if logarithmic else edges


def _ring(
    axis: "Axes", panel: Float[np.ndarray, "rates epochs"], rates: Float[np.ndarray, " rates"], largest: bool
) -> str:
    """Marks the best value and says where it is."""
    if np.isnan(panel).all():
        return "all diverged"
    row, epoch = np.unravel_index(np.nanargmax(panel if largest else -panel), panel.shape)
    axis.plot(epoch + 1, _places(rates)[row], "o", mfc="none", mec="black", mew=3, ms=9, clip_on=False)
    axis.plot(epoch + 1, _places(rates)[row], "o", mfc="none", mec="white", mew=1.5, ms=9, clip_on=False)
    return f"best {panel[row, epoch]:.4g} at rate {rates[row]:.3g}, epoch {epoch + 1}"


def _rule(axis: "Axes", rates: Float[np.ndarray, " rates"]) -> None:
    """Labels both axes: whole epochs, and rates in plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.tick_params(labelsize=8)
    if len(rates) == 1:
        axis.yaxis.set_major_locator(FixedLocator([float(rates[0])]))
    if not _logarithmic(rates):
        return
    places = _places(rates)
    axis.set_yscale("log")
    positive = rates[rates > 0]
    decades = range(int(np.floor(np.log10(positive[0]))), int(np.ceil(np.log10(positive[-1]))) + 1)
    # Of every decade 1 and 3 as long as there are few; the tolerance takes in rates by np.geomspace.
    few, stride = len(decades) < 6, -(-len(decades) // 8)
    marks = [m * 10.0**d for d in decades[::stride] for m in ((1, 3) if few else (1,))]
    marks = [m for m in marks if positive[0] / 1.001 <= m <= positive[-1] * 1.001]
    zero = [float(places[0])] if rates[0] == 0 else []
    axis.yaxis.set_major_locator(FixedLocator(zero + marks))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: "0" if [tick] == zero else f"{tick:g}"))
    if zero:
        axis.axhline(_edges(rates)[1], color="white", linewidth=3)  # the axis is broken below
