"""One side of a comparison on disk: safetensors for the numbers, one JSON file for all else.

    index.json             role, framework, names, runs, signatures of the weights, environment; written last
    weights.safetensors    the reference's weights, by its names and in its layouts     (the reference only);
                           recorded with `stream`, weights-*.safetensors, or files of the user's that the
                           index names
    inputs.safetensors     "number of the set/name": inputs and targets                 (the reference only)
    values-RUN-DTYPE.safetensors  "group/leaf": what came out of one run, without noise
    moves.safetensors      "RUN/DTYPE/group/leaf": the largest moves of each leaf under one-ulp noise
    trace-*.safetensors, trace-*.json    every value of a run and where it was computed (if asked for, and
                           of both sides with `stream`)
    held-*.safetensors, held-*.json    in what precision a run in a narrow dtype holds its values
                           (`held_files`)
    training*                              how it trains (`recorded_training`)

Nothing is pickled. Floating values are stored in float64, or in float32 where they came from a narrower
precision, which holds them exactly.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import Arrays, in_float32, to_numpy
from parity.numerics.complex_parts import of_parts, real_parts
from parity.numerics.noise import REPEATS, Side, SideByDtype, Values
from parity.pipeline.held_files import write_held
from parity.pipeline.held_values import Key
from parity.pipeline.recorded_weights import read_unread, write_unread
from parity.report.json import write_json
from parity.report.results import Environment, Quantity, Verdict
from parity.trace.sketches import Sketched
from parity.weights import Signature, Use, load_weights, save_weights

FORMAT = 6
"""Version of the layout above and of the noise: recordings of another one cannot be compared."""

INDEX = "index.json"

_FILES = re.compile(
    r"(index|training)\.json|(values-.*|moves|weights|weights-.*|inputs|(trace|held|training)-.*)\.safetensors"
    r"|(trace|held)-.*\.json"
)


class Recording(NamedTuple):
    """One side of a comparison.

    Attributes:
        role: "reference" or "candidate".
        framework: "PyTorch" or "JAX".
        name: of the report.
        runs: title -> values by dtype, as the yardstick takes them; "" is the first run.
        environment: what ran where.
        settings: what the other side, or the comparison, must know besides, as JSON.
        inputs: inputs and targets of each set (of the reference).
        weights: by name (of the reference).
        signatures: the weights as the plan sees them (of the reference).
        quantities: what was judged while recording: the transfer of weights.
        plan: rows of the weight plan (of the candidate).
        key: of the reference a hash of weights and inputs; of the candidate that of the one it ran with.
        not_checked: what was left out, in words.
        findings: what was chosen or noticed, in words.
        seconds: that recording took.
        weights_files: the files that unread weights are read from, where they are the user's.
        place: the directory that it was read from.
        held: in what precision this side holds its values, or why that is not known; not read with the rest.
    """

    role: str
    framework: str
    name: str
    runs: Mapping[str, SideByDtype]
    environment: Environment
    settings: Mapping[str, Any]
    inputs: tuple[Arrays, ...] = ()
    weights: Arrays = MappingProxyType({})
    signatures: Mapping[str, Signature] = MappingProxyType({})
    quantities: tuple[Quantity, ...] = ()
    plan: tuple[tuple[str, str, str], ...] = ()
    key: str = ""
    not_checked: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    seconds: float = 0.0
    weights_files: tuple[str, ...] = ()
    place: Path = Path()
    held: Mapping[Key, Sketched | str] = MappingProxyType({})

    @property
    def streamed(self) -> bool:
        """Whether it was recorded with `stream`."""
        return bool(self.settings.get("stream"))


def fingerprint(arrays: Iterable[Arrays]) -> str:
    """A hash of names, shapes and numbers."""
    digest = hashlib.sha256()
    for name, array in (item for some in arrays for item in some.items()):
        digest.update(f"{name} {array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def require_room(directory: str | os.PathLike[str]) -> Path:
    """Check that a recording can be written to `directory`: it is new, empty, or a recording.

    Raises:
        ValueError: if it holds something else, may not be written to, or lies in a directory that does not
            exist.
    """
    place = Path(directory)
    if not place.absolute().parent.is_dir():
        raise ValueError(f"cannot record to {place}: there is no directory {place.parent}; make it first")
    if place.exists() and not place.is_dir():
        raise ValueError(f"cannot record to {place}: it is a file; give the name of a directory")
    if not os.access(place if place.exists() else place.absolute().parent, os.W_OK):
        raise ValueError(f"cannot record to {place}: it may not be written to; give another directory")
    if place.is_dir() and not all(_FILES.fullmatch(path.name) for path in place.iterdir()):
        raise ValueError(f"cannot record to {place}: it holds files that are not of a recording")
    return place


def clear(directory: str | os.PathLike[str]) -> Path:
    """Make room for a recording: the directory is made if it does not exist, an older recording removed.

    Raises:
        ValueError: as `require_room`.

    Args:
        directory: the place of the recording; the directory above it must exist.
    """
    place = require_room(directory)
    place.mkdir(exist_ok=True)
    others = [
        path
        for name in ("*.safetensors", "training.json", "trace-*.json", "held-*.json")
        for path in place.glob(name)
    ]
    for old in (place / INDEX, *others):
        old.unlink(missing_ok=True)  # the index first: what is half written is not a recording
    return place


def write(recording: Recording, place: Path) -> None:
    """Write a recording to a directory that has been cleared; its traces may be there already.

    Args:
        recording: what to write.
        place: the directory.
    """
    moves: dict[str, Shaped[np.ndarray, ...]] = {}
    order: dict[str, list[str]] = {}
    for number, sides in enumerate(recording.runs.values()):
        bases = {dtype: side.base for dtype, side in sides.items()}
        bases |= {_other(dtype): side.other for dtype, side in sides.items()}
        for dtype, base in bases.items():
            flat = _flat(base)
            order[f"{number}-{dtype}"] = list(flat)  # which safetensors forgets
            narrow = flat if dtype == "float64" else _narrowed(flat)
            save_weights(_in_parts(narrow), place / f"values-{number}-{dtype}.safetensors")
        for dtype, side in sides.items():
            moves |= {f"{number}/{dtype}/{key}": a for key, a in _flat(side.moves).items()}
    files: dict[str, Arrays] = {"moves": moves}
    if recording.role == "reference":
        inputs = {f"{n}/{name}": a for n, some in enumerate(recording.inputs) for name, a in some.items()}
        files["inputs"] = _narrowed(inputs)
        if not recording.streamed:
            files["weights"] = _narrowed(recording.weights)
        elif not recording.weights_files:
            write_unread(recording.weights, place)
    for name, arrays in files.items():
        save_weights(_in_parts(arrays), place / f"{name}.safetensors")
    index = {
        "format": FORMAT,
        "noise_runs": REPEATS,
        "runs": [[title, list(sides)] for title, sides in recording.runs.items()],
        "inputs": [list(some) for some in recording.inputs],
        "values": order,
        "signatures": {name: _plain(signature) for name, signature in recording.signatures.items()},
        "environment": dataclasses.asdict(recording.environment),
        "quantities": [dataclasses.asdict(quantity) for quantity in recording.quantities],
        **{name: getattr(recording, name) for name in _AS_IT_IS},
    }
    write_held(recording.held, place)
    write_json(index, place / INDEX)


_AS_IT_IS = (
    *("role", "framework", "name", "settings", "plan", "key"),
    *("not_checked", "findings", "seconds", "weights_files"),
)


def read(directory: str | os.PathLike[str]) -> Recording:
    """Read a recording.

    Raises:
        ValueError: if there is none, or one that this version cannot read.
    """
    place = Path(directory)
    if not (place / INDEX).is_file():
        what = "is not a recording, or one cut short" if place.exists() else "does not exist"
        raise ValueError(f"{place} {what} (no {INDEX}); make it with `parity record`")
    try:
        index = json.loads((place / INDEX).read_text())
        version = index["format"], index["noise_runs"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{place / INDEX} is not the index of a recording: {error}") from error
    if version != (FORMAT, REPEATS):
        raise ValueError(f"{place} was recorded by another version of parity; record it again")
    moves = _load(place, "moves")
    values = {}
    for run, names in index["values"].items():
        found = _load(place, f"values-{run}")
        values[run] = _groups({name: found[name] for name in names})
    runs: dict[str, SideByDtype] = {
        title: {
            dtype: Side(
                values[f"{n}-{dtype}"], _groups(moves, f"{n}/{dtype}/"), values[f"{n}-{_other(dtype)}"]
            )
            for dtype in dtypes
        }
        for n, (title, dtypes) in enumerate(index["runs"])
    }
    whole = index["role"] == "reference"
    signatures = {name: _signature(row) for name, row in index["signatures"].items()}
    inputs = _load(place, "inputs") if whole else {}
    weights: Arrays = {}
    if whole and index["settings"]["stream"]:
        weights = read_unread(place, index["weights_files"], signatures)
    elif whole:
        stored = _load(place, "weights")
        weights = {name: _as_run(stored[name]) for name in signatures}
    return Recording(
        index["role"],
        index["framework"],
        index["name"],
        runs,
        Environment(**index["environment"]),
        index["settings"],
        tuple({name: inputs[f"{n}/{name}"] for name in some} for n, some in enumerate(index["inputs"])),
        weights,
        signatures,
        tuple(_quantity(row) for row in index["quantities"]),
        tuple((row[0], row[1], row[2]) for row in index["plan"]),
        index["key"],
        tuple(index["not_checked"]),
        tuple(index["findings"]),
        index["seconds"],
        tuple(index["weights_files"]),
        place,
    )


def _other(dtype: str) -> str:
    """The precision that a dtype is judged beside; see `parity.numerics.noise.measure`."""
    return "float32" if dtype == "float64" else "float64"


def _flat(groups: Mapping[str, Arrays]) -> dict[str, Shaped[np.ndarray, "..."]]:
    return {f"{group}/{leaf}": a for group, leaves in groups.items() for leaf, a in leaves.items()}


def _groups(arrays: Arrays, prefix: str = "") -> Values:
    found: Values = {}
    for key, array in arrays.items():
        if key.startswith(prefix):
            group, leaf = key.removeprefix(prefix).split("/", 1)
            found.setdefault(group, {})[leaf] = array
    return found


def _narrowed(arrays: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Floating values that float32 holds exactly, in float32; complex ones likewise."""
    return {name: in_float32(a) for name, a in arrays.items()}


