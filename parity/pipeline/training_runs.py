"""Two models trained step by step: each side's program and its optimiser, freely and from equal weights.

Freely, each side goes on from its own weights, and rounding grows as training makes it grow. From equal
weights, every step begins at the weights that the reference had there: a difference that shows once in a
hundred steps is found in its step, and none is carried on. The optimisers keep their state in both.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from parity.numerics.arrays import Arrays, eps_of
from parity.numerics.noise import Runnable, Values, current_noise_run
from parity.numerics.perturbing import perturb
from parity.pipeline.step_rows import START, Entries, StepRows, steps_of

LEVEL = 1e-15
"""What optimisers are given for gradients that are rounding alone: its square is a number in float32."""

Graded = Callable[[Arrays, Arrays, str], tuple[Values, frozenset[str]]]
"""A program that tells besides of which weights its loss does not depend, so that they have no gradient."""


class Optimizing(Protocol):
    """An optimiser with weights of its own, of either framework."""

    @property
    def weights(self) -> Mapping[str, np.ndarray]:
        """The weights by the side's own names."""

    @property
    def averages(self) -> Mapping[str, np.ndarray]:
        """Averaged weights by the side's own names; empty where none are kept."""

    def place(self, weights: Arrays) -> None:
        """Put other weights in their place."""

    def step(self, grads: Arrays, loss: float) -> Arrays:
        """Take one batch; make a step when there are enough of them.

        Args:
            grads: by the side's own names.
            loss: of the batch.

        Returns:
            The gradients that a step used, if the optimiser knows them.
        """


class TrainingSide(NamedTuple):
    """One side of a training comparison.

    Attributes:
        program: outputs, loss and gradients from weights and a batch, by the side's own names; and the names
            of the weights without a gradient, which the optimiser skips.
        begin: (weights, dtype) -> an optimiser at those weights, before its first step.
        tensors: weights or updates by the side's own names -> by the plan's tensors.
        gradients: gradients by the side's own names -> by the plan's tensors.
        own: weights by the plan's tensors -> by the side's own names.
        before: the optimiser before a step -> groups of values to keep besides.
        after: the optimiser after a step, and what it told of it -> likewise, by tensors.
        narrow: the dtype that both models compute in though their weights are wider (mixed precision); None
            where they compute in that of their weights. Each pass rounds the weights anew: noise of that size
            is on what the model gets, and not on what the optimiser keeps.
        levelled: gradients -> those that the optimiser is given; see `level`.
    """

    program: Graded
    begin: Callable[[Arrays, str], Optimizing]
    tensors: Callable[[Arrays], Arrays]
    gradients: Callable[[Arrays], Arrays]
    own: Callable[[Arrays], Arrays]
    before: Callable[[Any], Mapping[str, Arrays]]
    after: Callable[[Any, Arrays], Mapping[str, Arrays]]
    narrow: str | None = None
    levelled: Callable[[Arrays], Arrays] = dict

    def level(self, entries: Entries, start: Arrays) -> "TrainingSide":
        """The same side, whose optimiser is given one small number in the place of some gradients.

        Those that are zero but for rounding: an optimiser that divides by their size makes chance of them,
        and the same on both sides of the same number. Weight decay moves these weights as ever.

        Args:
            entries: which, by tensor; none changes nothing.
            start: weights before the first step, by tensor.
        """
        if not entries:
            return self
        every = {name: np.ones(np.shape(weight)) for name, weight in start.items()}
        kept = {
            name: np.where(entries[name], 0.0, ones) if name in entries else ones
            for name, ones in every.items()
        }
        whole, left = self.own(every), self.own(kept)
        own = {name: (whole[name] != 0) & (left[name] == 0) for name in whole}

        def levelled(grads: Arrays) -> Arrays:
            return {n: np.where(own[n], LEVEL, grad) if n in own else grad for n, grad in grads.items()}

        return self._replace(levelled=levelled)

    def restricted(self, tensors: Collection[str], moved: Collection[str]) -> "TrainingSide":
        """The same side, of the values of some tensors alone.

        Args:
            tensors: whose gradients and slots are compared.
            moved: whose weights and updates are.
        """
        names = sorted(moved)

        def in_tensors(weights: Arrays) -> Arrays:
            every = self.tensors(weights)
            return {name: every[name] for name in names}

        def after(optimizer: Any, used: Arrays) -> dict[str, Arrays]:
            return of_tensors(self.after(optimizer, used), tensors)

        def gradients(grads: Arrays) -> Arrays:
            return {name: grad for name, grad in self.gradients(grads).items() if name in tensors}

        return self._replace(tensors=in_tensors, gradients=gradients, after=after)


def tensor_of(name: str, group: str) -> str:
    """The tensor of a value: of a slot what stands before its last dot.

    Args:
        name: of the value.
        group: that it is in.
    """
    return name.rpartition(".")[0] if group == "slots" else name


