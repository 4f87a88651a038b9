"""Arguments given flat, by pair files and markers: sorted into `Weights` and `Settings`."""

import dataclasses
import difflib
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

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


class Call(NamedTuple):
    """A function whose arguments may be given flat.

    Attributes:
        name: what messages call it.
        in_order: those that may be given in order, all of them needed.
        own: the others that are no fields of `Weights` or `Settings`.
    """

    name: str
    in_order: tuple[str, ...]
    own: tuple[str, ...]

    def known(self) -> list[str]:
        """The names that `sorted_arguments` takes, in the order in which messages list them."""
        fields = [field.name for group in _GROUPS.values() for field in dataclasses.fields(group)]
        return [*self.in_order, *self.own, *fields, *_GROUPS, "progress"]


CHECK = Call(
    "parity.check",
    ("reference", "candidate", "inputs"),
    (*(n for n in list(inspect.signature(Request.of).parameters)[3:] if n not in _GROUPS), "oracles"),
)
"""`parity.check`."""

CHECK_TRAINING = Call(
    "parity.check_training",
    ("reference", "candidate", "batches"),
    (
        "loss",
        "optimizer",
        "scheduler",
        "updates_per_step",
        "clip",
        "accumulate",
        "average",
        "autocast",
        "candidate_batches",
        "state",
        "steps",
        "outputs",
        "layout",
        "name",
    ),
)
"""`parity.check_training` of two models."""

CALLS = {"check": CHECK, "check_training": CHECK_TRAINING}
"""The calls by the names of the functions in `parity`."""


def sorted_arguments(given: Mapping[str, Any], call: Call = CHECK) -> dict[str, Any]:
    """Arguments of a call by name, with the fields of `Weights` and `Settings` gathered into these.

    Args:
        given: arguments by name; a field may stand beside `weights` or `settings`, which it overrides.
        call: whose arguments they are.

    Raises:
        ValueError: naming what is no argument, and what was probably meant.

    >>> sorted_arguments({"reference": 1, "dtypes": ["float64"]})["settings"].dtypes
    ['float64']
    """
    require_known(given, call)
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


def require_known(given: Mapping[str, Any], call: Call = CHECK) -> None:
    """Check that the names are those of arguments.

    Args:
        given: arguments by name.
        call: whose arguments they should be.

    Raises:
        ValueError: naming what is not, with what was probably meant.
    """
    known = call.known()
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
