"""In what precision one side holds its values in a run in a narrow dtype, measured where it runs."""

import os
from collections.abc import Collection
from typing import NamedTuple

from parity.frameworks.model import Model, Program
from parity.numerics.arrays import DTYPES, Arrays
from parity.numerics.progress import Progress
from parity.pipeline.noisy_traces import noisy_trace
from parity.report.errors import in_one_line
from parity.trace.sketches import Sketched, Sketcher, moves_of

NARROWED = {"float64": "float32"}
"""To which dtype a run in a wide one may round; a narrow one rounds to itself."""


class Key(NamedTuple):
    """Which values: those of the first run in a dtype, of one pass or both.

    Attributes:
        dtype: of the run.
        backward: whether the backward pass is traced, too.
    """

    dtype: str
    backward: bool

    def __str__(self) -> str:
        """In words, as in "where both sides round in bfloat16"."""
        return f"{self.dtype}, in the backward pass" if self.backward else self.dtype


def compared_in(dtypes: Collection[str], *, wide: bool, backward: bool) -> list[Key]:
    """Where it is compared how both sides round: in narrow dtypes, and in float64 of programs in float64.

    Args:
        dtypes: that are judged.
        wide: whether the programs keep their weights in float64.
        backward: whether gradients are compared.

    >>> [str(key) for key in compared_in(["float64", "float32", "bfloat16"], wide=False, backward=True)]
    ['bfloat16', 'bfloat16, in the backward pass']
    """
    chosen = [dtype for dtype in dtypes if dtype not in DTYPES or (dtype == "float64" and wide)]
    return [Key(dtype, whole) for dtype in chosen for whole in (False, True)[: 1 + backward]]


def in_float64(model: Model | None) -> bool:
    """Whether a model keeps its trained weights in float64: then it is a program in float64.

    Args:
        model: None where only its recording is here.
    """
    stored = {model.dtypes[name] for name in model.trainable} if model is not None else set()
    return stored == {"float64"}


def held_in(program: Program, weights: Arrays, inputs: Arrays, key: Key) -> Sketched:
    """The values of a run, and in what precision a run in a dtype holds each.

    Args:
        program: of either framework.
        weights: by its own names.
        inputs: in the reference's layout.
        key: the dtype in which the program is traced as it was written, and how far.
    """
    dtype, backward = key
    narrow = NARROWED.get(dtype, dtype)
    base, moved = Sketcher(narrow), Sketcher(narrow)
    trace = program.trace(weights, inputs, backward, rounded=dtype, keep=base.keep)
    noisy_trace(program, weights, inputs, backward, rounded=dtype, keep=moved.keep)
    return Sketched(trace, base.sketches, moves_of(base.sketches, moved.sketches))


def all_held(
    program: Program,
    weights: Arrays,
    inputs: Arrays,
    keys: Collection[Key],
    progress: Progress,
) -> dict[Key, Sketched | str]:
    """The same for several; what cannot be traced must not cost a recording: then it is said why, in words.

    With PARITY_DEBUG set an error is raised.

    Args:
        program: of either framework.
        weights: by its own names.
        inputs: in the reference's layout.
        keys: which values.
        progress: called with each step, in words.
    """
    found: dict[Key, Sketched | str] = {}
    for key in keys:
        progress(f"noting where this side rounds in {key}")
        try:
            found[key] = held_in(program, weights, inputs, key)
        except Exception as error:
            if os.environ.get("PARITY_DEBUG"):
                raise
            found[key] = in_one_line(error)
    return found