def of_tensors(groups: Mapping[str, Arrays], tensors: Collection[str]) -> dict[str, Arrays]:
    """Values of some tensors alone.

    Args:
        groups: values by tensor, of slots by "tensor.slot".
        tensors: their names.
    """
    return {
        group: {name: array for name, array in held.items() if tensor_of(name, group) in tensors}
        for group, held in groups.items()
    }


class _Step(NamedTuple):
    """What one step is given: its batches, and the weights that it begins with, if they are set."""

    batches: list[dict[str, np.ndarray]]
    start: dict[str, np.ndarray]


def _steps(inputs: Arrays) -> Iterator[_Step]:
    """What `numbered` and `starting_at` made into one set of arrays, step by step."""
    for groups in steps_of(inputs):
        start = groups.pop(START, {})
        yield _Step([groups[number] for number in sorted(groups, key=int)], start)


class _Taken(NamedTuple):
    """A step that has been made.

    Attributes:
        loss: the mean over its batches.
        gradients: likewise, by the side's own names.
        parts: the gradients of each of several batches; else empty.
        used: what the optimiser told of the gradients it used.
        early: the weights before the last of several batches, by the side's own names; else empty.
        unreached: names of the weights that had no gradient in any batch.
    """

    loss: Arrays
    gradients: Arrays
    parts: Sequence[Arrays]
    used: Arrays
    early: Arrays
    unreached: frozenset[str]


def _take(side: TrainingSide, optimizer: Optimizing, weights: Arrays, step: _Step, dtype: str) -> _Taken:
    """Make one step: the gradients of each of its batches, handed to the optimiser."""
    losses, grads, without = [], [], []
    early: Arrays = {}
    used: Arrays = {}
    for batch in step.batches:
        early = optimizer.weights if len(step.batches) > 1 else {}
        own = {**weights, **optimizer.weights}
        noise = current_noise_run()
        if side.narrow is not None and noise is not None and dtype != "float64":
            own |= perturb(optimizer.weights, noise, eps_of(side.narrow), inputs=False, dtype=dtype)
        values, unreached = side.program(own, batch, dtype)
        losses.append(values["loss"])
        grads.append(values["gradients"])
        without.append(unreached)
        given = {name: grad for name, grad in grads[-1].items() if name not in unreached}
        used = optimizer.step(side.levelled(given), float(np.real(losses[-1]["loss"])))
    parts = grads if len(grads) > 1 else ()
    return _Taken(_mean(losses), _mean(grads), parts, used, early, frozenset.intersection(*without))


def _mean(batches: Sequence[Arrays]) -> Arrays:
    """The mean over the batches of a step, by name."""
    if len(batches) == 1:
        return batches[0]
    return {name: np.mean([batch[name] for batch in batches], axis=0) for name in batches[0]}


def freely(side: TrainingSide) -> Runnable:
    """The side's training run: "loss", before every step what is watched, after it "weights" and "averages".

    Args:
        side: of a comparison.
    """

    def run(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        optimizer = side.begin(weights, dtype)
        history = StepRows()
        for step in _steps(inputs):
            for group, arrays in side.before(optimizer).items():
                history.keep(group, arrays)
            taken = _take(side, optimizer, weights, step, dtype)
            history.keep("loss", taken.loss)
            history.keep("weights", side.tensors(optimizer.weights))
            if optimizer.averages:
                history.keep("averages", side.tensors(optimizer.averages))
        return history.values()

    return run


def from_equal_weights(side: TrainingSide) -> Runnable:
    """Every step from given weights: "loss", "gradients", what is watched, "update" and "averages".

    Besides, as "unreached", 1 for each weight that has no gradient, by the side's own names.

    Args:
        side: of a comparison.
    """

    def run(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        optimizer = side.begin(weights, dtype)
        history = StepRows()
        for step in _steps(inputs):
            optimizer.place(side.own(step.start))
            before = side.tensors(optimizer.weights)
            found = side.before(optimizer)
            taken = _take(side, optimizer, weights, step, dtype)
            history.keep("loss", taken.loss)
            history.keep("gradients", side.gradients(taken.gradients))
            skipped = {name: np.asarray(float(name in taken.unreached)) for name in taken.gradients}
            history.keep("unreached", skipped)
            if taken.parts:
                parts = [side.gradients(part) for part in taken.parts]
                history.keep("parts", {n: np.stack([part[n] for part in parts]) for n in parts[0]})
            if taken.early:
                history.keep("early", side.tensors(taken.early))
            for group, arrays in {**found, **side.after(optimizer, taken.used)}.items():
                history.keep(group, arrays)
            after = side.tensors(optimizer.weights)
            history.keep("update", {name: after[name] - before[name] for name in after})
            if optimizer.averages:
                history.keep("averages", side.tensors(optimizer.averages))
        return history.values()

    return run
