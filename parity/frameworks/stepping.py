"""A training step of the user's own, with its state: what both frameworks' sides are brought to."""

import contextlib
import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from parity.numerics.arrays import Arrays
from parity.report.errors import RAISED_BY, on_purpose


class Role(enum.Enum):
    """What a value of a state is."""

    WEIGHT = "weight"
    """A parameter of a module, or a floating tensor that the state holds itself."""
    STATISTIC = "statistic"
    """A floating buffer of a module."""
    SLOT = "slot"
    """What an optimiser keeps of a parameter."""
    NUMBER = "number"
    """A count, a rate, or another number."""


class Held(NamedTuple):
    """One value of a state.

    Attributes:
        role: what it is.
        value: floating ones in float64; an array of its own.
        of: of a slot, the name of the parameter.
        kind: of a slot, its optimiser and name: slots of one kind belong together.
        layer: of a parameter, the class of the module that owns it; "" if none does.
        is_trained: of a parameter, whether an optimiser steps over it.
    """

    role: Role
    value: np.ndarray
    of: str = ""
    kind: str = ""
    layer: str = ""
    is_trained: bool = False


class Made(NamedTuple):
    """What a step has made, as arrays of its framework.

    Attributes:
        metrics: by name; those that are numbers of Python's are left out.
        state: weights, statistics and slots behind the step, by the side's own names.
    """

    metrics: Mapping[str, Any]
    state: Mapping[str, Any]


StepFunction = Callable[[Mapping[str, Any], Mapping[str, Any]], Made]
"""A step as a function of weights by the side's own names and of a batch by name."""


class UntraceableError(Exception):
    """A step looks at numbers and cannot be traced: the side knows it now, and the run must begin again."""


class Stepped(Protocol):
    """One run of a side's step function, from a copy of its state."""

    def read(self) -> Mapping[str, Held]:
        """All values of the state as it is now, by name."""

    def place(self, values: Arrays) -> None:
        """Put other values in the place of some.

        Args:
            values: by name.
        """

    def step(self, batch: Arrays) -> dict[str, np.ndarray]:
        """Make one step.

        Args:
            batch: by name.

        Returns:
            The metrics by name.

        Raises:
            UntraceableError: once, where the run must begin again.
        """

    def function(self) -> StepFunction:
        """The next step as a function that starts from the state as it is now, in float32's numbers."""


class SteppedSide(Protocol):
    """A side: its step function and the state that it starts from."""

    def begin(self, dtype: str) -> Stepped:
        """A run in a floating dtype, from a copy of the state.

        Args:
            dtype: its name.
        """


@contextlib.contextmanager
def stepping(framework: str, number: int, dtype: str) -> Iterator[None]:
    """Give errors that a step raises a note with the side and the number of the step.

    Args:
        framework: of the side.
        number: of the step, from 0.
        dtype: that it runs in.
    """
    try:
        yield
    except Exception as error:
        if not on_purpose(error):
            error.add_note(f"{RAISED_BY} {framework} step function at step {number}, in {dtype}")
        raise
