"""The progress bar of `fit`, on the standard error stream."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

History = Mapping[str, Sequence[Tensor]]

NUM_UPDATES = 100  # per run: each reads its numbers from the device, which then has to wait


@contextmanager
def progress_bar(epochs: int, *, show: bool) -> Iterator[Callable[[int, History], None]]:
    """Show a bar until the block ends, also when it ends by an exception.

    Args:
        epochs: length of the bar, >= 1.
        show: `False` for a bar that does nothing.

    Yields:
        `update(epoch, history)`, to be called after each epoch, counted from 1. About a hundred calls of
        a run move the bar, and show the newest scalar metrics as `name train/val`.
    """
    if not show:
        yield lambda epoch, history: None
        return
    bar = Progress(
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(bar_width=10),  # narrow: the metrics must fit beside it in 80 characters
        TimeElapsedColumn(),
        TextColumn("{task.fields[metrics]}", markup=False),
        console=Console(stderr=True),
    )
    every = max(1, epochs // NUM_UPDATES)
    with bar:
        task = bar.add_task("fit", total=epochs, metrics="")

        def update(epoch: int, history: History) -> None:
            if epoch % every == 0 or epoch == epochs:
                bar.update(task, completed=epoch, metrics=_newest(history))

        yield update


def _newest(history: History) -> str:
    names = [name.removeprefix("train_") for name in history if name.startswith("train_")]
    pairs = ((name, history[f"train_{name}"][-1], history[f"val_{name}"][-1]) for name in names)
    return "  ".join(f"{name} {train:.3g}/{val:.3g}" for name, train, val in pairs if train.ndim == 0)
