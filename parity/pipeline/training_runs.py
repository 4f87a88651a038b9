"""Two models trained step by step: each side's program and its optimiser, freely and from equal weights.

Freely, each side goes on from its own weights, and rounding grows as training makes it grow. From equal
weights, every step begins at the weights that the reference had there: a difference that shows once in a
hundred steps is found in its step, and none is carried on. The optimisers keep their state in both.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float

from parity.numerics.arrays import Arrays
from parity.numerics.noise import Runnable, Values

AT = "/"
"""Between the number of a step and the name of an array of its batch."""

START = "start"
"""The name under which a step's weights stand beside its batch."""


class Optimizing(Protocol):
    """An optimiser with weights of its own, of either framework."""

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """The weights by the side's own names."""

    def place(self, weights: Arrays) -> None:
        """Put other weights in their place."""

    def step(self, grads: Arrays) -> Arrays:
        """Make one step; the gradients that it used, as far as it knows."""


class TrainingSide(NamedTuple):
    """One side of a training comparison.

    Attributes:
        program: outputs, loss and gradients from weights and a batch, by the side's own names.
        begin: (weights, dtype) -> an optimiser at those weights, before its first step.
        tensors: weights or updates by the side's own names -> by the plan's tensors.
        gradients: gradients by the side's own names -> by the plan's tensors.
        own: weights by the plan's tensors -> by the side's own names.
        before: the optimiser before a step -> groups of values to keep besides.
        after: the optimiser after a step, and what it told of it -> likewise, by tensors.
    """

    program: Runnable
    begin: Callable[[Arrays, str], Optimizing]
    tensors: Callable[[Arrays], Arrays]
    gradients: Callable[[Arrays], Arrays]
    own: Callable[[Arrays], Arrays]
    before: Callable[[Any], Mapping[str, Arrays]]
    after: Callable[[Any, Arrays], Mapping[str, Arrays]]


def numbered(batches: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """Batches as one set of named arrays, so that noise reaches each.

    >>> list(numbered([{"x": np.zeros(2)}, {"x": np.ones(2)}]))
    ['0/x', '1/x']

    Args:
        batches: named arrays of each step.
    """
    return {f"{step}{AT}{name}": array for step, batch in enumerate(batches) for name, array in batch.items()}


def _batches(inputs: Arrays) -> Iterator[dict[str, np.ndarray]]:
    """The batches of `numbered`, in order."""
    steps: dict[int, dict[str, np.ndarray]] = {}
    for key, array in inputs.items():
        number, _, name = key.partition(AT)
        steps.setdefault(int(number), {})[name] = array
    yield from (steps[step] for step in sorted(steps))


def freely(side: TrainingSide) -> Runnable:
    """The side's training run as a program: "loss", and after every step "weights".

    Args:
        side: of a comparison.
    """

    def run(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        optimizer = side.begin(weights, dtype)
        history = _History()
        for batch in _batches(inputs):
            values = side.program({**weights, **optimizer.weights}, batch, dtype)
            optimizer.step(values["gradients"])
            history.keep("loss", values["loss"])
            history.keep("weights", side.tensors(optimizer.weights))
        return history.values()

    return run


def from_equal_weights(side: TrainingSide) -> Runnable:
    """Every step from given weights: "loss", "gradients", what is watched, and "update".

    Args:
        side: of a comparison.
    """

    def run(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        optimizer = side.begin(weights, dtype)
        history = _History()
        for batch in _batches(inputs):
            start = {n.removeprefix(START + AT): w for n, w in batch.items() if n.startswith(START + AT)}
            given = {n: a for n, a in batch.items() if not n.startswith(START + AT)}
            optimizer.place(side.own(start))
            before = side.tensors(optimizer.weights)
            values = side.program({**weights, **optimizer.weights}, given, dtype)
            found = side.before(optimizer)
            used = optimizer.step(values["gradients"])
            history.keep("loss", values["loss"])
            history.keep("gradients", side.gradients(values["gradients"]))
            for group, arrays in {**found, **side.after(optimizer, used)}.items():
                history.keep(group, arrays)
            after = side.tensors(optimizer.weights)
            history.keep("update", {name: after[name] - before[name] for name in after})
        return history.values()

    return run


class _History:
    """Values of every step, a row each."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, list[np.ndarray]]] = {}

    def keep(self, group: str, arrays: Arrays) -> None:
        for name, array in arrays.items():
            self._rows.setdefault(group, {}).setdefault(name, []).append(np.array(array))

    def values(self) -> Values:
        return {
            group: {name: np.stack(rows) for name, rows in leaves.items()}
            for group, leaves in self._rows.items()
        }


def with_starts(
    batches: Sequence[Arrays], start: Arrays, after: Mapping[str, Float[np.ndarray, "steps ..."]]
) -> list[dict[str, np.ndarray]]:
    """The batches with the weights at which each step begins beside them.

    Args:
        batches: named arrays of each step.
        start: weights before the first step, by tensor.
        after: weights after every step, by tensor.
    """
    return [
        {
            **batch,
            **{
                f"{START}{AT}{name}": np.asarray(rows[step - 1] if step else start[name])
                for name, rows in after.items()
            },
        }
        for step, batch in enumerate(batches)
    ]
