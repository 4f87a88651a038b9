"""Figures of matplotlib as files: the format is known before any work, and no half file is left."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from parity.report.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write a figure in the format that the ending of the path says, and close it.

    Args:
        figure: what to write.
        path: an image file; its ending (.png, .svg, .pdf) says which format.

    Raises:
        ValueError: if the ending is not that of an image format.
        OSError: if the file cannot be written.
    """
    from matplotlib import pyplot as plt

    try:
        kind = Path(path).suffix.lstrip(".").lower()
        if kind not in figure.canvas.get_supported_filetypes():
            raise ValueError(
                f"cannot draw {path}: the ending must be that of an image format, e.g. .png, .svg or .pdf"
            )
        content = io.BytesIO()
        figure.tight_layout()
        figure.savefig(content, format=kind, dpi=150)
    finally:
        plt.close(figure)
    write_atomically(path, content.getvalue())
