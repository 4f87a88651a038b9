"""The reference's values tried in place of the candidate's: in which layout, with what success."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from jaxtyping import Shaped

from parity.localise.comparison import Comparison, Function, Value
from parity.numerics.complex_parts import of_parts, real_parts
from parity.trace.graph import Trace
from parity.trace.vocabulary import REARRANGING, REPEATING

AHEAD = 48
"""Evaluations downstream of a replaced value by which it is scored."""

MOST_LAYOUTS = 4
"""Layouts in which one value is tried."""

AT_OUTPUT = 0.25
"""Score of an output that is replaced by the reference's: it always helps, but anything else that falls into
place says more."""

Placed: TypeAlias = "Mapping[int, Shaped[np.ndarray, '...']]"
"""Node of the candidate -> the reference's value in its place."""


def in_place(
    comparison: Comparison, ts: Sequence[int], js: Sequence[int]
) -> Iterator[dict[int, Shaped[np.ndarray, "..."]]]:
    """A value of the reference in every layout in which it can stand in place of the candidate's.

    Args:
        comparison: both traces.
        ts: node of the reference; several where it computes in parts.
        js: node of the candidate; several where it does.

    Yields:
        Node of the candidate -> array of its shape and dtype, the likeliest layout first; none where the
        sizes differ.
    """
    there = [comparison.reference.nodes[t].array for t in ts]
    value = there[0] if len(ts) == 1 else np.stack(there)
    if len(js) == 1:
        for array in _laid_out(value, comparison.array(js[0])):
            yield {js[0]: array}
        return
    for array in _laid_out(value, np.stack([comparison.array(j) for j in js])):
        yield dict(zip(js, array, strict=True))
        yield dict(zip(reversed(js), array, strict=True))


def _laid_out(
    value: Shaped[np.ndarray, "..."], like: Shaped[np.ndarray, "..."]
) -> Iterator[Shaped[np.ndarray, "..."]]:
    """A value in the layouts that fit another."""
    parts = real_parts(like)
    layouts = list(_in_place(real_parts(value), parts if like.dtype.kind == "c" else like))
    if len(layouts) > 1:  # of a fault that spares some entries the layout tells in which these agree
        layouts.sort(key=lambda array: float(np.mean(np.isclose(array, parts))), reverse=True)
    yield from map(of_parts, layouts) if like.dtype.kind == "c" else layouts


def _in_place(
    value: Shaped[np.ndarray, "..."], like: Shaped[np.ndarray, "..."]
) -> Iterator[Shaped[np.ndarray, "..."]]:
    """The same for arrays that are not complex."""
    target = like.shape
    if value.size != like.size:
        return
    if value.dtype.kind != like.dtype.kind and "b" in (value.dtype.kind, like.dtype.kind):
        return
    value = value.astype(like.dtype)
    if value.shape == target:
        yield value
    squeezed = np.squeeze(value)
    wanted = tuple(n for n in target if n != 1)
    given = 0
    for axes in itertools.permutations(range(squeezed.ndim)):
        moved = squeezed.transpose(axes)
        another = value.shape != target or axes != tuple(range(squeezed.ndim))
        if (moved.shape == wanted and another) or squeezed.ndim != len(wanted):
            yield moved.reshape(target)
            given += 1
        if given >= MOST_LAYOUTS:
            return


