"""Two models and the weights between them: planned, loaded, and judged tensor by tensor."""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree

from parity.arrays import Arrays, eps_of, round_to
from parity.jax_side import JaxModel, jax_program, read_jax
from parity.noise import Program
from parity.programs import Task
from parity.result import AS_STORED, LIMIT, Quantity, Verdict
from parity.torch_side import TorchModel, read_torch
from parity.weights import Pins, Plan, Transfer, find_plan
from parity.yardstick import FLOOR_ULPS


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
    """Two models, the weight plan between them, and the weights of each side under PyTorch's names."""

    torch: TorchModel
    jax: JaxModel
    plan: Plan
    weights: Arrays
    jax_weights: Arrays

    def jax_program(self, task: Task) -> Program:
        """Outputs, loss and gradients of the JAX model."""
        return jax_program(self.jax, self.plan, self.torch.trainable, task)

    def oracle_program(self, oracle: Oracle, task: Task) -> Program:
        """The same of another JAX program, whose params have their own paths."""
        model = read_jax(oracle.model, oracle.template)
        plan = self.plan if model.tree.paths == self.jax.tree.paths else find(self.torch, model)
        return jax_program(model, plan, self.torch.trainable, task, gradients=oracle.gradients)

    def judge_weights(self) -> list[Quantity]:
        """Every planned tensor makes the round trip bit for bit, and the JAX side holds its numbers."""
        return [self._judge_weight(transfer) for transfer in self.plan.transfers]

    def _judge_weight(self, transfer: Transfer) -> Quantity:
        ours, theirs = self.weights[transfer.torch_name], self.jax_weights[transfer.torch_name]
        back = transfer.to_torch(transfer.to_jax(ours))
        difference = float(np.max(np.abs(theirs - ours), initial=0.0))
        scale = float(np.max(np.abs(ours), initial=0.0))
        floor = FLOOR_ULPS * eps_of("float32") * scale  # a converted checkpoint may have passed float32
        rho = 0.0 if difference == 0 else difference / floor if floor else math.inf
        notes: tuple[str, ...] = ()
        passed = True
        if not np.array_equal(back, ours, equal_nan=True):
            passed, notes = False, ("the round trip to JAX and back changes the numbers",)
        elif not rho <= LIMIT:
            passed, notes = False, self._explain_weight(transfer, ours, theirs)
        return Quantity(
            "weights",
            "weights",
            transfer.torch_name,
            AS_STORED,
            Verdict.PASS if passed else Verdict.FAIL,
            rho=rho,
            difference=difference,
            scale=scale,
            floor=floor,
            jax_name=transfer.jax_path,
            shape=transfer.torch_shape,
            notes=notes,
        )

    @staticmethod
    def _explain_weight(transfer: Transfer, ours: Any, theirs: Any) -> tuple[str, ...]:
        if ours.ndim == 2 and ours.shape[0] == ours.shape[1] and np.array_equal(theirs, ours.T):
            return (f"transposed: {transfer.jax_path} needs `{transfer.how}` of {transfer.torch_name}",)
        if np.array_equal(np.sort(theirs, axis=None), np.sort(ours, axis=None)):
            how = f"{transfer.jax_path} needs `{transfer.how}` of {transfer.torch_name}"
            return (f"the same numbers in another order: {how}",)
        return (f"other numbers than {transfer.torch_name}: was it loaded?",)


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
) -> Pair:
    """Read both models and plan the transfer of weights between them; arguments as in `check`.

    Raises:
        TypeError: if a model is of a kind that cannot be read.
        WeightError: if the weights do not pair up, naming every tensor.
    """
    ours = read_torch(torch_model, torch_params)
    theirs = read_jax(jax_model, params if params is not None else template)
    plan = find(ours, theirs, pins, allow_unused, allow_missing)
    # Representable in float32, so that all precisions start from the same numbers.
    own = {n: round_to(a, "float32") for n, a in ours.weights.items()}
    jax_weights = own
    if params is not None:
        converted = {p: leaf for p, leaf in theirs.leaves.items() if p not in plan.missing}
        jax_weights = {
            **own,
            **plan.to_torch({p: round_to(leaf, "float32") for p, leaf in converted.items()}),
        }
    return Pair(ours, theirs, plan, own, jax_weights)


def find(
    ours: TorchModel,
    theirs: JaxModel,
    pins: Pins | None = None,
    allow_unused: Collection[str] = (),
    allow_missing: Collection[str] = (),
) -> Plan:
    """The weight plan of two models that were read."""
    return find_plan(
        ours.signatures,
        {path: leaf.shape for path, leaf in theirs.leaves.items()},
        pins=pins,
        allow_unused=allow_unused,
        allow_missing=allow_missing,
    )
