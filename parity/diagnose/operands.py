"""Operands: a value read where the other side reads another one; two values exchanged."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from parity.diagnose.fault import Bench
from parity.diagnose.order import moved, same_entries
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.trace.graph import Kind

MASKING = frozenset({"where", "masked_fill", "masked_fill_"})
PARTS = frozenset({"slice", "split", "dynamic_slice", "gather", "scan_slice", "squeeze"})

MOST = 40
"""Values on PyTorch's side that are tried in place of an operand."""


class Candidate(NamedTuple):
    """A value of PyTorch's in the shape of an operand: its node there, and its twin here, if it has one."""

    t: int
    twin: int | None
    value: Array


def exchanged_parts(bench: Bench) -> Iterator[Change]:
    """Two parts of one packed value exchanged: gates, queries and keys, halves of a gated unit."""
    for a, b in _exchanges(bench):
        if _parents(bench, a) & _parents(bench, b):
            yield _exchange(bench, a, b)


def operands(bench: Bench) -> Iterator[Change]:
    """Every value that the faulty operations read, exchanged for every value that PyTorch's read."""
    for a, b in _exchanges(bench):
        yield _exchange(bench, a, b)
    readable = _readable(bench)
    for index in readable:
        for candidate in _candidates(bench, index):
            why = _explained(bench, index, candidate)
            if why is not None:
                yield Change(*why, {index: candidate.value})
    yield from _weights(bench, readable)


def _exchanges(bench: Bench) -> Iterator[tuple[int, int]]:
    for a, b in itertools.combinations(_readable(bench), 2):
        if _alike(bench.value(a), bench.value(b)):
            yield a, b


def _exchange(bench: Bench, a: int, b: int) -> Change:
    text = f"{_said(bench, a)} and {_said(bench, b)} are exchanged in JAX"
    return Change(_exchanged(bench, a, b), text, {a: bench.value(b), b: bench.value(a)})


def pairs_of_operands(bench: Bench) -> Iterator[Change]:
    """Two operands exchanged at once: mean and variance of a normalisation, keys and values."""
    options = [
        (index, candidate, why)
        for index in _readable(bench)[-6:]
        for candidate in _candidates(bench, index)[:24]
        if (why := _explained(bench, index, candidate)) is not None
    ]
    for (a, first, (cause, text)), (b, second, (other, more)) in itertools.combinations(options, 2):
        if a != b:
            causes = {cause, other}
            shared = cause if cause == other else "operands"
            name = next((c for c in ("stale weights", "statistics") if c in causes), shared)
            yield Change(name, f"{text}; {more}", {a: first.value, b: second.value})


def _readable(bench: Bench) -> list[int]:
    """Operands: what the faulty operations read, arrays of constants included."""
    arrays = [i for i in bench.constants if bench.value(i).size > 1]
    found = [i for i in (*bench.inputs, *arrays) if bench.value(i).size > 1]
    return found[-16:]


