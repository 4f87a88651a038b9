"""The state of an optimiser from one framework to the other, so that a run goes on in the middle."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxtyping import PyTree

from parity.optimizers.groups import name_of, parameter_names, rule_of
from parity.optimizers.optax_slots import SlotPlace, slot_places, slots_of
from parity.weights import Plan, WeightError

STEPLESS = ("SGD",)
"""Optimisers of PyTorch that count nothing."""


def state_from_torch(
    torch_optimizer: torch.optim.Optimizer,
    opt_state: PyTree,
    plan: Plan,
    *,
    module: torch.nn.Module,
    step: int | None = None,
) -> PyTree:
    """The state of a PyTorch optimiser in the form of an optax state.

    Works for the states of `to_optax` and for those of optax's own optimisers over the params tree: moments
    and buffers are found by optax's names for them (mu, nu, trace, e_g, e_x, count).

    Args:
        torch_optimizer: an optimiser of `torch.optim` after some steps; before the first one its slots are
            those of `opt_state`.
        opt_state: the state to take the form of, such as `optimizer.init(params)`.
        plan: the weight plan between both models.
        module: the PyTorch model, for the names of its parameters.
        step: how many updates were made. Needed where PyTorch counts none (SGD) and `opt_state` does
            (a schedule, dampening); it is the scheduler's `last_epoch` where that steps once per update.

    Returns:
        The state with PyTorch's numbers, in the dtypes of `opt_state`.

    Raises:
        TypeError: if the optimiser is none of `torch.optim` itself.
        WeightError: if a slot that `opt_state` needs is missing in PyTorch, by name.
        ValueError: if `opt_state` counts updates and neither PyTorch nor `step` says how many, or if PyTorch
            has counted differently for different parameters and `opt_state` has one count for all.
    """
    slots = _torch_slots(torch_optimizer, plan, module)
    if not slots:
        return opt_state
    leaves: dict[str, dict[str, np.ndarray]] = {}
    lost: list[str] = []

    def value(place: SlotPlace, held: Any) -> Any:
        if place.slot == "step":
            return jnp.asarray(_count(slots, place, step, name_of(type(torch_optimizer))), held.dtype)
        if place.tensor:
            found = slots.get(place.tensor, {}).get(place.slot)
            where = f"{place.slot} of {place.tensor}"
        else:
            if place.slot not in leaves:
                leaves[place.slot] = _as_leaves(slots, place.slot, plan)
            found = leaves[place.slot].get(place.leaf)
            where = f"{place.slot} of {place.leaf}"
        if found is None:
            lost.append(where)
            return held
        return jnp.asarray(np.reshape(found, held.shape), held.dtype)

    places, structure = slot_places(opt_state, name_of(type(torch_optimizer)), plan)
    values = [held if place is None else value(place, held) for place, held in places]
    if lost:
        raise WeightError(
            "the state of `torch_optimizer` lacks what `opt_state` needs: "
            + ", ".join(lost)
            + ". Make one step in PyTorch first, or configure both optimisers alike"
        )
    return jax.tree.unflatten(structure, values)


def state_to_torch(
    opt_state: PyTree,
    torch_optimizer: torch.optim.Optimizer,
    plan: Plan,
    *,
    module: torch.nn.Module,
) -> None:
    """Write an optax state into a PyTorch optimiser: the way back of `state_from_torch`.

    Args:
        opt_state: of `to_optax`, or of an optimiser of optax's own over the params tree.
        torch_optimizer: an optimiser of `torch.optim` over the model's parameters; its state is replaced.
        plan: the weight plan between both models.
        module: the PyTorch model, for the names of its parameters.

    Raises:
        WeightError: if `opt_state` holds none of its slots.
    """
    found, count = slots_of(opt_state, name_of(type(torch_optimizer)), plan)
    names = parameter_names(torch_optimizer, {t.tensor_name: np.empty(0) for t in plan.transfers}, module)
    stateful = [p for g in torch_optimizer.param_groups for p in g["params"] if names.get(id(p)) in found]
    if not stateful:
        raise WeightError(
            f"`opt_state` holds no slot of {type(torch_optimizer).__name__} for a parameter of "
            "`torch_optimizer`"
        )
    for p in stateful:
        slots = found[names[id(p)]]
        if name_of(type(torch_optimizer)) not in STEPLESS:
            slots.setdefault("step", np.asarray(count))
        else:
            slots.pop("step", None)
        torch_optimizer.state[p] = {slot: _torch_slot(slot, value, p) for slot, value in slots.items()}


def _torch_slot(slot: str, value: np.ndarray, parameter: torch.Tensor) -> torch.Tensor:
    """A slot as PyTorch holds it: on the parameter's device and in its dtype, but for numbers."""
    if slot == "step":
        return torch.tensor(float(value), dtype=torch.get_default_dtype())
    tensor = torch.from_numpy(np.array(value, dtype=np.float64))
    if value.ndim == 0 and parameter.ndim:
        return tensor.to(torch.get_default_dtype())
    return tensor.to(device=parameter.device, dtype=parameter.dtype)


def _torch_slots(
    optimizer: torch.optim.Optimizer, plan: Plan, module: torch.nn.Module
) -> dict[str, dict[str, np.ndarray]]:
    """The state of a PyTorch optimiser: tensor name -> slot -> array."""
    rule_of(optimizer)
    names = parameter_names(optimizer, {t.tensor_name: np.empty(0) for t in plan.transfers}, module)
    return {
        names[id(p)]: {
            slot: value.detach().cpu().double().numpy()
            if isinstance(value, torch.Tensor)
            else np.asarray(value)
            for slot, value in state.items()
            if value is not None
        }
        for p, state in optimizer.state.items()
        if id(p) in names and state
    }


def _count(
    slots: Mapping[str, Mapping[str, np.ndarray]],
    place: SlotPlace,
    step: int | None,
    kind: str,
) -> int:
    """How many updates were made: of one tensor, or of all."""
    known = {name: int(held["step"]) for name, held in slots.items() if "step" in held}
    if place.tensor in known:
        return known[place.tensor]
    if step is not None:
        return step
    if not known:
        raise ValueError(
            f"`opt_state` counts updates and {kind} of PyTorch does not: pass `step=` (how many were made)"
        )
    if len(set(known.values())) > 1:
        counts = ", ".join(f"{name}: {count}" for name, count in sorted(known.items()))
        raise ValueError(
            f"PyTorch has updated its parameters a different number of times ({counts}) and `opt_state` "
            "has one count for all: pass `step=`, or freeze those that got no gradient"
        )
    return next(iter(known.values()))


def _as_leaves(slots: Mapping[str, Mapping[str, np.ndarray]], slot: str, plan: Plan) -> dict[str, np.ndarray]:
    """One slot of all tensors as leaves; of a leaf that holds tensors without it, nothing."""
    lacking = {t.leaf_path for t in plan.transfers if slot not in slots.get(t.tensor_name, {})}
    partial = plan._replace(transfers=tuple(t for t in plan.transfers if t.leaf_path not in lacking))
    there = {t.tensor_name for t in partial.transfers}
    return partial.to_leaves({name: slots[name][slot] for name in there})
