"""What two optimisers keep, read and written on both sides by common names: "tensor.kind"."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from parity.frameworks.stepping import Held, Role
from parity.numerics.arrays import Arrays
from parity.pipeline.paired_slots import PairedSlots, slots_in_jax, slots_in_torch
from parity.pipeline.paired_states import PairedStates
from parity.weights import Plan

State = Mapping[str, Held]
"""All values of a state by name."""


def only_leaf(plan: Plan, tensor: str) -> str:
    """The leaf that a tensor is; "" where it is spread over several.

    Args:
        plan: which tensor is which leaf.
        tensor: its name.
    """
    leaves = {t.leaf_path for t in plan.transfers if t.tensor_name == tensor}
    return leaves.pop() if len(leaves) == 1 else ""


class SlotView(NamedTuple):
    """Kinds of slots that hold the same on both sides.

    Attributes:
        paired: the states at their start.
        tops: PyTorch's kind -> the path above JAX's.
        tensors: kind -> the tensors that have one on both sides.
        in_torch: PyTorch's own name of each slot.
        is_whole: whether every slot of either side is among them, with the same numbers in the first steps.
    """

    paired: PairedStates
    tops: Mapping[str, str]
    tensors: Mapping[str, tuple[str, ...]]
    in_torch: Mapping[str, str]
    is_whole: bool

    @classmethod
    def of(cls, paired: PairedStates, slots: PairedSlots, torch_state: State, jax_state: State) -> "SlotView":
        """What is common to two states behind the first steps.

        Args:
            paired: the states at their start.
            slots: kinds that hold the same.
            torch_state: behind the first steps.
            jax_state: likewise.
        """
        own = slots_in_torch(torch_state)
        other = {
            kind: slots_in_jax(jax_state, paired.slots[top], paired.plan) for kind, top in slots.kinds.items()
        }
        return cls(
            paired,
            slots.kinds,
            {kind: tuple(sorted(set(own[kind]) & set(other[kind]))) for kind in slots.kinds},
            {f"{h.of}.{h.kind}": name for name, h in torch_state.items() if h.role is Role.SLOT},
            slots.equal and all(set(own[kind]) == set(other[kind]) for kind in slots.kinds),
        )

    @property
    def names(self) -> dict[str, tuple[str, str]]:
        """The tensor and the kind of each slot, by its name."""
        return {f"{name}.{kind}": (name, kind) for kind, names in self.tensors.items() for name in names}

    def read_torch(self, state: State) -> Arrays:
        """Slots of a PyTorch state by name; zero before an optimiser has made them.

        Args:
            state: by name.
        """
        found = slots_in_torch(state)
        return {
            slot: found.get(kind, {}).get(name, np.zeros(state[name].value.shape))
            for slot, (name, kind) in self.names.items()
        }

    def read_jax(self, state: State) -> Arrays:
        """Slots of a JAX state by name, in the layout of PyTorch's tensors.

        Args:
            state: by path.
        """
        paths, plan = self.paired.slots, self.paired.plan
        found = {kind: slots_in_jax(state, paths[top], plan) for kind, top in self.tops.items()}
        return {slot: found[kind][name] for slot, (name, kind) in self.names.items()}

    def path_in_jax(self, slot: str) -> str:
        """The path of a slot in JAX's state; "" where its tensor is spread over several leaves.

        Args:
            slot: its common name.
        """
        tensor, kind = self.names[slot]
        return self.paired.slots[self.tops[kind]].get(only_leaf(self.paired.plan, tensor), "")

    def own_torch(self, arrays: Arrays) -> Arrays:
        """Slots by PyTorch's own names.

        Args:
            arrays: by common names.
        """
        return {self.in_torch[name]: array for name, array in arrays.items()}

    def own_jax(self, arrays: Arrays) -> Arrays:
        """Slots by JAX's paths.

        Args:
            arrays: by common names.
        """
        plan = self.paired.plan
        found: dict[str, np.ndarray] = {}
        for kind, names in self.tensors.items():
            transfers = tuple(t for t in plan.transfers if t.tensor_name in names)
            part = plan._replace(transfers=transfers)
            leaves = part.to_leaves({name: arrays[f"{name}.{kind}"] for name in names}, exact=True)
            paths = self.paired.slots[self.tops[kind]]
            found |= {paths[path]: leaf for path, leaf in leaves.items() if path in paths}
        return found
