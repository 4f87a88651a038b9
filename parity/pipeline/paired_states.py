"""Two states of users' own loops paired: weights by their numbers first, what numbers leave open by the plan.

Zero biases and the ones of norms are alike everywhere: names and shapes tell these apart.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.frameworks.stepping import Held, Role
from parity.numerics.arrays import in_float32
from parity.pipeline.alike_arrays import History, told_apart
from parity.pipeline.lost_weights import lost_weights
from parity.pipeline.slot_paths import slot_paths
from parity.weights import Plan, Signature, Transfer, WeightError, find_plan
from parity.weights.sameness import same_but_for_rounding
from parity.weights.transfer import grouped

State = Mapping[str, Held]
"""All values of a state by name."""

MOST_AXES = 5
"""Axes of an array whose orders are all tried."""


class PairedStates(NamedTuple):
    """What is known of two states at their start.

    Attributes:
        plan: which tensor of PyTorch is which leaf of JAX.
        slots: where JAX's optimisers keep slots: the path above them -> the slot's path by the weight's.
        not_checked: what has no partner, in sentences.
    """

    plan: Plan
    slots: Mapping[str, Mapping[str, str]]
    not_checked: tuple[str, ...]


def paired_states(torch_states: Sequence[State], jax_states: Sequence[State]) -> PairedStates:
    """Pair the states that two loops start from.

    Args:
        torch_states: PyTorch's states: at the start, and behind the first steps, which tell copies apart.
        jax_states: JAX's.

    Raises:
        WeightError: if a weight that PyTorch trains has no partner with its numbers.
    """
    reference = torch_states[0]
    of_torch = [_arrays(state, (Role.WEIGHT, Role.STATISTIC)) for state in torch_states]
    of_jax = [_arrays(state, (Role.WEIGHT,)) for state in jax_states]
    tensors, leaves = of_torch[0], of_jax[0]
    if not tensors:
        raise WeightError(
            "PyTorch's state, the first of `state`, holds no weights: give its modules and optimisers, e.g. "
            "state=({'model': model, 'optimizer': optimizer}, jax_state)"
        )
    if not leaves:
        raise WeightError(
            "JAX's state, the second of `state`, holds no floating arrays: give the params and opt_state"
        )
    valued, copies = _by_values(of_torch, of_jax)
    told = {transfer.leaf_path for transfer in valued.values()}
    slots = slot_paths(leaves, told, [tensors[name].size for name in tensors if name not in valued])
    kept = {inner for found in slots.values() for inner in found.values()}
    rest = {path: leaf for path, leaf in leaves.items() if path not in kept}
    valued |= _zeros_and_ones(valued, of_torch, [rest, *of_jax[1:]])
    plan = _completed(valued, {n: reference[n] for n in tensors}, rest)
    wrong = _not_borne_out(plan, tensors, leaves)
    fine = tuple(t for t in plan.transfers if t.leaf_path not in wrong)
    held = {t.tensor_name for t in fine}
    filled = {t.leaf_path for t in fine}
    lost = [name for name in tensors if name not in held]
    anyone_trains = any(one.is_trained for one in reference.values())
    needed = [n for n in lost if reference[n].is_trained or _is_needed(reference[n], anyone_trains)]
    needed = [n for n in needed if n not in copies]
    if needed:
        raise lost_weights(needed, tensors, {path: leaf for path, leaf in rest.items() if path not in filled})
    plan = plan._replace(
        transfers=fine, unused=tuple(lost), missing=tuple(p for p in rest if p not in filled)
    )
    own = [name for name in plan.unused if tensors[name].size]
    others = [path for path in plan.missing if leaves[path].ndim]
    return PairedStates(plan, slots, (*_alone(own, "<reference>"), *_alone(others, "<candidate>")))


def _arrays(state: State, roles: Collection[Role]) -> dict[str, np.ndarray]:
    return {name: held.value for name, held in state.items() if held.role in roles}


def _is_needed(held: Held, anyone_trains: bool) -> bool:
    return held.role is Role.WEIGHT and not anyone_trains


def _alone(names: Sequence[str], side: str) -> Iterator[str]:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield f"{', '.join(names[:3])}{more} of the state, which only {side} has"


def is_telling(array: Shaped[np.ndarray, "..."]) -> bool:
    """Whether an array is known by its numbers: zeros and ones are alike everywhere.

    Args:
        array: of a state.
    """
    different = np.unique(np.abs(array))
    return different.size > 1 or (different.size == 1 and different[0] not in (0.0, 1.0))


def _numbers(array: Shaped[np.ndarray, "..."]) -> bytes:
    """What is equal in arrays that hold the same numbers in any order."""
    return np.sort(in_float32(array), axis=None).tobytes()


def _by_values(tensors: History, leaves: History) -> tuple[dict[str, Transfer], set[str]]:
    """Tensors that lie in a leaf, number by number; and those whose numbers another tensor took."""
    groups = [_groups(arrays, is_telling) for arrays in (tensors[0], leaves[0])]
    pairs: dict[str, Transfer] = {}
    copies: set[str] = set()
    for numbers, names in sorted(groups[0].items(), key=lambda one: len(one[1])):  # the clearest first
        paths = groups[1].get(numbers, [])
        found = {(n, p): way_between(n, p, tensors[0][n], leaves[0][p]) for n in names for p in paths}
        ways = {key: way for key, way in found.items() if way is not None}
        known = {name: way.leaf_path for name, way in pairs.items()}
        pairs |= {way.tensor_name: way for way in told_apart(ways, known, tensors, leaves)} if ways else {}
        copies |= {name for name in names if name not in pairs and paths and len(paths) < len(names)}
    return pairs, copies


def _zeros_and_ones(valued: Mapping[str, Transfer], tensors: History, leaves: History) -> dict[str, Transfer]:
    """Zero biases, ones of norms and the like with a leaf of the same numbers; of vectors alone."""
    taken = {way.leaf_path for way in valued.values()}
    rest = (
        {name: array for name, array in tensors[0].items() if name not in valued and array.ndim == 1},
        {path: array for path, array in leaves[0].items() if path not in taken and array.ndim == 1},
    )
    groups = [_groups(arrays, lambda array: not is_telling(array)) for arrays in rest]
    known = {name: way.leaf_path for name, way in valued.items()}
    found: dict[str, Transfer] = {}
    for numbers, names in groups[0].items():
        ways = {
            (name, path): Transfer(
                name, path, rest[0][name].shape, rest[1][path].shape, reason="its neighbours"
            )
            for name in names
            for path in groups[1].get(numbers, [])
        }
        found |= {way.tensor_name: way for way in told_apart(ways, known, tensors, leaves)} if ways else {}
    return found


def _groups(arrays: Mapping[str, np.ndarray], counts: Callable[[np.ndarray], bool]) -> dict[bytes, list[str]]:
    """Names of arrays that hold the same numbers, of those that count."""
    found: dict[bytes, list[str]] = {}
    for name, array in arrays.items():
        if counts(array):
            found.setdefault(_numbers(array), []).append(name)
    return found


def way_between(name: str, path: str, tensor: np.ndarray, leaf: np.ndarray) -> Transfer | None:
    """How a leaf holds the numbers of a tensor: with its axes in another order, backwards, in another shape.

    Args:
        name: of the tensor.
        path: of the leaf.
        tensor: its numbers.
        leaf: likewise.

    Returns:
        None if it holds them in no such way.
    """
    given, wanted = in_float32(tensor), in_float32(leaf)
    orders = itertools.permutations(range(tensor.ndim)) if tensor.ndim <= MOST_AXES else [()]
    spatial = tuple(range(2, tensor.ndim))
    for axes in sorted(orders, key=lambda axes: axes != tuple(range(len(axes)))):
        moved = given.transpose(axes) if axes else given
        if np.array_equal(moved.reshape(leaf.shape), wanted):
            kept = () if axes == tuple(range(len(axes))) else axes
            return Transfer(name, path, tensor.shape, leaf.shape, axes=kept, reason="the same numbers")
        flip = tuple(at for at, axis in enumerate(axes) if axis in spatial)
        if flip and np.array_equal(np.flip(moved, flip).reshape(leaf.shape), wanted):
            return Transfer(
                name, path, tensor.shape, leaf.shape, axes=axes, flip=flip, reason="the same numbers"
            )
    return None


def _completed(valued: Mapping[str, Transfer], tensors: State, leaves: Mapping[str, np.ndarray]) -> Plan:
    """The plan of all, with what numbers settled as it is."""
    known = {name: Signature(held.value.shape, held.layer) for name, held in tensors.items()}
    shapes = {path: Signature(leaf.shape) for path, leaf in leaves.items()}
    scalars = [path for path, leaf in leaves.items() if not leaf.ndim]
    taken = {transfer.leaf_path for transfer in valued.values()}

    def borne_out(plan: Plan) -> float:
        wrong = _not_borne_out(plan, {n: h.value for n, h in tensors.items()}, leaves)
        return 1 - len(wrong) / max(len(plan.transfers), 1)

    try:
        return find_plan(
            known,
            shapes,
            pins=dict(valued),
            try_plan=borne_out,
            allow_missing=[path for path in scalars if path not in taken],
        )
    except WeightError:
        return find_plan(known, shapes, pins=dict(valued), try_plan=borne_out, partial=True)


def _not_borne_out(
    plan: Plan, tensors: Mapping[str, np.ndarray], leaves: Mapping[str, np.ndarray]
) -> set[str]:
    """Leaves that hold other numbers than the plan says."""
    if not plan.transfers:
        return set()
    made = plan.to_leaves({t.tensor_name: tensors[t.tensor_name] for t in plan.transfers})
    return {
        path
        for path in grouped(plan.transfers, lambda t: t.leaf_path)
        if not same_but_for_rounding(made[path], leaves[path])
    }
