"""Losses of values that are paired, shifted or added up otherwise: by shapes that fit by chance."""

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import behind, of_a_loss, place_of, starts
from parity.localise.comparison import Value, failing
from parity.report.kinds import CauseKind
from parity.trace.vocabulary import SUMS

OF_TWO: Mapping[str, Callable[..., Array]] = {
    "sub": np.subtract,
    "add": np.add,
    "mul": np.multiply,
    "div": np.divide,
}

MOST_SAMPLES = 64
"""Samples whose losses are computed one by one."""


def broadcast_pairs(fault: Fault) -> Iterator[Change]:
    """(N, 1) and (N,), which meet as N times N pairs where each belongs to its own."""
    if not of_a_loss(fault):
        return
    following = behind(fault, starts(fault))
    for index in following:
        node, value = fault.node(index), fault.value(index)
        count = math.isqrt(value.size)
        if node.operation not in OF_TWO or value.ndim < 2 or count < 2 or count * count != value.size:
            continue
        chains = [fault.rearranged_from(i) for i in node.inputs]
        own = [next((i for i in chain if fault.value(i).size == count), -1) for chain in chains]
        if -1 in own:
            continue
        shapes = [fault.value(i).shape for i in own]
        pairs = OF_TWO[node.operation](*(fault.value(i).reshape(-1) for i in own))
        text = f"{_shape(shapes[0])} and {_shape(shapes[1])} are broadcast to {_shape(value.shape)} in "
        text += (
            f"<candidate>, every entry with every other, <reference> takes {count} pairs: reshape one of them"
        )
        paired = np.broadcast_to(pairs.reshape(-1, 1), (count, count)).reshape(value.shape)
        alone = np.where(np.eye(count, dtype=bool), pairs, 0.0).reshape(value.shape)
        for new in (paired, alone):  # a mean, a sum of what is zero at zero
            yield Change(
                CauseKind.BROADCAST,
                text,
                {index: new},
                everywhere=True,
                candidate_places=place_of(fault, index),
            )


def _shape(shape: tuple[int, ...]) -> str:
    return f"shape {shape}"


def loss_of_each(fault: Fault) -> Iterator[Change]:
    """A quotient of sums over the whole batch, where it is taken of each sample, or the other way."""
    if not of_a_loss(fault):
        return
    sums: list[int] = []
    count = 0
    for index in behind(fault, starts(fault)):
        node = fault.node(index)
        before = fault.value(node.inputs[0]) if node.inputs else np.zeros(0)
        of_samples = before.ndim > 1 and (not sums or len(before) == count)
        if node.operation in SUMS and before.dtype.kind == "f" and of_samples:
            sums.append(index)
            count = len(before)
    summands = {i: fault.value(fault.node(i).inputs[0]) for i in sums}
    whole = [i for i in sums if fault.value(i).size == 1]
    if whole and 1 < count <= MOST_SAMPLES:
        text = (
            "<reference> computes the loss of each sample and takes their {}, <candidate> adds up the whole "
        )
        text += f"batch first: sum over the other axes alone and take that of {count} losses"
        for times in (1, count):  # sums, or means: of one sample they are divided by as many again
            each = [
                {i: np.asarray(times * summands[i][k].sum()).reshape(fault.value(i).shape) for i in whole}
                for k in range(count)
            ]
            losses = [_losses(fault, values) for values in each]
            if all(np.allclose(sum(one[j] for one in losses) / times, fault.value(j)) for j in losses[0]):
                return  # a sum of what each sample has: in which order it is taken makes no difference
            for how, combine in (("mean", np.mean), ("sum", np.sum)):
                combined = {j: np.asarray(combine([one[j] for one in losses])) for j in losses[0]}
                places = place_of(fault, whole[0])
                change = Change(CauseKind.REDUCTION, text.format(how), {}, everywhere=True)
                yield change._replace(values=combined, candidate_places=places)
    rows = [i for i in sums if fault.value(i).shape[:1] == summands[i].shape[:1] and fault.value(i).ndim == 1]
    if rows:
        text = (
            "<reference> adds up the whole batch before it computes the loss, <candidate> computes the loss "
        )
        text += "of each sample"
        places = place_of(fault, rows[0])
        for divided in (1, count):
            totals = {i: np.full_like(fault.value(i), summands[i].sum() / divided) for i in rows}
            yield Change(CauseKind.REDUCTION, text, totals, everywhere=True, candidate_places=places)