def _alike(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype.kind == b.dtype.kind and not np.array_equal(a, b)


def _candidates(bench: Bench, index: int) -> list[Candidate]:
    """Values of PyTorch's that fit in place of an operand, nearest to the fault first."""
    old = bench.value(index)
    found: list[Candidate] = []
    near = [*reversed(bench.torch_inputs), *[t for t in bench.torch_scope if t != bench.region.t]]
    for t in near[:MOST]:
        node = bench.torch.nodes[t]
        if node.array.size != old.size or (node.array.dtype.kind == "f") != (old.dtype.kind == "f"):
            continue
        twin = next(iter(bench.twins.get(t, ())), None)
        for value in bench.from_torch(t, old.shape):
            if not np.array_equal(value, old):
                found.append(Candidate(t, twin, value.astype(old.dtype)))
    return found


def _explained(bench: Bench, index: int, candidate: Candidate) -> tuple[str, str] | None:
    """(cause, text) of reading a value of PyTorch's in place of an operand; None if that explains nothing."""
    node, theirs = bench.node(index), bench.torch.nodes[candidate.t]
    operation = theirs.kind is Kind.OPERATION
    said = (
        f"the {theirs.operation.strip('_')}" if operation else f"the {theirs.kind.value} {theirs.operation}"
    )
    text = f"JAX reads {_said(bench, index)} where PyTorch reads {said}"
    twin = candidate.twin
    if index in bench.pure:
        return ("stale weights", text) if candidate.t in bench.torch_static else None
    if _normalises(bench, index):
        return "statistics", text
    if node.fixed:
        new = theirs.fixed and not same_entries(candidate.value, bench.value(index))
        return ("swapped weights", text) if new else None
    if twin is not None and _parents(bench, index) & _parents(bench, twin):
        return _packed(bench, index), f"{text}: another part of the same packed value"
    order = moved(bench, index, candidate.value)
    if order is not None:
        return "order", f"{_said(bench, index)}: {order}"
    path = _way(bench, set(bench.comparison.partners[index]), candidate.t)
    if path:
        names = {bench.torch.nodes[t].operation for t in path}
        done = ", ".join(dict.fromkeys(bench.torch.nodes[t].operation.strip("_") for t in path))
        text = f"PyTorch goes through {done} before this, JAX reads {_said(bench, index)} as it is"
        if names & MASKING:
            return ("recurrence" if node.spot.step else "mask"), text
        return "missing term", text
    if twin is None:
        return None
    if twin in bench.ancestors(index):
        return "extra term", f"JAX goes on computing before this, PyTorch reads {said} as it is"
    return "operands", text


def _way(bench: Bench, starts: set[int], end: int) -> list[int] | None:
    """Operations from one of some values to another on PyTorch's side, if it is near."""
    edge, path = {end}, [end]
    for _ in range(4):
        before = {i for t in edge for i in bench.torch.nodes[t].inputs}
        if before & starts:
            return path
        edge = {i for i in before if bench.torch.nodes[i].kind is Kind.OPERATION}
        path += sorted(edge)
    return None


def _said(bench: Bench, index: int) -> str:
    node = bench.node(index)
    if node.kind is Kind.OPERATION:
        where = f" of line {node.spot.line}" if node.spot.line else ""
        return f"the {node.operation}{where}"
    return f"the {node.kind.value} {node.operation}" if node.kind is not Kind.CONSTANT else "a constant"


def _parents(bench: Bench, index: int) -> set[int]:
    """Values that a value is a part of, directly or after a step or two of its own."""
    found, edge = set(), {index}
    for _ in range(4):
        following: set[int] = set()
        for i in edge:
            node = bench.node(i)
            if node.operation in PARTS and bench.value(node.inputs[0]).size > bench.value(i).size:
                found.add(node.inputs[0])
            elif node.kind is Kind.OPERATION:
                following.update(k for k in node.inputs if bench.value(k).shape == bench.value(i).shape)
        edge = following
    return found


def _exchanged(bench: Bench, a: int, b: int) -> str:
    first, second = bench.node(a), bench.node(b)
    if first.fixed and second.fixed:
        return "swapped weights"
    if _parents(bench, a) & _parents(bench, b):
        return _packed(bench, a)
    if _normalises(bench, a) and _normalises(bench, b):
        return "statistics"
    return "operands"


def _packed(bench: Bench, index: int) -> str:
    """Gates where both a sigmoid and a tanh follow, else another packing."""
    starts = [index, *_parents(bench, index)]
    gates = all(any(bench.reaches(i, {name}, 8) for i in starts) for name in ("logistic", "tanh"))
    return "gate order" if gates else "packed order"


def _normalises(bench: Bench, index: int) -> bool:
    """Whether a value is subtracted as a mean, or its root divided by, in a normalisation."""
    value = bench.value(index)
    if value.size >= bench.target.wanted.size:
        return False
    return bench.reaches(index, {"rsqrt", "sqrt"}, 4) or (
        bench.reaches(index, {"sub"}, 2)
        and any(bench.operation(n) in ("rsqrt", "sqrt") for n in bench.active)
    )


def _weights(bench: Bench, readable: list[int]) -> Iterator[Change]:
    """Another weight of the same shape."""
    for index in readable:
        if not bench.node(index).fixed:
            continue
        for name, weight in bench.jax.weights.items():
            value = bench.value(weight)
            for turned in (value, value.T) if value.ndim == 2 else (value,):
                old = bench.value(index)
                if turned.size == old.size and turned.ndim <= old.ndim and not same_entries(turned, old):
                    new = turned.reshape(old.shape)
                    text = f"JAX reads {_said(bench, index)} where {name} belongs"
                    cause = "stale weights" if index in bench.pure else "swapped weights"
                    yield Change(cause, text, {index: new})
