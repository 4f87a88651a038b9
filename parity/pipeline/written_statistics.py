"""What a model in training mode writes to its own weights in one run: running statistics, measured.

Neither outputs nor gradients of that run depend on the numbers that are written, or on the momentum: they
show when the model is evaluated.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from parity.frameworks.model import Model, Program
from parity.frameworks.task import Task
from parity.numerics.arrays import Arrays
from parity.numerics.noise import SideByDtype, Subject, Values, measure
from parity.numerics.progress import Progress
from parity.weights import Plan

STATISTICS = "statistics"
"""The group of the values of weights that a run wrote to."""


class Written(NamedTuple):
    """What one side writes to its weights in one run of the first inputs, and what is known of it.

    Attributes:
        framework: "PyTorch" or "JAX".
        keeps_state: whether it keeps what it writes.
        updated: its own names of the weights that it writes to.
        values: by dtype what they are behind the run, in the group "statistics", by common names.
        momenta: of PyTorch by common name the momentum of the layer that holds it, where there is one.
        libraries: of JAX the common names that a library's layer writes; asked for where values differ.
    """

    framework: str
    keeps_state: bool
    updated: tuple[str, ...]
    values: SideByDtype = MappingProxyType({})
    momenta: Mapping[str, float] = MappingProxyType({})
    libraries: Callable[[], frozenset[str]] = frozenset

    @property
    def able(self) -> bool:
        """Whether anything can be said of what it writes."""
        return self.keeps_state or bool(self.updated)


def written(
    model: Model,
    task: Task,
    names: Mapping[str, str],
    weights: Arrays,
    inputs: Arrays,
    dtypes: Sequence[str],
    progress: Progress,
) -> Written:
    """Measure what a model writes to its weights in one run.

    Args:
        model: of one side.
        task: what it computes.
        names: common name -> the side's own, of the weights that are compared.
        weights: by its own names.
        inputs: of the run.
        dtypes: to be judged.
        progress: called with a short description.
    """
    program = _program(model, task, names)
    subject = Subject(_Writing(program, names).run, weights)
    is_torch = model.framework == "PyTorch"
    momenta = {common: _momentum(model, own) for common, own in names.items()} if is_torch else {}
    return unwritten(model)._replace(
        values=measure({"": subject}, inputs, dtypes, progress)[""],
        momenta={name: momentum for name, momentum in momenta.items() if momentum is not None},
        libraries=frozenset if is_torch else lambda: _of_libraries(program, weights, inputs),
    )


def unwritten(model: Model) -> Written:
    """What is known of a model before it has run.

    Args:
        model: of one side.
    """
    updated = tuple(name for name in model.weights if name in model.updated)
    return Written(model.framework, bool(model.keeps_state), updated)


class _Writing(NamedTuple):
    """A program of what a run writes, as one of what the weights are behind it: those not written to stay.

    Attributes:
        program: its outputs are the weights written to.
        names: common name -> the side's own.
    """

    program: Program
    names: Mapping[str, str]

    def run(self, weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        """Run once.

        Args:
            weights: by the side's own names.
            inputs: by name.
            dtype: to run in.
        """
        found = self.program(weights, inputs, dtype)["outputs"]
        return {STATISTICS: {name: found.get(name, weights[own]) for name, own in self.names.items()}}


def _program(model: Model, task: Task, names: Mapping[str, str]) -> Program:
    """A program whose outputs are the weights that a run of the model writes to."""

    def outputs(written: Mapping[str, Any]) -> dict[str, Any]:
        return {name: written[own] for name, own in names.items() if own in written}

    writing: Model = model._replace(call=model.updates)  # type: ignore[attr-defined]
    return writing.program(task._replace(outputs=outputs, loss=None), trainable=())


def pairs_of(plan: Plan, *updated: Collection[str]) -> dict[str, str]:
    """The reference's and the candidate's names of weights that are the same whole array on both sides.

    Args:
        plan: the weight plan.
        *updated: names of the weights that either side writes to; the reference's first.
    """
    whole = [t for t in plan.transfers if t.is_whole and tuple(t.tensor_shape) == tuple(t.leaf_shape)]
    ends = [(t.leaf_path, t.tensor_name) if plan.reversed else (t.tensor_name, t.leaf_path) for t in whole]
    return {first: second for first, second in ends if first in updated[0] or second in updated[1]}


def _of_libraries(program: Program, weights: Arrays, inputs: Arrays) -> frozenset[str]:
    """Common names of the weights that a layer of a library of JAX's writes."""
    packages = program.packages(weights, inputs)  # type: ignore[attr-defined]
    return frozenset(name for name, package in packages.items() if package)


def _momentum(model: Model, name: str) -> float | None:
    """The momentum of the PyTorch layer that holds a buffer, if it has one."""
    module = getattr(model, "module", None)
    try:
        layer = None if module is None else module.get_submodule(name.rpartition(".")[0])
    except AttributeError:
        return None
    momentum = getattr(layer, "momentum", None)
    return momentum if isinstance(momentum, float) else None
