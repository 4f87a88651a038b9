"""From two programs that differ to places and causes: both traced, compared, walked back, explained."""

import dataclasses
import os
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Shaped

from parity.diagnose import diagnose
from parity.frameworks.jax.jax_program import JaxProgram
from parity.frameworks.jax.jax_trace import JaxTrace
from parity.frameworks.torch.torch_program import TorchProgram
from parity.localise.walk import Comparison, Region, candidate_places, failing, find_regions, reference_places
from parity.numerics.arrays import Arrays
from parity.numerics.noise import Stage, noise_run, noisy, ordinary
from parity.pipeline.pairs import Pair, planned
from parity.report import kinds
from parity.report.results import Cause, Divergence, Growth, Place, once_each
from parity.trace.graph import Kind, Trace
from parity.weights.explaining import Explanation

Traced = TypeVar("Traced", bound=Trace)


MOST_SHOWN = 6
"""Different faults listed; each is mended before the next is looked for."""


class Found(NamedTuple):
    """What the traces tell."""

    divergences: tuple[Divergence, ...] = ()
    growth: tuple[Growth, ...] = ()
    findings: tuple[str, ...] = ()


def search(
    torch: TorchProgram,
    jax: JaxProgram,
    torch_weights: Arrays,
    jax_weights: Arrays,
    inputs: Arrays,
    pair: Pair,
    *,
    failed: Collection[str],
    reproduce: str | os.PathLike[str] | None,
    stage: Stage,
) -> Found:
    """Trace both sides in float64 and find the places where they part and what causes it.

    Args:
        torch: PyTorch's program.
        jax: JAX's.
        torch_weights: tensors by name.
        jax_weights: leaves by path.
        inputs: the inputs with which they differ.
        pair: the two models.
        failed: the groups of values that differ in float64. Where outputs do, gradients differ because of
            that, and only the forward passes are traced.
        reproduce: directory for reproducers.
        stage: told what is being done.
    """
    if not failed:
        return Found()
    divergences = [_of_weight(pair, path, why) for path, why in pair.wrong_leaves().items()]
    if divergences:  # mended, to see what else there is
        jax_weights = {**jax_weights, **planned(pair.plan, torch_weights)}
    passes = [False, True] if "outputs" in failed else [True]
    found = Found()
    for backward in passes:
        stage("tracing both sides")
        ours, reference_moves = _traced(torch.trace, torch_weights, inputs, backward)
        theirs, candidate_moves = _traced(jax.trace, jax_weights, inputs, backward)
        _under_torch_names(theirs, pair)
        stage("comparing the traces")
        found = _walked(
            Comparison(ours, theirs, reference_moves, candidate_moves), divergences, reproduce, stage
        )
        if any(divergence.stage != "weights" for divergence in found.divergences):
            break
    return found


def _walked(
    comparison: Comparison,
    known: Sequence[Divergence],
    reproduce: str | os.PathLike[str] | None,
    stage: Stage,
) -> Found:
    """What walking back from the outputs finds, and from the gradients if the outputs agree."""
    divergences = list(known)
    growth = tuple(growth_of(comparison))
    findings: list[str] = []
    for group, kind in (("outputs", "forward"), ("gradients", "gradients")):
        if any(d.stage == "forward" for d in divergences):
            break  # gradients differ because the forward pass does
        region = None
        for region in find_regions(comparison, group):
            same = _in_another_step(divergences, candidate_places(comparison, region))
            if same is not None:
                divergences[same] = _again(divergences[same], comparison.candidate.nodes[region.j].spot.step)
                continue
            if len(once_each(divergences)) >= MOST_SHOWN:
                findings.append(f"{MOST_SHOWN} different faults are listed; there are more")
                break
            stage(f"place {len(divergences) + 1}: looking for the cause")
            divergences.append(_divergence(comparison, region, kind, diagnose(comparison, region)))
            if reproduce is not None:
                from parity.localise.reproducer import write_reproducer

                where = write_reproducer(comparison, region, reproduce, len(divergences))
                findings.append(f"reproducer of divergence {len(divergences)}: {where}")
        else:
            names = {j: name for name, j in comparison.candidate.outputs.get(group, {}).items()}
            left = [names[j] for _, j in failing(comparison, group)]
            if left and region is not None and region.settled:
                findings.append(
                    f"{', '.join(left)}: still different with what is listed mended; look again then"
                )
    return Found(tuple(divergences), growth, tuple(findings))


