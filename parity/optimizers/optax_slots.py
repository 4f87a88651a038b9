"""What an optax state holds, in PyTorch's layout and by the names of PyTorch's slots."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from parity.optimizers.known import SLOTS
from parity.weights import Plan

COUNTS = ("count", "step")
"""Fields that count updates: optax's, and that of a rule of PyTorch's own."""


class SlotPlace(NamedTuple):
    """What a leaf of an optimiser's state in JAX holds.

    Attributes:
        slot: PyTorch's name, "step" for a count.
        tensor: the tensor's name, where the state is in PyTorch's layout.
        leaf: the leaf's path, where it is in the layout of the params.
    """

    slot: str
    tensor: str = ""
    leaf: str = ""


def slots_of(opt_state: PyTree, kind: str, plan: Plan) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """What an optax state holds, in PyTorch's layout and by PyTorch's names.

    Args:
        opt_state: of `to_optax`, or of an optimiser of optax's own over the params tree.
        kind: the name of the PyTorch optimiser's class.
        plan: the weight plan between both models.

    Returns:
        Tensor name -> slot -> array, and the count of updates of the whole state (0 where it has none).
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    leaves: dict[str, dict[str, np.ndarray]] = {}
    counts = [0]
    for place, held in slot_places(opt_state, kind, plan)[0]:
        if place is None:
            continue
        if place.tensor:
            found.setdefault(place.tensor, {})[place.slot] = np.asarray(held)
        elif place.slot == "step":
            counts.append(int(np.max(held)))
        else:
            leaves.setdefault(place.slot, {})[place.leaf] = np.asarray(held)
    for slot, by_path in leaves.items():
        partial = plan._replace(transfers=tuple(t for t in plan.transfers if t.leaf_path in by_path))
        for name, tensor in partial.to_tensors(by_path).items():
            found.setdefault(name, {})[slot] = tensor
    return found, max(counts)


def slot_places(opt_state: PyTree, kind: str, plan: Plan) -> tuple[list[tuple[SlotPlace | None, Any]], Any]:
    """What each leaf of an optax state holds.

    Args:
        opt_state: of `to_optax`, or of an optimiser of optax's own over the params tree.
        kind: the name of the PyTorch optimiser's class.
        plan: the weight plan between both models.

    Returns:
        Each leaf with what it holds, None for what PyTorch has nothing of; and the structure of the state.
    """
    with_paths, structure = jax.tree_util.tree_flatten_with_path(opt_state)
    tensors = {t.tensor_name for t in plan.transfers}
    paths = {t.leaf_path for t in plan.transfers}
    return [(_place(path, kind, tensors, paths), leaf) for path, leaf in with_paths], structure


def _place(path: tuple[Any, ...], kind: str, tensors: set[str], leaves: set[str]) -> SlotPlace | None:
    """What the leaf at a path of an optax state holds; None for what PyTorch has nothing of."""
    for field, rest in _fields(path):
        if field in COUNTS and not rest:
            return SlotPlace("step")
        if field == "slots" and len(rest) == 2:
            return SlotPlace(str(rest[1].key), tensor=str(rest[0].key))
        slot = SLOTS.get(kind, {}).get(field)
        if slot is None:
            continue
        if len(rest) == 1 and getattr(rest[0], "key", None) in tensors:
            return SlotPlace(slot, tensor=str(rest[0].key))
        within = jax.tree_util.keystr(rest, simple=True, separator="/")
        # Of Linen's collections an optimiser sees the params alone.
        leaf = next((leaf for leaf in (within, f"params/{within}") if leaf in leaves), None)
        if leaf is not None:
            return SlotPlace(slot, leaf=leaf)
    return None


def _fields(path: tuple[Any, ...]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The named fields on the way to a leaf, the innermost first, each with what follows."""
    for at in reversed(range(len(path))):
        if isinstance(path[at], jax.tree_util.GetAttrKey):
            yield path[at].name, path[at + 1 :]
