"""`record`: run the side that is here and keep it."""

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from parity.numerics.precision import SIDES
from parity.pipeline.record_jax import record_jax
from parity.pipeline.record_torch import record_torch
from parity.pipeline.recordings import Recording, read, require_room, write

Directory = str | os.PathLike[str]


IGNORED = ("oracles", "localise", "reproduce")
"""Arguments of `parity.check` that recordings have no use for."""


def record(
    directory: Directory,
    torch_model: Any = None,
    jax_model: Any = None,
    inputs: Any = None,
    *,
    side: str | None = None,
    weights: Directory | None = None,
    **arguments: Any,
) -> Recording:
    """Run one side of a comparison with and without noise, and keep what the other is compared with.

    Args:
        directory: where to write; made if it is not there. An older recording is replaced.
        torch_model: PyTorch's model, as in `parity.check`.
        jax_model: JAX's model, as in `parity.check`.
        inputs: as in `parity.check` (PyTorch's side; JAX's takes those recorded).
        side: "torch" or "jax"; needed only if both models are given.
        weights: the recording of PyTorch's side (JAX's side).
        **arguments: other arguments of `parity.check`; those that say nothing of this side are ignored.

    Returns:
        The recording.

    Raises:
        ValueError: if an argument is missing or wrong, or the weights do not pair up.
    """
    place = require_room(directory)
    require_known(arguments)
    side = _side(side, torch_model, jax_model)
    if side == "torch":
        recording = record_torch(torch_model, inputs, **taken(record_torch, arguments))
    else:
        if weights is None:
            raise ValueError(
                "JAX's side needs `weights`, the directory of PyTorch's recording, whose weights and inputs "
                "it runs with; record PyTorch's side first"
            )
        if Path(weights).resolve() == place.resolve():
            raise ValueError(f"{place} holds PyTorch's side; give another directory for JAX's")
        recording = record_jax(read(weights), jax_model, **taken(record_jax, arguments))
    write(recording, place)
    return recording


def require_known(arguments: Mapping[str, Any]) -> None:
    """Check that the arguments are those of `parity.check`.

    Raises:
        ValueError: naming what is not.
    """
    known = ["torch_model", "jax_model", "inputs", *IGNORED]
    known += [name for function in (record_torch, record_jax) for name in _named(function)]
    if unknown := [name for name in arguments if name not in known]:
        there = ", ".join(dict.fromkeys(known))
        raise ValueError(f"there is no argument {', '.join(map(repr, unknown))}; there are {there}")


def taken(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a function takes by keyword."""
    names = _named(function)
    return {name: value for name, value in arguments.items() if name in names}


def _named(function: Callable[..., Any]) -> list[str]:
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]


def _side(side: str | None, torch_model: Any, jax_model: Any) -> str:
    given = [name for name, model in (("torch", torch_model), ("jax", jax_model)) if model is not None]
    if side is None and len(given) == 1:
        return given[0]
    if side not in SIDES:
        raise ValueError(f"`side` is {side!r}; it must be 'torch' or 'jax'")
    if side not in given:
        raise ValueError(f"`{side}_model` is missing: it is what `side` {side!r} records")
    return side
