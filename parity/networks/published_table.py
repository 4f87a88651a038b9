"""The table of `parity published`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from parity.networks.published import Rerun, Result


def print_reruns(console: Console, reruns: "Sequence[Rerun]", tolerances: tuple[float, float]) -> None:
    """Print published figures beside medians and ranges of both frameworks.

    Args:
        console: where to print; 100 columns are enough.
        reruns: the rows, in order.
        tolerances: allowed distance of the training and of the validation accuracy.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for name in ("experiment", "who", "train loss / acc", "val loss / acc", "acc range, train; val", ""):
        table.add_column(name, no_wrap=name != "experiment")
    for r in reruns:
        e = r.row
        words = {True: "[green]agrees[/]", False: "[red]differs[/]", None: ""}
        title = f"{e.title}\n[dim]{e.data}, {e.epochs} at {e.learning_rate}[/]"
        rows: list[tuple[str, Result, Sequence[Result] | None]] = []
        if e.published:
            rows.append(("published", e.published, None))
        rows += [("PyTorch", r.median(r.torch), r.torch), ("JAX", r.median(r.jax), r.jax)]
        for number, (who, result, runs) in enumerate(rows):
            verdict = words[r.agrees] if number == len(rows) - 1 else ""
            lines = title.split("\n")
            cell = lines[number] if number < len(lines) else ""
            table.add_row(cell, who, *_pair(result), "" if runs is None else _ranges(runs), verdict)
        table.add_section()
    console.print(table)
    console.print(
        "Medians over the seeds. 'agrees': both medians within "
        f"{tolerances[0]} (training) and {tolerances[1]} (validation) of the published accuracy; for the "
        "two-layer network as printed, which stops far from convergence, the published accuracies lie "
        "within the range of the seeds (read off figures to 0.01)."
    )


def _pair(result: "Result") -> tuple[str, str]:
    return (
        f"{result.train_loss:.3g} / {result.train_accuracy:.3f}",
        f"{result.val_loss:.3g} / {result.val_accuracy:.3f}",
    )


def _ranges(runs: "Sequence[Result]") -> str:
    train, val = [r.train_accuracy for r in runs], [r.val_accuracy for r in runs]
    return f"{min(train):.2f}-{max(train):.2f}; {min(val):.2f}-{max(val):.2f}"
