"""Operands whose entries are in other places: transposed or flipped kernels, blocks in another order."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from parity.diagnose.arrangements import Move, Rearranged, rearrangements, spread, transposed
from parity.diagnose.fault import Fault
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind
from parity.trace.graph import NodeKind
from parity.trace.vocabulary import CONVOLUTIONS, PRODUCTS

IN_PAIRS = "<reference> pairs {} along axis {}, <candidate> pairs otherwise: halves against neighbours"
"""What is said of a rotation, or of complex numbers in two parts."""

EACH, WHOLE = "each entry", "all of them"
"""What is repeated: of grouped heads each key and value, or all of them one after the other."""

LARGEST = 10**6
"""Size up to which an operand is rearranged."""


def rearranged_operands(fault: Fault) -> Iterator[Change]:
    """Every operand with its entries moved; both operands of a product with their axes permuted."""
    arrays = [i for i in (*fault.inputs, *fault.constants) if 1 < fault.value(i).size <= LARGEST]
    for index in reversed(arrays[-12:]):
        value = fault.value(index)
        ndim = max(
            (
                fault.value(o).ndim
                for n in fault.readers(index)
                for o in fault.candidate.evaluations[n].outputs
            ),
            default=value.ndim,
        )
        for how in spread(value, ndim):
            yield Change(
                CauseKind.BROADCAST,
                f"broadcast {how.text} in <reference>: {_described(fault, index)}",
                {index: how.value},
            )
        for how in rearrangements(value):
            yield _change(fault, index, how)
    for number in fault.active:
        if fault.operation(number) == "dot_general":
            a, b = fault.candidate.evaluations[number].inputs
            for first, second in itertools.product(transposed(fault.value(a)), transposed(fault.value(b))):
                text = "the factors of the product have other axes in <reference>: "
                text += f"{first.text} and {second.text}"
                yield Change(CauseKind.AXIS, text, {a: first.value, b: second.value})


def opposite_operands(fault: Fault) -> Iterator[Change]:
    """Every operand with the opposite sign, or, if it is a mask of zeros and ones, the opposite mask."""
    roots: dict[bytes, list[int]] = {}
    for index in (*fault.inputs, *fault.constants):
        if 1 < fault.value(index).size <= LARGEST and fault.value(index).dtype.kind == "f":
            root = fault.value(fault.rearranged_from(index)[-1])
            roots.setdefault(root.tobytes(), []).append(index)
    for same in roots.values():
        what = _described(fault, same[0])
        text = f"{what} has the opposite sign in <reference>"
        yield Change(CauseKind.OPERANDS, text, {i: -fault.value(i) for i in same})
        if np.isin(fault.value(same[0]), (0, 1)).all():
            text = f"the mask is inverted in <candidate>: 1 - {what} is needed"
            yield Change(CauseKind.MASK, text, {i: 1 - fault.value(i) for i in same})


def paired_operands(fault: Fault) -> Iterator[Change]:
    """Neighbours paired with each other where the other side pairs halves: in, and out again."""
    arrays = [i for i in fault.inputs if 3 < fault.value(i).size <= LARGEST and not fault.node(i).fixed]
    arrays = [i for i in arrays if fault.value(i).ndim > 1][-6:]
    options = []
    for count in (1, 2):
        for chosen in itertools.combinations(arrays, count):
            shapes = [fault.value(i).shape for i in chosen]
            for axis in range(-min(map(len, shapes)), 0):
                lengths = {shape[axis] for shape in shapes}
                if len(lengths) == 1 and (length := lengths.pop()) > 3:
                    options.append((chosen, axis, length, _repetitions(fault, chosen, axis, length)))
    for chosen, axis, length, repeated in options:  # what is repeated says which of several it is
        yield from _interleaved(fault, chosen, axis, length, repeated)
    for chosen, axis, length, _ in options:
        pairs = {2: "neighbouring entries", length // 2: "entry i with i + half"}
        texts = {parts: IN_PAIRS.format(what, axis) for parts, what in pairs.items()}
        yield from _interleaved(fault, chosen, axis, length, texts)


def _interleaved(
    fault: Fault, chosen: tuple[int, ...], axis: int, length: int, texts: Mapping[int, str]
) -> Iterator[Change]:
    """Operands cut into so many parts along an axis, their entries in turn."""
    for parts, text in texts.items():
        if length % parts or parts < 2:
            continue
        places = np.arange(length).reshape(parts, -1).T.reshape(-1)
        values = {i: np.take(fault.value(i), places, axis) for i in chosen}
        yield Change(CauseKind.ORDER, text, values)
        if len(chosen) == 1:
            new = fault.compute(values)
            for target in fault.targets:
                if target.node not in new:  # the reference's own value, moved, would agree in every sum
                    continue
                out = np.asarray(new[target.node])
                if out.ndim >= -axis and out.shape[axis] == length:
                    yield Change(CauseKind.ORDER, text, {target.node: np.take(out, np.argsort(places), axis)})


def _repetitions(fault: Fault, chosen: Sequence[int], axis: int, length: int) -> dict[int, str]:
    """How entries of operands are repeated along an axis, by the number of parts that it is cut into."""
    found = {}
    for parts in (n for n in range(2, length) if length % n == 0):
        cut = [np.moveaxis(fault.value(i), axis, 0).reshape(parts, length // parts, -1) for i in chosen]
        if all((own == own[:1]).all() for own in cut):
            first, second, times = EACH, WHOLE, parts
        elif all((own == own[:, :1]).all() for own in cut):
            first, second, times = WHOLE, EACH, length // parts
        else:
            continue
        text = f"<reference> repeats {first} {times} times along axis {axis}, <candidate> {second}"
        found[parts] = f"{text} (jnp.repeat repeats {EACH}, jnp.tile {WHOLE})"
    return found


def _described(fault: Fault, index: int) -> str:
    node = fault.node(index)
    if node.kind is NodeKind.WEIGHT:
        return node.operation
    where = f" of line {node.spot.line}" if node.spot.line else ""
    return f"the {node.operation}{where}"


def _change(fault: Fault, index: int, how: Rearranged) -> Change:
    node = fault.node(index)
    read = {fault.operation(n) for n in fault.readers(index)}
    kernel = node.fixed and bool(read & PRODUCTS)
    if how.move is Move.TRANSPOSED and kernel:
        cause = CauseKind.TRANSPOSED_KERNEL if fault.value(index).ndim == 2 else CauseKind.KERNEL_LAYOUT
    elif how.move is Move.TRANSPOSED:
        cause = CauseKind.ORDER if _reshaped(fault, index) else CauseKind.AXIS
    elif how.move is Move.FLIPPED:
        small = read & CONVOLUTIONS and fault.value(index).size < 1000
        cause = CauseKind.FLIPPED_KERNEL if node.fixed or small else CauseKind.ORDER
    elif how.move is Move.ROLLED:
        cause = CauseKind.SHIFT
    elif how.move is Move.BLOCKS:
        gates = fault.reaches(index, {"logistic"}, 8) and fault.reaches(index, {"tanh"}, 8)
        cause = CauseKind.GATE_ORDER if gates else CauseKind.PACKED_ORDER
    else:
        cause = CauseKind.ORDER
    text = f"<reference> reads {_described(fault, index)} {how.text}"
    return Change(cause, text, {index: how.value})


def _reshaped(fault: Fault, index: int) -> bool:
    """Whether a value comes from a reshape nearby, or is reshaped or cut at the fault."""
    edge = {index}
    for _ in range(4):
        if any(fault.node(i).operation == "reshape" for i in edge):
            return True
        edge = {k for i in edge for k in fault.node(i).inputs}
    return any(fault.operation(n) in ("reshape", "slice") for n in fault.active)
