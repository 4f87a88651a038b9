"""Plans of a part of the weights, and what is probably the matter with the rest.

A user's own conversion may be no permutation: a norm folded into a kernel, a vocabulary padded. What a plan
explains is then planned, and of the rest it is said which array is nearest to which.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from parity.weights.completeness import is_filled, is_read
from parity.weights.evidence import Known
from parity.weights.likeness import likeness
from parity.weights.names import last_word
from parity.weights.plan import Plan
from parity.weights.reshapes import squeeze
from parity.weights.transfer import Shape, Transfer, grouped

PARAMETRIZED = ".parametrizations."
"""Part of the name of a tensor from which PyTorch computes a weight: weight_norm and its like."""

LIKE = 0.5
"""How alike, 0 to 1, two names must be for one array to be called a copy of the other."""


class Misfit(NamedTuple):
    """A tensor and the leaf that is nearest to it, of another shape.

    Attributes:
        tensor: name of the tensor.
        leaf: path of the leaf.
        text: both shapes and how they differ, in words.
        is_short: whether the leaf has no room for all of the tensor's numbers.
    """

    tensor: str
    leaf: str
    text: str
    is_short: bool


def whole_part(plan: Plan, tensors: Known, leaves: Known) -> Plan:
    """The part of a plan whose tensors are read whole and whose leaves are filled whole.

    Args:
        plan: a plan that may leave something over.
        tensors: all tensors by name.
        leaves: all leaves by path.

    Returns:
        The part, with everything else as unused or missing.
    """
    kept: Sequence[Transfer] = plan.transfers
    while True:
        by_name, by_path = (grouped(kept, key) for key in (_tensor, _leaf))
        fine = [
            t
            for t in kept
            if is_read(tensors[t.tensor_name].shape, by_name[t.tensor_name])
            and is_filled(leaves[t.leaf_path].shape, by_path[t.leaf_path])
        ]
        if len(fine) == len(kept):
            break
        kept = fine
    return plan._replace(
        transfers=tuple(kept),
        unused=tuple(name for name in tensors if name not in by_name),
        missing=tuple(path for path in leaves if path not in by_path),
    )


def _tensor(transfer: Transfer) -> str:
    return transfer.tensor_name


def _leaf(transfer: Transfer) -> str:
    return transfer.leaf_path


def misfits(plan: Plan, tensors: Known, leaves: Known) -> list[Misfit]:
    """The tensors without a leaf, each with the leaf without a tensor whose shape is nearest.

    >>> from parity.weights import Signature
    >>> plan = Plan((), unused=("embed.weight",), missing=("embed",))
    >>> misfits(plan, {"embed.weight": Signature((11, 6))}, {"embed": Signature((10, 6))})[0].text
    "'embed.weight' (11, 6) and 'embed' (10, 6): 1 shorter along axis 0"

    Args:
        plan: a plan with unused tensors and missing leaves.
        tensors: all tensors by name.
        leaves: all leaves by path.

    Returns:
        The pairs, each array at most once, the names most alike first.
    """
    if not plan.unused or not plan.missing:
        return []
    alike = likeness(plan.unused, plan.missing)
    found = []
    for row, name in enumerate(plan.unused):
        for column, path in enumerate(plan.missing):
            way = _difference(tensors[name].shape, leaves[path].shape)
            if way is not None:
                found.append((-float(alike[row, column]), name, path, *way))
    pairs: list[Misfit] = []
    for _, name, path, text, is_short in sorted(found):
        if not any(name == one.tensor or path == one.leaf for one in pairs):
            shapes = f"{name!r} {tensors[name].shape} and {path!r} {leaves[path].shape}"
            pairs.append(Misfit(name, path, f"{shapes}: {text}", is_short))
    return pairs


def _difference(shape: Shape, other: Shape) -> tuple[str, bool] | None:
    """How a leaf's shape differs from a tensor's in one axis, whichever way it lies; None if in more.

    An axis of length one broadcasts: such an array, as a scale for each row of a quantised kernel, is of
    another kind than one that has several entries there.
    """
    for turned, words in ((shape, ""), (shape[::-1], ", transposed")):
        if len(turned) != len(other) or (words and len(shape) != 2):
            continue
        apart = [axis for axis, (a, b) in enumerate(zip(turned, other, strict=True)) if a != b]
        if len(apart) == 1 and min(turned[apart[0]], other[apart[0]]) > 1:
            axis = apart[0]
            less = turned[axis] - other[axis]
            return f"{abs(less)} {'shorter' if less > 0 else 'longer'} along axis {axis}{words}", less > 0
    return None


def guesses(plan: Plan, tensors: Known, leaves: Known) -> Iterator[str]:
    """What is probably the matter with arrays that are left over, a line each.

    Args:
        plan: a plan whose unused tensors and missing leaves are those left over.
        tensors: all tensors by name.
        leaves: all leaves by path.

    Yields:
        The lines: a nearest shape, or an array of the same shape and nearly the same name that has a partner.
    """
    for misfit in misfits(plan, tensors, leaves):
        yield f"nearest are {misfit.text}"
    computed = dict.fromkeys(n.partition(PARAMETRIZED)[0] for n in plan.unused if PARAMETRIZED in n)
    if computed:
        yield (
            f"PyTorch computes weights of {', '.join(computed)} from what is left over: give the other "
            "side's yourself (`params`), or call torch.nn.utils.parametrize.remove_parametrizations first"
        )
    planned = list(dict.fromkeys(t.leaf_path for t in plan.transfers)), list(dict.fromkeys(plan.names()))
    partners = (
        {
            path: ", ".join(dict.fromkeys(t.tensor_name for t in plan.transfers if t.leaf_path == path))
            for path in planned[0]
        },
        plan.names(),
    )
    for left, known, paired, of in (
        (plan.missing, leaves, planned[0], partners[0]),
        (plan.unused, tensors, planned[1], partners[1]),
    ):
        for name in left:
            if PARAMETRIZED in name:
                continue
            shape, last = squeeze(known[name].shape), last_word(name)
            same = [o for o in paired if squeeze(known[o].shape) == shape and last_word(o) == last]
            if not same:
                continue
            alike = likeness([name], same)[0]
            best = max(range(len(same)), key=lambda i: (float(alike[i]), -i))
            if alike[best] >= LIKE:
                partner = of[same[best]]
                yield f"{name!r} is like {same[best]!r}, partner of {partner!r}: used twice, untied?"
