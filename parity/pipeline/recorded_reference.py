"""A recorded reference as the candidate's side sees it, and what else a comparison reads of recordings."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NoReturn

from parity.numerics.arrays import Arrays
from parity.numerics.draws import Distribution, Draw
from parity.numerics.finite_differences import Slope
from parity.pipeline.recordings import Recording
from parity.pipeline.reference import Reference
from parity.pipeline.request import Settings
from parity.report.results import Environment
from parity.trace.graph import Spot
from parity.weights import Plan


def recorded_settings(reference: Recording) -> Settings:
    """The settings that a reference was recorded with."""
    return Settings(**reference.settings["settings"])


def recorded_slope(reference: Recording) -> Slope | None:
    """The recorded finite difference of the reference's loss, if there is one."""
    known = reference.settings["slope"]
    if known is None:
        return None
    names, refused = tuple(known["names"]), tuple(known["refused"])
    return Slope(names, float(known["value"]), float(known["bound"]), refused)


def reference_of(recording: Recording) -> Reference:
    """A recorded reference as the candidate's side sees it.

    Raises:
        ValueError: if the recording is a candidate's.
    """
    from parity.frameworks.task import Task

    if recording.role != "reference":
        raise ValueError("`against` is a recording of a candidate; give that of the reference")
    known = recording.settings
    task = Task(tuple(known["inputs"]), _recorded_loss if known["own_loss"] else None)
    return Reference(
        recording.framework,
        task,
        recording.inputs,
        recording.weights,
        recording.signatures,
        tuple(known["trainable"]),
        tuple(known["tables"]),
        _outputs_in_float64(recording),
        tuple(known["numbers"]),
        {dtype: Spot(**spot) for dtype, spot in known["narrow"].items()},
        frozenset(known["computed"]),
        tuple(recording.findings),
        output_dtypes=known["output_dtypes"],
        slope=recorded_slope(recording),
        draws=tuple(_draw(draw) for draw in known.get("draws", ())),
    )


def _draw(known: Mapping[str, Any]) -> Draw:
    """A random draw, as a recording tells it."""
    distribution = Distribution(known["distribution"])
    shape, parameters = tuple(known["shape"]), tuple(known["parameters"])
    return Draw(distribution, shape, parameters, known["place"], known["same_as"], known["name"])


def movable(plan: Plan, reference: Reference) -> bool:
    """Whether a candidate can be moved with a recorded reference: it holds all that was moved there.

    Args:
        plan: from the reference's weights to the candidate's.
        reference: whose weights, but for its tables, were moved.
    """
    return set(reference.weights) <= {*plan.of_reference(), *reference.tables}


def _recorded_loss(outputs: object, targets: object) -> NoReturn:
    raise ValueError("the reference is not here: only its recording is")


def _outputs_in_float64(recording: Recording) -> Arrays:
    """What the reference gave in float64, in the first run."""
    dtype, side = next(iter(recording.runs[""].items()))
    return (side.base if dtype == "float64" else side.other)["outputs"]


def joined_environment(reference: Recording, candidate: Recording) -> Environment:
    """One environment of two: what differs is given for each side.

    Args:
        reference: one recording.
        candidate: the other.
    """
    one, other = reference.environment, candidate.environment

    def both(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
        joined = {}
        for name in dict.fromkeys([*first, *second]):
            values = [side[name] for side in (first, second) if name in side]
            same = len(set(values)) == 1
            joined[name] = values[0] if same else f"{values[0]} (reference) and {values[1]} (candidate)"
        return joined

    return dataclasses.replace(
        one,
        versions=both(one.versions, other.versions),
        devices=both(one.devices, other.devices),
        settings=both(one.settings, other.settings),
    )
