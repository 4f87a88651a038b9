"""Where two programs part: one walk back from the outputs that failed, tried by putting values in place.

Both traces are walked backwards from a failed output through values that the other side does not have. Where
the walk stops, all that goes in agrees. The value there is then replaced by the reference's and the rest of
the candidate computed again: when what follows falls into place, this was a fault, and the walk goes on to
the next one.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Shaped

from parity.localise.comparison import Comparison, Region, failing, unmatched
from parity.localise.frontier import Walked, computed_again, pairs_to_try
from parity.localise.placing import Placed, in_place, matters, mends, score, spoils
from parity.numerics.complex_parts import real_parts
from parity.numerics.noise import ordinary
from parity.trace.executions import executions, repeated
from parity.trace.graph import Trace
from parity.trace.match import same_numbers

MOST = 40
"""Faults looked for in one run; each is replaced before the next is looked for."""

SECONDS = 40.0
"""CPU time for one search, in seconds; what is known by then is reported. Not wall time, because how busy a
machine is must not decide."""

TELLING = 2.0
"""Values behind one that fall into place with it, from which on they tell that it is wrong itself, though not
alone: the reference's value in its place would not bring them about by chance."""


def find_regions(
    comparison: Comparison, group: str, problems: list[Exception] | None = None
) -> Iterator[Region]:
    """The faults behind the failed leaves of a group, one after the other; each is mended in `comparison`.

    An error on the way, which is a bug of this package, does not cost the place: what feeds the failed leaf
    and does not agree is the fault then, and the last one.

    Args:
        comparison: both traces.
        group: "outputs" or "gradients".
        problems: takes the errors; without it they are raised.

    Yields:
        The faults in the order in which they were found, the nearest to the inputs first. A fault that was
        mended in `comparison` meanwhile is left as it is.
    """
    deadline = time.process_time() + SECONDS
    for number in range(MOST):
        failed = failing(comparison, group)
        if not failed or (number and time.process_time() > deadline):
            return
        try:
            region = _search(comparison, failed, deadline)
        except Exception as error:
            if problems is None:
                raise
            problems.append(error)
            yield _at_output(comparison, failed, *_walks(comparison, failed))._replace(settled=False)
            return
        held = len(comparison.replaced)
        if not region.settled or matters(comparison, failed, region.placed):
            yield region
        if len(comparison.replaced) > held:  # who takes the faults has mended this one in another way
            continue
        if not region.settled:
            return
        before = len(failed)
        comparison.put(region.placed)
        if region.j in {j for _, j in failed} and len(failing(comparison, group)) >= before:
            return


def _search(comparison: Comparison, failed: list[tuple[int, int]], deadline: float) -> Region:
    """The pair of nodes after which most falls into place; else the first failed output itself."""
    there, here = _walks(comparison, failed)
    found = _among(comparison, failed, there, here, deadline)
    if found is None and any(comparison.candidate_agrees(j) for _, j in failed):
        further = _walks(comparison, failed, from_outputs=True)
        if len(further[1].nodes) > len(here.nodes) + len(failed):
            found = _among(comparison, failed, *further, deadline)
            found = found if found is not None and found.t in there.frontier else None
    return found or _at_output(comparison, failed, there, here)


def _among(
    comparison: Comparison, failed: list[tuple[int, int]], there: Walked, here: Walked, deadline: float
) -> Region | None:
    """The pair of nodes after which most falls into place, among those of two walks."""
    best: tuple[float, Region] | None = None
    for ts, js in pairs_to_try(comparison, there, here):
        if time.process_time() > deadline:
            break
        for values in in_place(comparison, ts, js):
            points = score(comparison, failed, values)
            if points <= 0.0 or (best is not None and points < best[0]):
                continue
            if mends(comparison, failed, values):
                several = best is not None and best[0] >= TELLING
                if best is not None and several and _is_one_of_several(comparison, best[1].j, js[0]):
                    return best[1]
                first = _first_of_alike(comparison, failed, there, here, js[0])
                return first or _region(comparison, ts, js, values, there, here)
            if best is not None and points <= best[0]:
                continue
            if not spoils(comparison, failed, values):
                best = points, _region(comparison, ts, js, values, there, here)
    return best[1] if best is not None else None


def first_difference(comparison: Comparison, group: str) -> Region | None:
    """Where all that goes in agrees and what comes out does not, of traces without evaluations.

    Nothing can be put in its place there, so what is known is the frontier of the walk. An operation of it
    is left out whose values come to agree again further on: it is computed in another way, and is no fault.

    Args:
        comparison: both traces.
        group: "outputs" or "loss".

    Returns:
        The fault, with the error of the first failed leaf; None if none failed.
    """
    failed = failing(comparison, group)
    if not failed:
        return None
    there, here = _walks(comparison, failed)
    region = _at_output(comparison, failed, there, here)
    return region._replace(
        reference_nodes=_unexplained(comparison.reference, there, comparison.reference_tells),
        candidate_nodes=_unexplained(comparison.candidate, here, comparison.candidate_tells),
        settled=False,
        order=False,
    )


def _unexplained(trace: Trace, walked: Walked, tells: Callable[[int], bool]) -> tuple[int, ...]:
    """The frontier, without what leads to a value that agrees; all of it, if nothing else is left."""
    inside = set(walked.nodes)
    reached: dict[int, bool] = {}
    readers = trace.consumers()
    for index in reversed(walked.nodes):
        reached[index] = any(reached[i] if i in inside else tells(i) for i in readers[index])
    left = tuple(i for i in walked.frontier if not reached[i])
    return left or tuple(walked.frontier)