IN_PARTS = " (real, imaginary)"
"""What a name ends in whose complex array was stored in parts: safetensors knows no complex128."""


def _in_parts(arrays: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
    return {name + IN_PARTS * (a.dtype.kind == "c"): real_parts(a) for name, a in arrays.items()}


def _load(place: Path, name: str) -> dict[str, Shaped[np.ndarray, "..."]]:
    loaded = load_weights(place / f"{name}.safetensors")
    return {
        key.removesuffix(IN_PARTS): to_numpy(of_parts(array) if key.endswith(IN_PARTS) else array)
        for key, array in loaded.items()
    }


def _as_run(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """A weight in the dtype that it is held in while models run."""
    return in_float32(array)


def _plain(signature: Signature) -> dict[str, object]:
    use = signature.use
    return {**signature._asdict(), "use": None if use is None else use._asdict()}


def _signature(row: Mapping[str, Any]) -> Signature:
    use = row["use"]
    return Signature(
        tuple(row["shape"]),
        row["layer"],
        None if use is None else Use(**{**use, "contracted": tuple(use["contracted"])}),
        tuple(row["tied"]),
    )


def _quantity(row: Mapping[str, Any]) -> Quantity:
    """A quantity from JSON, which has neither tuples nor NaN."""
    sizes = ("rho", "difference", "scale", "noise_reference", "noise_candidate", "floor", "rounding")
    index = None if row["index"] is None else tuple(row["index"])
    more = {"shape": tuple(row["shape"]), "notes": tuple(row["notes"]), "index": index}
    floats = {name: float(row[name]) for name in sizes}
    return Quantity(**{**row, **floats, **more, "verdict": Verdict(row["verdict"])})
