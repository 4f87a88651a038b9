"""Entries of weights whose slots are rounding alone: how an optimiser moves them is chance.

`parity.pipeline.undetermined` says it of gradients. A step function shows none; what its optimiser keeps of
them tells the same.
"""

from collections.abc import Mapping

import numpy as np

from parity.numerics.noise import Side
from parity.pipeline.step_rows import Entries
from parity.pipeline.undetermined import GRADIENTS, undetermined


def undetermined_entries(sides: tuple[Side, Side], slots: Mapping[str, tuple[str, str]]) -> Entries:
    """The entries of which every slot is zero within rounding on both sides in every step.

    Args:
        sides: values from equal weights, in float64.
        slots: the tensor and the kind of each slot, by its name.

    Returns:
        By tensor; those without any are left out.
    """
    found: dict[str, np.ndarray] = {}
    decided: set[str] = set()
    for kind in {kind for _, kind in slots.values()}:
        own = {name: tensor for name, (tensor, other) in slots.items() if other == kind}
        masks = undetermined((_as_gradients(sides[0], own), _as_gradients(sides[1], own)))
        for tensor in own.values():
            mask = masks.get(tensor)
            if mask is None:
                decided.add(tensor)
            else:
                found[tensor] = mask & found[tensor] if tensor in found else mask
    return {name: mask for name, mask in found.items() if name not in decided and mask.any()}


def with_slots(entries: Entries, slots: Mapping[str, tuple[str, str]]) -> Entries:
    """The same entries of slots, too, by their names.

    Args:
        entries: by tensor.
        slots: the tensor and the kind of each slot, by its name.
    """
    return {
        **entries,
        **{name: entries[tensor] for name, (tensor, _) in slots.items() if tensor in entries},
    }


def _as_gradients(side: Side, own: Mapping[str, str]) -> Side:
    """Slots of one kind in the place of gradients."""
    return Side(
        *(
            {GRADIENTS: {tensor: values["slots"][name] for name, tensor in own.items()}}
            for values in (side.base, side.moves, side.other)
        )
    )
