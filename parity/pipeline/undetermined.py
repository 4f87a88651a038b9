"""Entries whose gradient is zero but for rounding: what an optimiser makes of them is chance.

The bias before a batch normalisation and that of an attention's keys change no output: their gradient is
zero in theory, and 1e-18 in fact. Adam divides it by its own size, and moves them by a full step in a
direction that rounding chose. No two right programs agree there, and nothing depends on it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from parity.numerics.lost_accuracy import NULL_SHARE
from parity.numerics.measured_leaf import Criterion, measure_leaf
from parity.numerics.noise import Side
from parity.pipeline.step_rows import FOLLOWING
from parity.report.results import LIMIT, Quantity, Verdict

GRADIENTS = "gradients"
"""The group of values from equal weights that decides."""


def undetermined(sides: tuple[Side, Side]) -> dict[str, Bool[np.ndarray, "..."]]:
    """The entries whose gradient is zero within rounding on both sides in every step, and not plainly zero.

    Args:
        sides: values of every step from equal weights, in float64; the gradients of both by tensor.

    Returns:
        By tensor which entries; tensors without any are left out.
    """
    rule = Criterion(GRADIENTS, over_time=True)
    names = [name for name in sides[0].base.get(GRADIENTS, {}) if name in sides[1].base.get(GRADIENTS, {})]
    leaves = {name: measure_leaf(*sides, GRADIENTS, name, rule, "float64") for name in names}
    known = {name: leaf for name, leaf in leaves.items() if leaf is not None}
    largest = np.max([leaf.magnitude for leaf in known.values()], axis=0) if known else np.zeros(0)
    found = {}
    for name, leaf in known.items():
        limit = LIMIT * leaf.yardstick[:, None]
        both = np.maximum(np.abs(leaf.reference), np.abs(leaf.candidate))
        small = (both <= limit) & (leaf.noise <= NULL_SHARE * largest)[:, None]
        never = np.asarray(small.all(axis=0) & (both > 0).any(axis=0))
        if never.any():
            found[name] = never.reshape(leaf.shape[1:])
    return found


def depend_on(entries: Mapping[str, object], quantities: Sequence[Quantity]) -> bool:
    """Whether a quantity that does not pass follows from such entries.

    Args:
        entries: what `undetermined` found.
        quantities: of `FOLLOWING`, judged with these entries in them.
    """
    return any(
        q.verdict is not Verdict.PASS
        and q.group in FOLLOWING
        and (q.name in entries or q.name.rpartition(".")[0] in entries)
        for q in quantities
    )


def levelled_in_words(entries: Mapping[str, Bool[np.ndarray, "..."]]) -> str:
    """What was done where gradients can be put in the place of others, as a sentence.

    Args:
        entries: what `undetermined` found; at least one.
    """
    return (
        f"the gradient of {_named(entries)} is zero but for rounding, as of a bias before a normalisation: "
        "both optimisers were given the same small number there, so that chance moves nothing"
    )


def _named(entries: Mapping[str, Bool[np.ndarray, "..."]]) -> str:
    some = [
        name if mask.all() else f"{name} ({np.count_nonzero(mask)} of {mask.size} numbers)"
        for name, mask in list(entries.items())[:3]
    ]
    return ", ".join(some) + (f" and {len(entries) - 3} more" if len(entries) > 3 else "")


def in_words(entries: Mapping[str, Bool[np.ndarray, "..."]]) -> str:
    """What is not compared, as a sentence.

    Args:
        entries: what `undetermined` found; at least one.
    """
    return (
        f"how {_named(entries)} moves: the gradient is zero but for rounding, as of a bias before a "
        "normalisation, and the optimiser scales it up to a step in a direction of chance"
    )
