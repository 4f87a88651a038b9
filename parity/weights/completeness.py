"""What is wrong with a plan, in words: what is left over, what is filled twice, what is still open."""

from collections.abc import Callable, Collection, Iterable, Sequence
from fnmatch import fnmatchcase

import numpy as np
from jaxtyping import Bool

from parity.report.sides import Sides
from parity.weights.doubt import OPEN
from parity.weights.evidence import Known
from parity.weights.matches import Match
from parity.weights.plan import Plan
from parity.weights.transfer import Shape, Transfer, WeightError, array_names

LISTED = 20
"""How many faults a message lists at most."""

ARRAY_NAMES = array_names(Sides(), is_reversed=False)


def allowed(patterns: Collection[str], known: Iterable[str]) -> frozenset[str]:
    """The names that some patterns allow; a name is its own pattern, also one with brackets.

    >>> sorted(allowed(["head.*", "norm.bias"], dict.fromkeys(["head.weight", "norm.bias", "norm.weight"])))
    ['head.weight', 'norm.bias']

    Args:
        patterns: names, or patterns with `*` and `?` as of files; a part of a path is no border for them.
        known: all names.
    """
    return frozenset(
        name for name in known if name in patterns or any(fnmatchcase(name, own) for own in patterns)
    )


def require_complete(
    plan: Plan,
    tensors: Known,
    leaves: Known,
    allow_unused: Collection[str] = (),
    allow_missing: Collection[str] = (),
    *,
    what: tuple[str, str] = ARRAY_NAMES,
    guess: Callable[[], Iterable[str]] = tuple,
) -> None:
    """Every number of every tensor is used and every number of every leaf filled, but for what is allowed.

    Args:
        plan: the plan.
        tensors: all tensors by name.
        leaves: all leaves by path.
        allow_unused: tensors that may stay without a leaf.
        allow_missing: leaves that may stay without a tensor.
        what: what a tensor and a leaf are called.
        guess: what is probably the matter, a line each.

    Raises:
        WeightError: naming every tensor and leaf that is left over, whole or in part, and every leaf whose
            blocks overlap without being the same.
    """
    faults = []
    by_name: dict[str, list[Transfer]] = {}
    by_path: dict[str, list[Transfer]] = {}
    for transfer in plan.transfers:
        by_name.setdefault(transfer.tensor_name, []).append(transfer)
        by_path.setdefault(transfer.leaf_path, []).append(transfer)
    for name, tensor in tensors.items():
        rest = _unread(tensor.shape, by_name.get(name, []))
        if rest and name not in allow_unused:
            faults.append(f"unused {what[0]} {name!r} {tensor.shape}{rest}")
    for path, leaf in leaves.items():
        rest, overlaps = _unfilled(leaf.shape, by_path.get(path, []))
        if rest and path not in allow_missing:
            faults.append(f"missing {what[1]} {path!r} {leaf.shape}{rest}")
        if overlaps:
            faults.append(f"{what[1]} {path!r} {leaf.shape} is filled twice in part")
    if faults:
        raise WeightError(
            "the weights of the two models do not pair up:\n  "
            + "\n  ".join([*_shortened(faults), *_shortened(list(guess()))])
            + "\nPin pairs with pins={tensor_name: leaf_path}, or allow tensors by name with "
            "unused=[...] and missing=[...] of parity.Weights"
        )


def require_settled(turns: Iterable[Match], ties: Iterable[tuple[Match, Match]]) -> None:
    """Nothing is open.

    Args:
        turns: square matrices that fit as they are and transposed.
        ties: matches that could be exchanged.

    Raises:
        WeightError: listing the candidates, and the line that pins one.
    """
    faults, pins = [], []
    for one, other in ties:
        faults.append(
            f"{one.unit.label!r} and {other.unit.label!r} fit {one.slot.label!r} and {other.slot.label!r} "
            "either way"
        )
        pins.append(f"pins={{{_tensor(one)!r}: {one.slot.path!r}}}")
    for match in turns:
        first, second = match.ways[0].axes, match.ways[1].axes
        faults.append(
            f"{_tensor(match)!r} {match.unit.shape} is square: it fits {match.slot.path!r} as it is, "
            f"{min(first, second)}, and transposed, {max(first, second)}"
        )
        pins.append(f"pins={{{_tensor(match)!r}: ({match.slot.path!r}, {max(first, second)})}}")
    if faults:
        raise WeightError(
            "the weights can be paired in more than one way:\n  "
            + "\n  ".join(_shortened(list(dict.fromkeys(faults))))
            + f"\nSay which, for example with {pins[0]}; pins={{tensor_name: leaf_path}} or "
            "pins={tensor_name: (leaf_path, axes)}"
        )


def require_decided(plan: Plan) -> None:
    """No transfer of a plan is one of several that fit: who only converts weights has no verdict to doubt.

    Args:
        plan: settled by running both sides.

    Raises:
        WeightError: listing the undecided lines, and one that pins.
    """
    undecided = [transfer for transfer in plan.transfers if OPEN in transfer.reason]
    if not undecided:
        return
    lines = [f"{transfer.tensor_name!r} and {transfer.leaf_path!r}" for transfer in undecided]
    names = undecided[0].tensor_name, undecided[0].leaf_path
    first, second = reversed(names) if plan.reversed else names
    raise WeightError(
        "the weights can be paired in more than one way, and with none do the two sides compute the same; "
        "undecided are\n  "
        + "\n  ".join(_shortened(lines))
        + f"\nSay which, for example with pins={{{first!r}: {second!r}}}, or see with parity.check where the "
        "two sides part"
    )


def _tensor(match: Match) -> str:
    return match.unit.pieces[0].name


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - LISTED
    return lines if more <= 0 else [*lines[:LISTED], f"and {more} more"]


def is_read(shape: Shape, transfers: Sequence[Transfer]) -> bool:
    """Whether transfers read every number of a tensor.

    Args:
        shape: the tensor's.
        transfers: those that read it.
    """
    return not _unread(shape, transfers)


def is_filled(shape: Shape, transfers: Sequence[Transfer]) -> bool:
    """Whether transfers fill every number of a leaf, none of them twice in part.

    Args:
        shape: the leaf's.
        transfers: those that fill it.
    """
    rest, overlaps = _unfilled(shape, transfers)
    return not rest and not overlaps


def _unread(shape: Shape, transfers: Sequence[Transfer]) -> str:
    """What of a tensor is not used, as the end of a sentence; empty if nothing."""
    if not transfers:
        return ", whole"
    if any(not transfer.take for transfer in transfers):
        return ""
    seen: Bool[np.ndarray, ...] = np.zeros(shape, bool)
    for transfer in transfers:
        transfer.source(seen)[...] = True
    return "" if seen.all() else f": {seen.size - int(seen.sum())} of {seen.size} numbers"


def _unfilled(shape: Shape, transfers: Sequence[Transfer]) -> tuple[str, bool]:
    """What of a leaf is not filled, likewise, and whether blocks overlap that are not the same."""
    if not transfers:
        return ", whole", False
    boxes = {transfer.box(): transfer for transfer in transfers}
    if len(boxes) == 1 and any(not transfer.put for transfer in transfers):
        return "", False
    seen: Bool[np.ndarray, ...] = np.zeros(shape, bool)
    overlaps = False
    for transfer in boxes.values():
        block = transfer.target(seen)
        overlaps = overlaps or bool(block.any())
        block[...] = True
    return "" if seen.all() else f": {seen.size - int(seen.sum())} of {seen.size} numbers", overlaps
