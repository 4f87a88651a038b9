"""Arguments of `parity.check` given flat, by pair files and markers: sorted into `Weights` and `Settings`."""

import dataclasses
import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from parity.pipeline.request import Request, Settings, Weights

RENAMED = {
    "torch_model": "reference",
    "jax_model": "candidate",
    "torch_params": "reference_params",
    "allow_unused": "unused",
    "allow_missing": "missing",
    "differences": "finite_differences",
    "jitter": "moved_weights",
    "tolerance": "rtol and atol",
    "stage": "progress",
}
"""Arguments of earlier versions, and what they are called now."""

_GROUPS = {"weights": Weights, "settings": Settings}


def known_arguments() -> list[str]:
    """The names that `sorted_arguments` takes, in the order in which messages list them."""
    own = [name for name in inspect.signature(Request.of).parameters if name not in _GROUPS]
    fields = [field.name for group in _GROUPS.values() for field in dataclasses.fields(group)]
    return [*own, *fields, *_GROUPS, "oracles", "progress"]


def sorted_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `parity.check`, with the fields of `Weights` and `Settings` gathered into these.

    Args:
        given: arguments by name; a field may stand beside `weights` or `settings`, which it overrides.

    Raises:
        ValueError: naming what is no argument, and what was probably meant.

    >>> sorted_arguments({"reference": 1, "dtypes": ["float64"]})["settings"].dtypes
    ['float64']
    """
    require_known(given)
    sorted_: dict[str, Any] = {}
    for group, kind in _GROUPS.items():
        names = {field.name for field in dataclasses.fields(kind)}
        fields = {name: value for name, value in given.items() if name in names}
        base = given.get(group)
        if base is not None:
            sorted_[group] = dataclasses.replace(base, **fields) if fields else base
        elif fields:
            sorted_[group] = kind(**fields)
    rest = {n: v for n, v in given.items() if not any(n in _names(kind) for kind in _GROUPS.values())}
    return {**{n: v for n, v in rest.items() if n not in _GROUPS}, **sorted_}


def require_known(given: Mapping[str, Any]) -> None:
    """Check that the names are those of arguments.

    Raises:
        ValueError: naming what is not, with what was probably meant.
    """
    known = known_arguments()
    unknown = [str(name) for name in given if name not in known]
    if not unknown:
        return
    hints = []
    for name in unknown:
        close = difflib.get_close_matches(name, known, 1)
        if name in RENAMED:
            hints.append(f"{name!r} is called {RENAMED[name]} now")
        elif close:
            hints.append(f"did you mean {close[0]!r}?")
    hint = f" ({'; '.join(dict.fromkeys(hints))})" if hints else ""
    raise ValueError(
        f"there is no argument {', '.join(map(repr, unknown))}{hint}; there are {', '.join(known)}"
    )


def _names(kind: type[Weights] | type[Settings]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}
