"""The place where two recorded forward passes differ: both traces read from disk, value by value."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from parity.localise import Comparison, first_difference
from parity.pipeline.found_faults import divergence_at, growth_of
from parity.pipeline.search import Found
from parity.pipeline.trace_files import read_trace
from parity.report.errors import in_one_line
from parity.report.results import Stage


def find_place(places: tuple[Path, Path], title: str, outputs: Mapping[str, str], *, own_loss: bool) -> Found:
    """Walk back from the outputs that differ to the first place where all that goes in agrees.

    Nothing is computed again, so that one place is found, and no cause. That none can be found must not cost
    the verdict: an error on the way is said in the report; with PARITY_DEBUG set it is raised.

    Args:
        places: the directories of the reference's and the candidate's recording.
        title: of the run that failed.
        outputs: name under which an output is compared -> the reference's own.
        own_loss: whether the user gave losses.
    """
    try:
        return _found(places, title, outputs, own_loss)
    except Exception as error:
        if os.environ.get("PARITY_DEBUG"):
            raise
        return Found(unplaced=f"the place was not found: {in_one_line(error)}; set PARITY_DEBUG=1 for more")


def _found(places: tuple[Path, Path], title: str, outputs: Mapping[str, str], own_loss: bool) -> Found:
    names = outputs, None
    traced = [
        read_trace(place, title, False, unread=True, outputs=own)
        for place, own in zip(places, names, strict=True)
    ]
    if traced[0] is None or traced[1] is None:
        return Found(unplaced="the place was not looked for: a recording lacks its trace; record it again")
    (reference, reference_moves), (candidate, candidate_moves) = traced[0], traced[1]
    comparison = Comparison(reference, candidate, reference_moves, candidate_moves)
    groups = {"outputs": Stage.FORWARD, "loss": Stage.LOSS} if own_loss else {"outputs": Stage.FORWARD}
    for group, stage in groups.items():
        region = first_difference(comparison, group)
        if region is not None:
            divergence = divergence_at(comparison, region, stage, None)
            told = dataclasses.replace(divergence, recorded=True)
            return Found((told,), tuple(growth_of(comparison)))
    return Found(unplaced="the place was not found: every recorded value agrees within rounding")
