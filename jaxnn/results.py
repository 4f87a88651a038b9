"""What a sweep leaves: params, histories and settings; as a table, a file, its best run and a picture."""

import csv
import io
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Shaped

from jaxnn import heatmap
from jaxnn.arguments import Params

__all__ = ["SETTINGS", "Sweep"]

SETTINGS = ("start", "scale", "weight_decay", "learning_rate")
"""What distinguishes the runs, the slowest changing first."""


class Sweep(NamedTuple):
    """Many training runs, along the first axis of every array.

    Attributes:
        params: The trained params of all runs.
        history: As in `jaxnn.Fit`, of shape (runs, epochs, ...).
        settings: ``start`` (its index), ``scale``, ``weight_decay`` and ``learning_rate`` of every run, as
            given; NumPy arrays of shape (runs,).

    >>> runs = Sweep({"w": np.zeros((2, 3))}, {"val_accuracy": np.array([[0.5, 0.75], [0.5, 0.25]])},
    ...              {name: np.array([0, 1]) for name in SETTINGS})
    >>> runs.table()["val_accuracy"].tolist()
    [0.5, 0.75, 0.5, 0.25]
    >>> runs.best()["learning_rate"], runs.best()["epoch"]
    (0, 2)
    """

    params: Params
    history: dict[str, Array]
    settings: dict[str, Shaped[np.ndarray, " runs"]]

    def table(self) -> dict[str, Shaped[np.ndarray, " rows"]]:
        """Returns one row per run and epoch, in this order, as columns that ``pandas.DataFrame`` takes.

        Returns:
            ``run``, the settings, ``epoch`` counted from 1, and every metric that is a scalar.
        """
        scalars = {name: _native(values) for name, values in self.history.items() if values.ndim == 2}
        (num_runs, num_epochs) = next(iter(scalars.values())).shape if scalars else (0, 0)
        columns = {"run": np.repeat(np.arange(num_runs), num_epochs)}
        columns |= {name: np.repeat(np.asarray(self.settings[name]), num_epochs) for name in SETTINGS}
        columns["epoch"] = np.tile(np.arange(1, num_epochs + 1), num_runs)
        return columns | {name: values.ravel() for name, values in scalars.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the table as CSV, numbers in as many digits as they need to be read back exactly.

        Args:
            path: The file; an interrupted write leaves the old one.

        Raises:
            ValueError: If the directory of `path` does not exist.
        """
        columns = self.table()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(map(str, values) for values in columns.values()), strict=True))
        _write(path, text.getvalue().encode())

    def best(self, metric: str = "val_accuracy", *, largest: bool = True) -> dict[str, int | float]:
        """Finds the run and the epoch where a metric is best, the first of equals.

        Args:
            metric: A scalar metric of the history.
            largest: Whether more is better; False for a loss.

        Returns:
            That row of the table, as plain numbers; ``run`` is its place in `params`.

        Raises:
            ValueError: If there is no such metric or no run has a finite value of it.
        """
        values = self._finite(metric)
        if np.isnan(values).all():
            raise ValueError(f"`metric` {metric!r} is finite in no run: all diverged; lower the rates.")
        row = int(np.nanargmax(values if largest else -values))
        return {name: column[row].item() for name, column in self.table().items()}

    def figure(
        self, path: str | os.PathLike[str], metric: str = "val_accuracy", *, largest: bool = True
    ) -> None:
        """Draws a metric as colours over epoch and learning rate, with its best place in a ring.

        A panel per scale and weight decay, and medians over the starts. Epochs at which a run has
        diverged (its loss or the metric is not finite, in any start) are hatched.

        Args:
            path: An image file; its ending (.png, .svg, .pdf) says which.
            metric: A scalar metric of the history.
            largest: Whether more is better; False for a loss.

        Raises:
            ValueError: If there is no such metric, too many panels, or `path` is no place for an image.

        Source: notebook, exercises 1 and 3: the algorithm under other learning rates and epochs.
        """
        drawn = heatmap.draw(
            self._finite(metric),
            self.settings,
            label=metric.replace("_", " ").replace("val ", "validation ").replace("train ", "training "),
            largest=largest,
            kind=Path(path).suffix.lstrip(".").lower(),
        )
        _write(path, drawn)

    def _finite(self, metric: str) -> Float[np.ndarray, "runs epochs"]:
        """Returns a metric with NaN wherever the run has diverged: its accuracy would still look like one."""
        scalars = [name for name, values in self.history.items() if values.ndim == 2]
        if metric not in scalars:
            raise ValueError(f"`metric` is {metric!r}: it must be one of {', '.join(map(repr, scalars))}.")
        values = np.asarray(self.history[metric], np.float64)
        sound = np.isfinite(values)
        if "step_loss" in self.history:
            sound &= np.isfinite(np.asarray(self.history["step_loss"], np.float64)).all(axis=2)
        return np.where(sound, values, np.nan)


def _native(values: Shaped[Array, "..."] | Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Returns values as an array of a dtype that NumPy itself has, which bfloat16 is not."""
    array = np.asarray(values)
    return array if array.dtype.kind in "biuf" else array.astype(np.float32)


def _write(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes a file whole or not at all, through a temporary one beside it."""
    target = Path(path)
    if not target.parent.is_dir():
        raise ValueError(f"`path` is {target}: the directory {target.parent} does not exist; make it first.")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
