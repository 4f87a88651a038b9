"""A training run of one side on disk, beside its recording.

    training.json                  what the other side, or the comparison, must know; written before the index
    training-batches.safetensors   "step/batch/name": the reference's batches, or those of the candidate's own
                                   data pipeline, if it gave some
    training-values.safetensors    "way/dtype/part/group/name": a row for each step, with and without noise

The ways: "trained" and "levelled" (with levelled gradients), dtype "equal" for the steps from equal
weights; "statistics"; "level", "start" and "layout" are named arrays.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from parity.numerics.arrays import Arrays
from parity.numerics.noise import Side, SideByDtype, Values
from parity.pipeline.step_rows import Entries, numbered, steps_of
from parity.pipeline.training_batches import Batches
from parity.pipeline.training_measured import Divergence, Trained
from parity.pipeline.written_statistics import Written
from parity.report.json import write_json
from parity.weights import load_weights, save_weights

FORMAT = 1
"""Version of these files: those of another one are not read."""

FACTS = "training.json"

PARTS = ("base", "moves", "other")
"""The fields of `Side`."""

EQUAL = "equal"
"""In the place of a dtype: the steps from equal weights."""


class TrainingRecord(NamedTuple):
    """One side of a training comparison.

    Attributes:
        facts: what the other side, or the comparison, must know besides, as JSON.
        trained: how it trained.
        statistics: what it writes to its weights.
        levelled: how it trained with these gradients made level; None where there are none.
        level: entries of the reference whose gradient is zero but for rounding, by tensor.
        batches: that both sides are trained on (of the reference); those of the candidate's own data
            pipeline, or None.
        start: the reference's weights before the first step, by tensor.
        divergence: where its training diverges, if it does.
    """

    facts: Mapping[str, Any]
    trained: Trained
    statistics: Written
    levelled: Trained | None = None
    level: Entries = MappingProxyType({})
    batches: Batches | None = None
    start: Arrays = MappingProxyType({})
    divergence: Divergence | None = None

    @property
    def steps(self) -> int:
        """How many steps it trained."""
        return len(self.trained.equal.base["loss"]["loss"])


def is_training(directory: Path) -> bool:
    """Whether a recording is of training.

    Args:
        directory: of the recording.
    """
    return (directory / FACTS).is_file()


def write_training(record: TrainingRecord, place: Path) -> None:
    """Write a training run beside the recording of its side, before the index of that.

    Args:
        record: what to write.
        place: the directory, cleared.
    """
    arrays = dict(_flat(record))
    save_weights(arrays, place / "training-values.safetensors")
    if record.batches is not None:
        save_weights(numbered(record.batches.steps), place / "training-batches.safetensors")
    written = record.statistics
    write_json(
        {
            "format": FORMAT,
            "values": list(arrays),  # their order, which safetensors forgets
            "facts": record.facts,
            "inputs": None if record.batches is None else record.batches.inputs,
            "batches": None if record.batches is None else list(numbered(record.batches.steps)),
            "divergence": None if record.divergence is None else record.divergence._asdict(),
            "statistics": {
                "framework": written.framework,
                "keeps_state": written.keeps_state,
                "updated": written.updated,
                "momenta": written.momenta,
                "libraries": sorted(written.libraries()),
            },
        },
        place / FACTS,
    )


def read_training(place: Path) -> TrainingRecord:
    """Read a training run.

    Args:
        place: the directory of a recording that is one of training.

    Raises:
        ValueError: if there is none, or one that this version cannot read.
    """
    if not is_training(place):
        raise ValueError(
            f"{place} is no recording of training; make it with the arguments of `parity.check_training` "
            "(`parity record --training`)"
        )
    try:
        index = json.loads((place / FACTS).read_text())
        version = index["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{place / FACTS} is not the index of a training run: {error}") from error
    if version != FORMAT:
        raise ValueError(f"{place} was recorded by another version of parity; record it again")
    held = load_weights(place / "training-values.safetensors")
    ways: dict[str, dict[str, dict[str, Values]]] = {}
    named: dict[str, dict[str, np.ndarray]] = {}
    for key in index["values"]:
        way, rest = key.split("/", 1)
        if way in ("level", "start"):
            named.setdefault(way, {})[rest] = held[key]
        else:
            dtype, part, group, name = rest.split("/", 3)
            parts = ways.setdefault(way, {}).setdefault(dtype, {p: {} for p in PARTS})
            parts[part].setdefault(group, {})[name] = held[key]
    batches = None
    if index["batches"] is not None:
        stored = load_weights(place / "training-batches.safetensors")
        steps = steps_of({key: stored[key] for key in index["batches"]})
        batches = Batches(
            [[dict(groups[n]) for n in sorted(groups, key=int)] for groups in steps], tuple(index["inputs"])
        )
    told, end = index["statistics"], index["divergence"]
    libraries = frozenset(told["libraries"])
    statistics = Written(
        told["framework"],
        told["keeps_state"],
        tuple(told["updated"]),
        {dtype: Side(**parts) for dtype, parts in ways.get("statistics", {}).items()},
        told["momenta"],
        lambda: libraries,
    )
    return TrainingRecord(
        index["facts"],
        _trained(ways["trained"]),
        statistics,
        _trained(ways["levelled"]) if "levelled" in ways else None,
        {name: mask.astype(bool) for name, mask in named.get("level", {}).items()},
        batches,
        named.get("start", {}),
        None if end is None else Divergence(**end),
    )


def _trained(sides: Mapping[str, Mapping[str, Values]]) -> Trained:
    free = {dtype: Side(**parts) for dtype, parts in sides.items() if dtype != EQUAL}
    return Trained(free, Side(**sides[EQUAL]))


def _flat(record: TrainingRecord) -> Iterator[tuple[str, np.ndarray]]:
    """All arrays but the batches, by the names that they have in the file."""
    yield from _sides("trained", {**record.trained.free, EQUAL: record.trained.equal})
    if record.levelled is not None:
        yield from _sides("levelled", {**record.levelled.free, EQUAL: record.levelled.equal})
    yield from _sides("statistics", record.statistics.values)
    yield from ((f"level/{name}", mask.astype(np.uint8)) for name, mask in record.level.items())
    yield from ((f"start/{name}", np.asarray(array)) for name, array in record.start.items())


def _sides(way: str, sides: SideByDtype) -> Iterator[tuple[str, np.ndarray]]:
    for dtype, side in sides.items():
        for part, values in zip(PARTS, side, strict=True):
            for group, held in values.items():
                for name, array in held.items():
                    yield f"{way}/{dtype}/{part}/{group}/{name}", np.asarray(array)
