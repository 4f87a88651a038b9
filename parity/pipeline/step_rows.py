"""Batches and values of training steps as named arrays: what goes in by step, what comes out a row a step."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float

from parity.numerics.arrays import Arrays
from parity.numerics.noise import Values

AT = "/"
"""Between the number of a step, the number of a batch in it, and the name of an array."""

START = "start"
"""In the place of the number of a batch: the weights that a step begins with."""

FOLLOWING = ("slots", "update", "weights", "averages")
"""The groups of values that follow from gradients, entry by entry."""

Entries = Mapping[str, Bool[np.ndarray, "..."]]
"""Which entries, by tensor."""


def numbered(steps: Sequence[Sequence[Arrays]]) -> dict[str, np.ndarray]:
    """The batches of all steps as one set of named arrays, so that noise reaches each.

    >>> list(numbered([[{"x": np.zeros(2)}], [{"x": np.ones(2)}]]))
    ['0/0/x', '1/0/x']

    Args:
        steps: the batches of each step, as named arrays.
    """
    return {
        f"{step}{AT}{number}{AT}{name}": array
        for step, batches in enumerate(steps)
        for number, batch in enumerate(batches)
        for name, array in batch.items()
    }


def starting_at(start: Arrays, after: Mapping[str, Float[np.ndarray, "steps ..."]]) -> dict[str, np.ndarray]:
    """The weights at which each step begins, to stand beside what `numbered` made of the batches.

    Args:
        start: weights before the first step, by tensor.
        after: weights after every step, by tensor.
    """
    count = len(next(iter(after.values()), ()))
    return {
        f"{step}{AT}{START}{AT}{name}": np.asarray(rows[step - 1] if step else start[name])
        for step in range(count)
        for name, rows in after.items()
    }


def steps_of(inputs: Arrays) -> list[dict[str, dict[str, np.ndarray]]]:
    """What `numbered` and `starting_at` made into one set of arrays: of each step its batches and its start.

    >>> steps_of({"0/0/x": np.zeros(2), "0/start/w": np.ones(1)})
    [{'0': {'x': array([0., 0.])}, 'start': {'w': array([1.])}}]

    Args:
        inputs: by step, batch and name.
    """
    steps: dict[int, dict[str, dict[str, np.ndarray]]] = {}
    for key, array in inputs.items():
        step, number, name = key.split(AT, 2)
        steps.setdefault(int(step), {}).setdefault(number, {})[name] = array
    return [groups for _, groups in sorted(steps.items())]


class StepRows:
    """Values of every step, a row each; of what follows from gradients without the hidden entries.

    What is missing in a step, as the state of a weight that had no gradient yet, is zero there.

    Args:
        hidden: entries that are kept as zero, by tensor or by the whole name.
    """

    def __init__(self, hidden: Entries = MappingProxyType({})) -> None:
        self._hidden = hidden
        self._rows: dict[str, dict[str, dict[int, np.ndarray]]] = {}
        self._steps: dict[str, int] = {}

    def keep(self, group: str, arrays: Arrays) -> None:
        """Keep the values of a group in a step, once a step.

        Args:
            group: of values.
            arrays: by name; of a slot "tensor.slot".
        """
        step = self._steps.setdefault(group, 0)
        self._steps[group] += 1
        for name, array in arrays.items():
            value = array
            if group in FOLLOWING:
                mask = self._hidden.get(name, self._hidden.get(name.rpartition(".")[0]))
                if mask is not None and mask.shape == np.shape(array):
                    value = np.where(mask, 0.0, array)
            self._rows.setdefault(group, {}).setdefault(name, {})[step] = np.array(value)

    def values(self) -> Values:
        """All that was kept, the first axis being time."""
        return {
            group: {name: _stacked(rows, self._steps[group]) for name, rows in leaves.items()}
            for group, leaves in self._rows.items()
        }


def _stacked(rows: Mapping[int, np.ndarray], steps: int) -> np.ndarray:
    """The rows of all steps, zero where there is none."""
    missing = np.zeros_like(next(iter(rows.values())))
    return np.stack([rows.get(step, missing) for step in range(steps)])