def shifted_targets(fault: Fault) -> Iterator[Change]:
    """Outputs compared with the targets of the next place, which are shifted already, or not yet."""
    if not of_a_loss(fault):
        return
    begins = starts(fault)
    for y in (i for i in begins if fault.value(i).ndim > 1):
        labels = fault.value(y)
        for x in begins:
            outputs = fault.value(x)
            if x == y or outputs.dtype.kind != "f" or outputs.shape[:2] != labels.shape[:2]:
                continue
            yield from _sliced(fault, x, y)
            yield from _whole(fault, x, y)


def _sliced(fault: Fault, x: int, y: int) -> Iterator[Change]:
    """The candidate takes all places but one of both."""
    length = fault.value(x).shape[1]
    ends = [
        next((k for k in fault.consumers[i] if _is_but_one(fault, k, i) and k in fault.relevant), -1)
        for i in (x, y)
    ]
    if -1 in ends:
        return
    a, b = ends
    outputs, labels = fault.value(x), fault.value(y)
    now = "the first" if np.array_equal(fault.value(b), labels[:, :-1]) else "the last"
    kept = _losses(fault, {a: outputs[:, :-1], b: labels[:, :-1]})
    last = _losses(
        fault,
        {a: np.repeat(outputs[:, -1:], length - 1, 1), b: np.repeat(labels[:, -1:], length - 1, 1)},
    )
    text = (
        f"the targets are shifted once too often in <candidate>, which takes {now} {length - 1} of {length} "
    )
    text += "targets: <reference> compares each output with the target of the same place"
    mean = {j: ((length - 1) * kept[j] + last[j]) / length for j in kept}
    total = {j: kept[j] + last[j] / (length - 1) for j in kept}
    for values in (mean, total):
        yield Change(CauseKind.SHIFT, text, values, everywhere=True, candidate_places=place_of(fault, b))
    for first, second, how in (
        (slice(None, -1), slice(1, None), "at the next place"),
        (slice(1, None), slice(None, -1), "at the place before"),
        (slice(None, -1), slice(None, -1), "at the same place, without the last"),
        (slice(1, None), slice(1, None), "at the same place, without the first"),
    ):
        text = f"<reference> compares each output with the target {how}, <candidate> with another"
        new = {a: outputs[:, first], b: labels[:, second]}
        yield Change(CauseKind.SHIFT, text, new, everywhere=True, candidate_places=place_of(fault, b))


def _whole(fault: Fault, x: int, y: int) -> Iterator[Change]:
    """The candidate compares all places; the reference each with the next."""
    outputs, labels = fault.value(x), fault.value(y)
    length = labels.shape[1]
    if length < 3:
        return
    filled = _losses(
        fault,
        {
            x: np.concatenate([outputs[:, :-1], outputs[:, :1]], 1),
            y: np.concatenate([labels[:, 1:], labels[:, 1:2]], 1),
        },
    )
    first = _losses(fault, {x: np.repeat(outputs[:, :1], length, 1), y: np.repeat(labels[:, 1:2], length, 1)})
    text = "<reference> compares each output with the target of the next place, <candidate> with that of the "
    text += "same place: shift the targets by one"
    mean = {j: (length * filled[j] - first[j]) / (length - 1) for j in filled}
    total = {j: filled[j] - first[j] / length for j in filled}
    for values in (mean, total):
        yield Change(CauseKind.SHIFT, text, values, everywhere=True)


def _is_but_one(fault: Fault, index: int, source: int) -> bool:
    """Whether a value is all places of another one but the first or the last."""
    node, whole = fault.node(index), fault.value(source)
    shape = (whole.shape[0], whole.shape[1] - 1, *whole.shape[2:])
    if node.inputs[:1] != (source,) or fault.value(index).shape != shape or whole.shape[1] < 3:
        return False
    return any(np.array_equal(fault.value(index), part) for part in (whole[:, :-1], whole[:, 1:]))


def _losses(fault: Fault, values: Mapping[int, Value]) -> dict[int, Array]:
    """What the failed losses are with some values replaced."""
    failed = [j for _, j in failing(fault.comparison, fault.group)]
    new = fault.comparison.replay(values)
    return {j: np.asarray(new[j] if j in new else fault.value(j)) for j in failed}