def score(comparison: Comparison, failed: list[tuple[int, int]], values: Placed) -> float:
    """How many of the next values fall into place with these, less those that fall out of it.

    Args:
        comparison: both traces.
        failed: the failed outputs, as `failing` gives them.
        values: node of the candidate -> its value instead.
    """
    candidate = comparison.candidate
    outputs = {j_out: t_out for t_out, j_out in failed}
    changed = comparison.replay(values, until=_ahead(candidate, values))
    agreed = 0.0
    for j, value in values.items():
        if j in outputs and outputs[j] in comparison.matches(j, np.asarray(value)):
            agreed = AT_OUTPUT
    first, alike = min(values), set(values)
    for index, new in changed.items():
        node = candidate.nodes[index]
        moved = node.operation in REPEATING or node.operation in REARRANGING
        if index <= first or index in values or (moved and not alike.isdisjoint(node.inputs)):
            continue  # moved entries say no more than they did before
        partners = comparison.matches(index, np.asarray(new))
        alike.update([index] if partners else ())
        if moved and comparison.partners[index]:
            continue
        if any(set(partners) & set(comparison.partners[i]) for i in node.inputs if i not in changed):
            continue  # an operand as it was: all of a mask that masks nothing
        if comparison.partners[index]:
            agreed -= not partners and not comparison.summaries[index].empty
        elif index in outputs:
            agreed += outputs[index] in partners
        else:
            agreed += bool(partners) and bool(np.any(new))  # zeros are found on every side
    arrays = {
        index: np.asarray(new) for index, new in changed.items() if index > first and index not in values
    }
    return agreed + len(list(comparison.candidate_runs.found_with(arrays, comparison.candidate_moves)))


def _ahead(trace: Trace, values: Placed) -> int | None:
    """The node up to which a replacement is followed."""
    changed = set(values)
    count = 0
    for evaluation in trace.evaluations:
        if any(i in changed for i in evaluation.inputs):
            changed.update(evaluation.outputs)
            count += 1
            if count >= AHEAD * len(values):
                return max(evaluation.outputs)
    return None


def mends(comparison: Comparison, failed: list[tuple[int, int]], values: Placed) -> bool:
    """Whether every failed output agrees with these values in place.

    Args:
        comparison: both traces.
        failed: the failed outputs, as `failing` gives them.
        values: node of the candidate -> its value instead.
    """
    return mended(comparison, failed, values) is not None


def mended(
    comparison: Comparison,
    failed: list[tuple[int, int]],
    values: Mapping[int, Value],
    functions: Mapping[int, Function] = MappingProxyType({}),
) -> dict[int, Value] | None:
    """The failed outputs with these values and functions in place; None if one of them still fails.

    Args:
        comparison: both traces.
        failed: the failed outputs, as `failing` gives them.
        values: node of the candidate -> its value instead.
        functions: index of an evaluation -> what to compute it by instead.
    """
    changed = comparison.replay(values, functions)
    for t, out in failed:
        array = np.asarray(changed[out]) if out in changed else comparison.array(out)
        if t not in comparison.matches(out, array):
            return None
    return {out: changed[out] for _, out in failed if out in changed}


def spoils(comparison: Comparison, failed: list[tuple[int, int]], values: Placed) -> bool:
    """Whether a failed output of numbers on both sides is none any more with these values in place.

    What is put in has another meaning then, such as a logarithm where a probability is read.

    Args:
        comparison: both traces.
        failed: the failed outputs, as `failing` gives them.
        values: node of the candidate -> its value instead.
    """
    changed = comparison.replay(values)
    for t, out in failed:
        numbers = comparison.reference.nodes[t].array, comparison.array(out)
        if out in changed and all(map(_finite, numbers)) and not _finite(np.asarray(changed[out])):
            return True
    return False


def _finite(array: Shaped[np.ndarray, "..."]) -> bool:
    return bool(np.isfinite(array).all())


def matters(comparison: Comparison, failed: list[tuple[int, int]], values: Placed) -> bool:
    """Whether a failed output changes with these values in place; what a mask hides changes none.

    Args:
        comparison: both traces.
        failed: the failed outputs, as `failing` gives them.
        values: node of the candidate -> its value instead.
    """
    changed = comparison.replay(values)
    for _, out in failed:
        if out in changed:
            with np.errstate(invalid="ignore", over="ignore"):
                gap = np.abs(real_parts(np.asarray(changed[out])) - real_parts(comparison.array(out)) * 1.0)
            if not np.max(gap, initial=0.0) <= comparison.summaries[out].usual:  # NaN counts
                return True
    return False
