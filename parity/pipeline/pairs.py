"""Two models and the weights between them: planned, loaded, and judged leaf by leaf."""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree, Shaped

from parity.frameworks.jax.jax_model import JaxModel, read_jax
from parity.frameworks.jax.jax_program import JaxProgram, jax_program
from parity.frameworks.task import Task
from parity.frameworks.torch.torch_program import TorchModel, TorchProgram, read_torch
from parity.numerics.arrays import EPS, Arrays, eps_of, in_float32, is_float
from parity.numerics.yardstick import FLOOR_ULPS
from parity.report.results import AS_STORED, LIMIT, Quantity, Stage, Verdict
from parity.weights import Leaf, Pins, Plan, Use, WeightError, find_plan
from parity.weights.explaining import Explanation, explain, unit_order


class Oracle(NamedTuple):
    """Another JAX program for the same weights: a second implementation, or gradients by hand.

    Attributes:
        model: what `check` takes as `jax_model`.
        template: its params, if it is a plain function.
        gradients: `gradients(params, x, targets)` instead of autodiff; then only gradients are compared.
    """

    model: Any
    template: PyTree | None = None
    gradients: Callable[[PyTree, Any, Any], PyTree] | None = None


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two models, the weight plan between them, and the weights of each side in its own layout."""

    reference: TorchModel
    candidate: JaxModel
    plan: Plan
    weights: Arrays
    jax_weights: Arrays

    def torch_program(self, task: Task) -> TorchProgram:
        """Outputs, loss and gradients of the PyTorch model."""
        return TorchProgram(self.reference, task)

    def jax_program(self, task: Task) -> JaxProgram:
        """Outputs, loss and gradients of the JAX model."""
        return jax_program(self.candidate, self.plan, self.reference.trainable, task)

    def oracle(self, oracle: Oracle, task: Task, inputs: Arrays) -> tuple[JaxProgram, Arrays]:
        """The same of another JAX program, whose params have their own paths, and its weights."""
        model = read_jax(oracle.model, oracle.template, inputs)
        if model.tree.paths == self.candidate.tree.paths:
            plan, weights = self.plan, self.jax_weights
        else:
            plan = find(self.reference, model)
            weights = planned(plan, self.weights)
        return jax_program(model, plan, self.reference.trainable, task, gradients=oracle.gradients), weights

    def judge_weights(self) -> list[Quantity]:
        """Every planned leaf makes the round trip bit for bit, and the JAX side holds PyTorch's numbers."""
        expected = planned(self.plan, self.weights)
        again = self.plan.to_leaves(self.plan.to_tensors(expected))
        return [self._judge_leaf(path, expected, again[path], self.jax_weights[path]) for path in expected]

    def _judge_leaf(
        self,
        path: str,
        leaves: Arrays,
        again: Shaped[np.ndarray, "..."],
        actual: Shaped[np.ndarray, "..."],
    ) -> Quantity:
        transfers = [t for t in self.plan.transfers if t.leaf_path == path]
        expected = leaves[path]
        difference = float(np.max(np.abs(actual - expected), initial=0.0))
        scale = float(np.max(np.abs(expected), initial=0.0))
        floor = FLOOR_ULPS * eps_of("float32") * scale  # a converted checkpoint may have passed float32
        rho = 0.0 if difference == 0 else difference / floor if floor else math.inf
        notes: tuple[str, ...] = ()
        passed = True
        if not np.array_equal(again, expected, equal_nan=True):
            passed, notes = False, ("the round trip to <reference> and back changes the numbers",)
        elif not rho <= LIMIT:
            passed = False
            notes = (explain(transfers, expected, actual, leaves, self.weights).text,)
        return Quantity(
            Stage.WEIGHTS,
            "weights",
            ", ".join(dict.fromkeys(t.tensor_name for t in transfers)),
            AS_STORED,
            Verdict.PASS if passed else Verdict.FAIL,
            rho=rho,
            difference=difference,
            scale=scale,
            floor=floor,
            candidate_name=path,
            shape=transfers[0].tensor_shape,
            notes=notes,
        )

    def wrong_leaves(self) -> dict[str, Explanation]:
        """Leaves that do not hold PyTorch's numbers, by path, each with what is wrong with it."""
        expected = planned(self.plan, self.weights)
        wrong = {}
        for path, leaf in expected.items():
            actual = self.jax_weights[path]
            if not _rounded(leaf, actual):
                transfers = [t for t in self.plan.transfers if t.leaf_path == path]
                wrong[path] = explain(transfers, leaf, actual, expected, self.weights)
        return wrong