def _in_another_step(divergences: Sequence[Divergence], found: Sequence[Place]) -> int | None:
    """The divergence that already names these lines, in another step of a loop."""
    lines = [(place.file, place.line) for place in found]
    for index, divergence in enumerate(divergences):
        named = [(place.file, place.line) for place in divergence.candidate]
        other_steps = {p.step for p in divergence.candidate} != {p.step for p in found}
        if other_steps and lines and lines[0] in named:
            return index
    return None


def _again(divergence: Divergence, step: str) -> Divergence:
    """The same fault, met once more."""
    again = f"also in {step}" if not divergence.detail else f"{divergence.detail}; {step}"
    return dataclasses.replace(divergence, detail=again)


def _of_weight(pair: Pair, path: str, why: Explanation) -> Divergence:
    """A leaf that the user converted wrongly."""
    names = dict.fromkeys(t.tensor_name for t in pair.plan.transfers if t.leaf_path == path)
    cause = Cause(kinds.CauseKind(why.cause), why.text, 0.0) if why.cause else None
    reference_places = tuple(Place("weight", name) for name in names)
    return Divergence(
        kinds.Stage.WEIGHTS,
        reference_places,
        (Place("weight", path),),
        detail="" if cause else why.text,
        cause=cause,
    )


def _traced(
    trace_of: Callable[[Arrays, Arrays, bool], Traced], weights: Arrays, inputs: Arrays, backward: bool
) -> tuple[Traced, list[float]]:
    """The trace, and per node how far one noise run moves it."""
    trace = trace_of(weights, inputs, backward)
    with noise_run(0):
        there = noisy(weights, 0, "float64", inputs=False), noisy(inputs, 0, "float64", inputs=True)
        moved = trace_of(*there, backward)
    same = len(moved.nodes) == len(trace.nodes)
    moves = []
    for index, node in enumerate(trace.nodes):
        other = moved.nodes[index] if same else None
        moves.append(_move(node.array, other.array) if other is not None and node.floating else 0.0)
    return trace, moves


@np.errstate(invalid="ignore", over="ignore")
def _move(base: Shaped[np.ndarray, "..."], moved: Shaped[np.ndarray, "..."]) -> float:
    if base.shape != moved.shape:
        return 0.0
    gap = np.asarray(np.abs(moved - base))
    usual = ordinary(base) & np.isfinite(gap)
    return 2.0 * float(np.max(gap, where=usual, initial=0.0))  # one run shows about half of the largest move


def _under_torch_names(trace: JaxTrace, pair: Pair) -> None:
    """JAX's gradients under the names of PyTorch's tensors, where one leaf is one tensor."""
    by_path: dict[str, list[str]] = {}
    for transfer in pair.plan.transfers:
        by_path.setdefault(transfer.leaf_path, []).append(transfer.tensor_name)
    gradients = trace.outputs.get("gradients", {})
    trace.outputs["gradients"] = {
        by_path[path][0]: index for path, index in gradients.items() if len(by_path.get(path, ())) == 1
    }


def _divergence(comparison: Comparison, region: Region, stage: str, cause: Cause | None) -> Divergence:
    tensor_shape = tuple(int(n) for n in comparison.reference.nodes[region.t].value.shape)
    leaf_shape = tuple(int(n) for n in comparison.candidate.nodes[region.j].value.shape)
    found = reference_places(comparison.reference, region), candidate_places(comparison, region)
    return Divergence(
        kinds.Stage(stage),
        found[0],
        found[1],
        kinds.Kind.ORDER if region.order else kinds.Kind.VALUE,
        "the same numbers, arranged differently" if region.order else "",
        region.error,
        region.honest,
        (tensor_shape, leaf_shape),
        cause,
    )


def growth_of(comparison: Comparison) -> Sequence[Growth]:
    """The difference at every operation that both sides have, in the order of computation."""
    rows = []
    for index, node in enumerate(comparison.candidate.nodes):
        partners = comparison.partners[index]
        if node.kind is not Kind.OPERATION or node.fixed or not node.floating or not partners:
            continue
        held, other = comparison.summaries[index], comparison.matcher.summaries[partners[0]]
        scale = float(np.abs(other.ordered).max(initial=0.0))
        if held.size < 2 or not 0 < scale < 1e29:
            continue
        rows.append(
            Growth(
                kinds.Stage.GRADIENTS if node.backward else kinds.Stage.FORWARD,
                comparison.reference.nodes[partners[0]].place,
                node.place,
                float(np.abs(held.ordered - other.ordered).max(initial=0.0)) / scale,
                max(held.largest, other.largest) / scale,
                True,
            )
        )
    return rows
