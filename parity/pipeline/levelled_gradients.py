"""Both sides run backwards with the weights that a plan leaves open set level."""

from collections.abc import Callable, Collection
from typing import Any

from parity.frameworks.model import Model, Program
from parity.frameworks.task import Task
from parity.numerics.arrays import Arrays
from parity.numerics.unread import overlaid
from parity.pipeline.reference import Reference
from parity.weights import Plan


class LevelledGradients:
    """The gradients of one projection of the outputs that both sides have, in float64."""

    def __init__(self, reference: Reference, model: Model, task: Task) -> None:
        """Those of `reference`, which is here, and of `model` by a task with outputs of its names."""
        self._reference, self._model = reference, model
        self._candidate = model.program(_with(task, reference.outputs), trainable=None)
        self._own: Program | None = None

    def __call__(self, plan: Plan, level: Callable[[Arrays], Arrays]) -> tuple[Arrays, Arrays] | None:
        """Run both sides once.

        Args:
            plan: from the weights of one side to those of the other.
            level: changes the plan's tensors.

        Returns:
            The gradients of tensors and of leaves, by name; None where a side cannot be run backwards so.
        """
        known = self._reference.weights
        tensors = level(plan.to_tensors(known) if plan.reversed else known)
        leaves = plan.to_leaves({name: tensors[name] for name in plan.names()}, exact=True)
        first, second = (leaves, tensors) if plan.reversed else (tensors, leaves)
        given = self._reference.inputs[0]
        try:
            values = self._candidate(overlaid(self._model.weights, second), given, "float64")
            if self._own is None:
                task = _with(self._reference.task, values["outputs"])
                self._own = self._reference.program(task)
            own = self._own(overlaid(known, first), given, "float64")
        except Exception:  # integers alone, an operation without a gradient, weights that it refuses
            return None
        pair = own["gradients"], values["gradients"]
        return pair[::-1] if plan.reversed else pair


def _with(task: Task, names: Collection[str]) -> Task:
    """A task without the user's loss, and with some of its outputs alone."""
    every = task.outputs

    def outputs(out: object) -> dict[str, Any]:
        return {name: value for name, value in every(out).items() if name in names}

    return task._replace(loss=None, outputs=outputs)