def reordered(pair: Pair) -> Pair | None:
    """The pair with hidden units in the order in which converted params hold them.

    Exchanging units of a layer, in all weights that touch them, changes no output. None if the params
    differ from the plan in another way, or not at all; that the outputs agree is for the caller to see.
    """
    expected = planned(pair.plan, pair.weights)
    orders = {}
    for path, leaf in expected.items():
        if not _rounded(leaf, pair.jax_weights[path]):
            order = unit_order(leaf, pair.jax_weights[path].astype(leaf.dtype))
            if order is None:
                return None
            orders[path] = order
    return dataclasses.replace(pair, plan=pair.plan._replace(orders=orders)) if orders else None


def match(
    torch_model: Any,
    jax_model: Any,
    *,
    template: PyTree | None = None,
    params: PyTree | None = None,
    torch_params: Mapping[str, Any] | None = None,
    pins: Pins | None = None,
    allow_unused: Collection[str] = (),
    allow_missing: Collection[str] = (),
    inputs: Arrays | None = None,
) -> Pair:
    """Read both models and plan the transfer of weights from names, kinds and shapes alone.

    `check` does more: it runs both models to settle what these leave open. Arguments as there.

    Raises:
        TypeError: if a model is of a kind that cannot be read.
        WeightError: if the weights do not pair up, naming every tensor.
    """
    ours = read_torch(torch_model, torch_params)
    theirs = read_jax(jax_model, params if params is not None else template, inputs)
    plan = find(ours, theirs, pins, allow_unused, allow_missing)
    return joined(ours, theirs, plan, converted=params is not None)


def joined(ours: TorchModel, theirs: JaxModel, plan: Plan, *, converted: bool = False) -> Pair:
    """The pair of two models with a plan; `converted`: the JAX leaves are the user's own conversion.

    Weights are rounded to float32, so that all precisions start from the same numbers.

    Raises:
        ValueError: if a weight has NaN in it, naming it.
    """
    own = {name: in_float32(array) for name, array in ours.weights.items()}
    if broken := [name for name, array in own.items() if is_float(array) and np.isnan(array).any()]:
        raise ValueError(
            f"the <reference> weights {', '.join(broken)} have NaN in them: nothing can be compared"
        )
    leaves = {path: in_float32(leaf) for path, leaf in theirs.leaves.items()}
    if not converted:
        leaves |= planned(plan, own)
    elif broken := [path for path, leaf in leaves.items() if is_float(leaf) and np.isnan(leaf).any()]:
        raise ValueError(
            f"the <candidate> params {', '.join(broken)} have NaN in them: nothing can be compared"
        )
    else:
        # What differs by float32's rounding alone (a sum of two biases) takes part in full precision.
        leaves |= {path: leaf for path, leaf in planned(plan, own).items() if _rounded(leaf, leaves[path])}
    return Pair(ours, theirs, plan, own, leaves)


def _rounded(expected: Shaped[np.ndarray, "..."], actual: Shaped[np.ndarray, "..."]) -> bool:
    """Whether a leaf holds what it should but for float32's rounding."""
    scale = float(np.max(np.abs(expected), initial=0.0))
    return (
        float(np.max(np.abs(actual - expected), initial=0.0)) <= LIMIT * FLOOR_ULPS * EPS["float32"] * scale
    )


def planned(plan: Plan, weights: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The JAX leaves that PyTorch's tensors make, those left out of the plan aside."""
    return plan.to_leaves({n: a for n, a in weights.items() if n not in plan.unused}, exact=True)


def find(
    ours: TorchModel,
    theirs: JaxModel,
    pins: Pins | None = None,
    allow_unused: Collection[str] = (),
    allow_missing: Collection[str] = (),
    *,
    uses: tuple[Mapping[str, Use], Mapping[str, Use]] | None = None,
    try_plan: Callable[[Plan], float] | None = None,
) -> Plan:
    """The weight plan of two models that were read.

    Tables that the user's own PyTorch modules keep as buffers (positions, masks) may stay without a leaf.

    Args:
        ours: the PyTorch model.
        theirs: the JAX model.
        pins: as in `check`.
        allow_unused: as in `check`.
        allow_missing: as in `check`.
        uses: first uses of PyTorch's tensors by name and of JAX's leaves by path, where known.
        try_plan: how well a plan makes the two sides agree, 0 to 1, to settle ties.
    """
    torch_uses, jax_uses = uses or ({}, {})
    tensors = {name: held._replace(use=torch_uses.get(name)) for name, held in ours.signatures.items()}
    leaves = {path: Leaf(leaf.shape, jax_uses.get(path)) for path, leaf in theirs.leaves.items()}

    def plan(without: Collection[str]) -> Plan:
        return find_plan(
            tensors,
            leaves,
            try_plan=try_plan,
            pins=pins,
            allow_unused=[*allow_unused, *without],
            allow_missing=allow_missing,
        )

    try:
        return plan(())
    except WeightError as error:
        if not ours.tables:
            raise
        try:
            return plan(ours.tables)
        except WeightError:
            raise error from None