def wider(comparison: Comparison, group: str, region: Region) -> Region | None:
    """A fault further on that mends every failed output by itself, where this one does not.

    Looked for where all that does not agree goes through one value on both sides, as an output is.

    Args:
        comparison: both traces, with this fault not yet mended.
        group: "outputs" or "gradients".
        region: the fault.
    """
    failed = failing(comparison, group)
    if mends(comparison, failed, region.placed):
        return None
    there, here = _walks(comparison, failed)
    pairs = [(t, j) for j in here.meetings() for t in there.meetings() if j > region.j]
    for t, j in [*pairs, *(failed if len(failed) == 1 else ())]:
        for values in in_place(comparison, (t,), (j,)):
            if mends(comparison, failed, values):
                return _region(comparison, (t,), (j,), values, there, here)
    return None


def _is_one_of_several(comparison: Comparison, earlier: int, later: int) -> bool:
    """Whether the code of an earlier value differs wherever it runs, and all of it leads to a later one."""
    trace, before = comparison.candidate, comparison.candidate.ancestors([later])
    step = trace.nodes[earlier].step
    if earlier not in before or step < 0:
        return False
    others = [o for n in executions(trace, step) if n != step for o in trace.evaluations[n].outputs]
    return any(o in before and not comparison.candidate_agrees(o) for o in others)


def _first_of_alike(
    comparison: Comparison, failed: list[tuple[int, int]], there: Walked, here: Walked, later: int
) -> Region | None:
    """The first of several runs of one code, wrong each by itself, that go into a later value together.

    All that they read agrees, as of what every layer adds to one loss; the reference's values in the places
    of all of them mend what no single one does.
    """
    if later in here.frontier:
        return None
    before = comparison.candidate.ancestors([later]) & set(here.near())
    unmatched_there, ranks = set(there.nodes), {t: rank for rank, t in enumerate(there.near())}
    alike = [[t for t in runs if t in unmatched_there] for runs in repeated(comparison.reference)]
    alike = sorted((ts for ts in alike if ts and ts[0] in ranks), key=lambda ts: ranks[ts[0]])
    for runs in repeated(comparison.candidate):
        js = [j for j in runs if j in before]
        if len(js) < 2 or js[0] in comparison.candidate.ancestors(js[1:]):
            continue
        for ts in alike:
            if len(ts) != len(js):
                continue
            values: dict[int, Shaped[np.ndarray, ...]] = {}
            for t, j in zip(ts, js, strict=True):
                values |= next(in_place(comparison, (t,), (j,)), {})
            if len(values) == len(js) and mends(comparison, failed, values):
                return _region(comparison, ts[:1], js[:1], {js[0]: values[js[0]]}, there, here)
    return None


def _walks(
    comparison: Comparison, failed: list[tuple[int, int]], *, from_outputs: bool = False
) -> tuple[Walked, Walked]:
    """What does not agree on the way to the failed outputs, in the reference and in the candidate.

    Args:
        comparison: both traces.
        failed: the outputs.
        from_outputs: whether the candidate's are walked back from though they agree with another value, as
            a denoised image with an input where two errors cancel.
    """
    ends = {j for _, j in failed}

    def agrees(index: int) -> bool:
        return comparison.candidate_agrees(index) and not (from_outputs and index in ends)

    there = unmatched(comparison.reference, [t for t, _ in failed], comparison.reference_agrees)
    here = unmatched(comparison.candidate, sorted(ends), agrees)
    return (
        Walked(comparison.reference, comparison.reference_runs, *there),
        Walked(comparison.candidate, comparison.candidate_runs, *here, computed_again(comparison, here[1])),
    )


def _at_output(comparison: Comparison, failed: list[tuple[int, int]], there: Walked, here: Walked) -> Region:
    """The first failed output itself."""
    t, j = failed[0]
    found = list(in_place(comparison, (t,), (j,)))[:1]
    values = found[0] if found else {j: comparison.array(j)}
    return _region(comparison, (t,), (j,), values, there, here)._replace(
        settled=bool(found) and len(failed) > 1,
        reference_nodes=tuple(there.frontier or [t]),
        candidate_nodes=tuple(here.frontier or [j]),
    )


def _differs(comparison: Comparison, j: int, value: Shaped[np.ndarray, "..."]) -> bool:
    """Whether another value in place of one is more than rounding away."""
    held, parts = real_parts(comparison.array(j)), real_parts(value)
    return not np.allclose(held, parts, rtol=0.0, atol=comparison.summaries[j].usual, equal_nan=True)


def _region(
    comparison: Comparison, ts: Sequence[int], js: Sequence[int], values: Placed, there: Walked, here: Walked
) -> Region:
    """The fault between nodes, settled, with the difference of their values; of runs, the first wrong."""
    t, j = ts[0], next((j for j in sorted(js) if _differs(comparison, j, values[j])), js[0])
    summary, value = comparison.summaries[j], values[j]
    held, parts = (np.asarray(real_parts(array), np.float64) for array in (comparison.array(j), value))
    usual = ordinary(parts)
    scale = float(np.max(np.abs(parts), where=usual, initial=0.0))
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(held - parts)
    difference = float(np.max(np.nan_to_num(gap, nan=np.inf), where=usual, initial=0.0))
    if difference <= summary.usual:  # then it is the huge entries that differ, or the infinite ones
        difference = float(np.max(np.where(np.isnan(gap), np.inf, gap), initial=0.0))
    return Region(
        t,
        j,
        tuple(sorted(there.behind(t))),
        tuple(sorted(here.behind(j))),
        value,
        settled=True,
        order=same_numbers(comparison.matcher.summaries[t], summary) and difference > 0,
        error=0.0 if difference == 0 else difference / scale if scale else math.inf,
        honest=summary.usual / scale if scale else 0.0,
        ts=tuple(ts),
        js=tuple(values),
        beside={i: array for i, array in values.items() if i != j},
        again=j in here.again,
    )
