"""Operands whose entries are in other places: transposed or flipped kernels, blocks in another order."""

import itertools
from collections.abc import Iterator

import numpy as np

from parity.diagnose.arrangements import Rearranged, rearrangements, spread, transposed
from parity.diagnose.fault import Bench
from parity.diagnose.trials import Change
from parity.trace.graph import Kind

LARGEST = 10**6
"""Size up to which an operand is rearranged."""

PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})
TAPS = frozenset({"conv_general_dilated"})


def rearranged_operands(bench: Bench) -> Iterator[Change]:
    """Every operand with its entries moved; both operands of a product with their axes permuted."""
    arrays = [i for i in (*bench.inputs, *bench.constants) if 1 < bench.value(i).size <= LARGEST]
    for index in reversed(arrays[-12:]):
        value = bench.value(index)
        ndim = max(
            (bench.value(o).ndim for n in bench.readers(index) for o in bench.jax.evaluations[n].outputs),
            default=value.ndim,
        )
        for how in spread(value, ndim):
            yield Change(
                "broadcast", f"broadcast {how.text} in PyTorch: {_said(bench, index)}", {index: how.value}
            )
        for how in rearrangements(value):
            yield _change(bench, index, how)
    for number in bench.active:
        if bench.operation(number) == "dot_general":
            a, b = bench.jax.evaluations[number].inputs
            for first, second in itertools.product(transposed(bench.value(a)), transposed(bench.value(b))):
                said = f"{first.text} and {second.text}"
                text = f"the factors of the product have other axes in PyTorch: {said}"
                yield Change("axis", text, {a: first.value, b: second.value})


def opposite_operands(bench: Bench) -> Iterator[Change]:
    """Every operand with the opposite sign, or, if it is a mask of zeros and ones, the opposite mask."""
    roots: dict[bytes, list[int]] = {}
    for index in (*bench.inputs, *bench.constants):
        if 1 < bench.value(index).size <= LARGEST and bench.value(index).dtype.kind == "f":
            root = bench.value(bench.rearranged_from(index)[-1])
            roots.setdefault(root.tobytes(), []).append(index)
    for same in roots.values():
        said = _said(bench, same[0])
        text = f"{said} has the opposite sign in PyTorch"
        yield Change("operands", text, {i: -bench.value(i) for i in same})
        if np.isin(bench.value(same[0]), (0, 1)).all():
            text = f"the mask is inverted in JAX: 1 - {said} is needed"
            yield Change("mask", text, {i: 1 - bench.value(i) for i in same})


def paired_operands(bench: Bench) -> Iterator[Change]:
    """Neighbours paired with each other where the other side pairs halves: in, and out again."""
    arrays = [i for i in bench.inputs if 3 < bench.value(i).size <= LARGEST and not bench.node(i).fixed]
    arrays = [i for i in arrays if bench.value(i).ndim > 1][-6:]
    for count in (1, 2):
        for chosen in itertools.combinations(arrays, count):
            shapes = [bench.value(i).shape for i in chosen]
            for axis in range(-min(map(len, shapes)), 0):
                lengths = {shape[axis] for shape in shapes}
                if len(lengths) == 1:
                    yield from _interleaved(bench, chosen, axis, lengths.pop())


def _interleaved(bench: Bench, chosen: tuple[int, ...], axis: int, length: int) -> Iterator[Change]:
    for parts in (2, length // 2):
        if length < 4 or length % parts or parts < 2:
            continue
        places = np.arange(length).reshape(parts, -1).T.reshape(-1)
        values = {i: np.take(bench.value(i), places, axis) for i in chosen}
        pairs = "entry i with i + half" if parts == length // 2 else "neighbouring entries"
        text = f"PyTorch pairs {pairs} along axis {axis}, JAX pairs otherwise: halves against neighbours"
        yield Change("order", text, values)
        if len(chosen) == 1:
            new = bench.compute(values)
            for target in bench.targets:
                out = np.asarray(new[target.node]) if target.node in new else target.wanted
                if out.ndim >= -axis and out.shape[axis] == length:
                    yield Change("order", text, {target.node: np.take(out, np.argsort(places), axis)})


def _said(bench: Bench, index: int) -> str:
    node = bench.node(index)
    if node.kind is Kind.WEIGHT:
        return node.operation
    where = f" of line {node.spot.line}" if node.spot.line else ""
    return f"the {node.operation}{where}"


def _change(bench: Bench, index: int, how: Rearranged) -> Change:
    node = bench.node(index)
    read = {bench.operation(n) for n in bench.readers(index)}
    kernel = node.fixed and bool(read & PRODUCTS)
    if how.kind == "transposed" and kernel:
        cause = "transposed kernel" if bench.value(index).ndim == 2 else "kernel layout"
    elif how.kind == "transposed":
        cause = "order" if _reshaped(bench, index) else "axis"
    elif how.kind == "flipped":
        small = read & TAPS and bench.value(index).size < 1000
        cause = "flipped kernel" if node.fixed or small else "order"
    elif how.kind == "rolled":
        cause = "shift"
    elif how.kind == "blocks":
        gates = bench.reaches(index, {"logistic"}, 8) and bench.reaches(index, {"tanh"}, 8)
        cause = "gate order" if gates else "packed order"
    else:
        cause = "order"
    text = f"PyTorch reads {_said(bench, index)} {how.text}"
    return Change(cause, text, {index: how.value})


def _reshaped(bench: Bench, index: int) -> bool:
    """Whether a value comes from a reshape nearby, or is reshaped or cut at the fault."""
    edge = {index}
    for _ in range(4):
        if any(bench.node(i).operation == "reshape" for i in edge):
            return True
        edge = {k for i in edge for k in bench.node(i).inputs}
    return any(bench.operation(n) in ("reshape", "slice") for n in bench.active)
