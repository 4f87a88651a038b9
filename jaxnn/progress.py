"""A progress bar that compiled training code can move.

`bar` opens a bar and gives it a number, which goes into the compiled program as an argument; `report`
is traced into the program and calls back with that number. So any number of runs, in any threads, have
bars of their own, a compiled program is reused by the next run, and a callback that arrives after its
run has failed finds no bar and does nothing.
"""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import SupportsFloat, SupportsInt

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["bar", "report"]

NUM_UPDATES = 100
"""About how many times a run moves its bar: often enough to watch, too seldom to cost time."""

_open_bars: dict[int, tuple[Progress, TaskID]] = {}
_numbers = itertools.count()


@contextlib.contextmanager
def bar(epochs: int) -> Iterator[int]:
    """Shows a bar on standard error until the block ends, also when it ends by an exception.

    Of several processes only the first shows it; all have a number, as all run the same program.

    Args:
        epochs: Length of the bar.

    Yields:
        The bar's number, for `report`.
    """
    number = next(_numbers)
    display = Progress(
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[metrics]}", markup=False),
        console=Console(stderr=True),  # of its own: one console cannot hold two live displays
        disable=jax.process_index() != 0,
    )
    with display:
        _open_bars[number] = (display, display.add_task("training", total=epochs, metrics=""))
        try:
            yield number
            jax.effects_barrier()  # type: ignore[no-untyped-call]  # the last callbacks may be under way
        finally:
            del _open_bars[number]


def report(
    number: int | Int[Array, ""] | None, epoch: Int[Array, ""], epochs: int, history: Mapping[str, Array]
) -> None:
    """Moves a bar from inside compiled code, in about one epoch out of every hundredth of a run.

    Args:
        number: The bar's number; None for no bar, which leaves the callback out of the program.
        epoch: Counted from 0.
        epochs: How many the run has.
        history: What the epoch has recorded; the scalars are shown beside the bar.
    """
    if number is None:
        return
    bar_number = jnp.asarray(number)
    metrics = {name: value for name, value in history.items() if value.ndim == 0}
    every = -(-epochs // NUM_UPDATES)
    due = ((epoch + 1) % every == 0) | (epoch + 1 == epochs)
    # Not ordered: ordered callbacks are limited to one device. `_move` ignores one that comes late.
    lax.cond(
        due,
        lambda: jax.debug.callback(_move, bar_number, epoch + 1, metrics),
        lambda: None,
    )


def _move(number: SupportsInt, done: SupportsInt, metrics: Mapping[str, SupportsFloat]) -> None:
    """Moves a bar, on the host, unless it is closed or already further."""
    if int(number) not in _open_bars:
        return
    display, task = _open_bars[int(number)]
    if display.tasks[0].completed >= int(done):
        return
    shown = "  ".join(f"{name} {float(value):.4g}" for name, value in metrics.items())
    display.update(task, completed=int(done), metrics=shown)
