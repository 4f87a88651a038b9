"""What models return, as named arrays, and which of the one is compared with which of the other."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard

from parity.report.sides import TORCH_AND_JAX, Sides


class Output(Protocol):
    """An array or tensor that a model returned, or its shape."""

    @property
    def shape(self) -> Sequence[int]:
        """Sizes of the axes."""

    @property
    def dtype(self) -> object:
        """Of the framework that it is of."""


Pick = Callable[[Any], Any]
"""A function of what a model returns."""


def name_outputs(out: object) -> dict[str, Any]:
    """What a model returns as named arrays: `output`, or keys, fields and positions joined by `/`.

    None is left out, and so are objects beside arrays that hold none themselves (`unnamed_outputs` lists
    them): a cache, a distribution.

    Raises:
        TypeError: if there is no array in it, or if it has a number or text of Python's in it.

    >>> import numpy as np
    >>> sorted(name_outputs({"logits": np.ones(2), "states": (np.ones(1), None)}))
    ['logits', 'states/0']
    """
    walked = list(_walk(out, ""))
    named = {path: value for path, value in walked if _is_array(value)}
    if not named:
        found = walked[0][1] if walked else out
        raise TypeError(
            f"the model returned a {type(found).__name__} without an array in it; return arrays or tensors"
        )
    return named


def unnamed_outputs(out: object) -> tuple[str, ...]:
    """What `name_outputs` left out because it cannot be compared, with its type."""
    return tuple(f"{path} ({type(value).__name__})" for path, value in _walk(out, "") if not _is_array(value))


def _is_array(value: object) -> TypeGuard[Output]:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _walk(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Arrays and objects by path, without None; Python's numbers and texts are errors."""
    name = path or "output"
    if value is None:
        return
    if _is_array(value):
        yield name, value
        return
    if isinstance(value, bool | int | float | complex | str | bytes):
        raise TypeError(
            f"output {name!r} is of type {type(value).__name__} ({str(value)[:60]!r}); return it as an "
            "array, or leave it out"
        )
    if isinstance(value, Mapping):
        children: Iterable[tuple[object, object]] = value.items()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        children = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        children = zip(value._fields, value, strict=True)
    elif isinstance(value, tuple | list):
        children = enumerate(value)
    else:
        yield name, value
        return
    for key, child in children:
        yield from _walk(child, f"{path}/{key}" if path else str(key))


class Outputs(NamedTuple):
    """Which outputs the user wants compared.

    Attributes:
        picks: functions of the reference's and of the candidate's return value, or None for all of it.
        names: names to keep; or a mapping from the reference's names to the candidate's; None for all.
    """

    picks: tuple[Pick | None, Pick | None] = (None, None)
    names: tuple[str, ...] | Mapping[str, str] | None = None

    @classmethod
    def of(cls, outputs: object) -> "Outputs":
        """Read what the user gave: a name, names, a mapping, or a pair of functions (one may be None).

        Raises:
            TypeError: if it is none of these.

        >>> Outputs.of(("logits", "hidden")).names
        ('logits', 'hidden')
        """
        if outputs is None or isinstance(outputs, Outputs):
            return outputs or cls()
        if isinstance(outputs, tuple) and len(outputs) == 2:
            reference, candidate = outputs
            if all(pick is None or callable(pick) for pick in outputs):
                return cls(picks=(reference, candidate))
        if isinstance(outputs, Mapping):
            return cls(names=dict(outputs))
        if isinstance(outputs, str):
            return cls(names=(outputs,))
        if isinstance(outputs, Sequence) and all(isinstance(name, str) for name in outputs):
            return cls(names=tuple(outputs))
        raise TypeError(
            "`outputs` must be names to keep, a mapping from the reference's names to the candidate's, or a "
            "pair of functions of the two return values"
        )

    def picked(self, out: object, side: int) -> object:
        """What the user's function picks of a return value; `side` 0 is the reference's."""
        pick = self.picks[side]
        return out if pick is None else pick(out)


def pair_outputs(
    reference_out: object, candidate_out: object, outputs: object = None, sides: Sides = TORCH_AND_JAX
) -> tuple[dict[str, Output], dict[str, Output]]:
    """The outputs of two models under common names, the reference's.

    Without `outputs`, these rules hold, the first that applies:

    1. The same keys, fields or positions are compared with each other. If only some are the same, what one
       side alone has stays in its dict, so that it is reported as not compared. Sizes of the outputs play
       no part here: a wrong shape is a finding.
    2. Without a common name: a single array is compared with the first array of the other side; the rest
       of that side is left out.
    3. Two containers of as many arrays, whose sizes agree one by one, are compared in order (a tuple with a
       NamedTuple, dicts with other keys). Otherwise the first array is compared with the first.

    What the result leaves out can be told from `name_outputs` of both sides.

    Args:
        reference_out: what the reference returned (arrays, tensors, or anything with shape and dtype).
        candidate_out: what the candidate returned.
        outputs: as `Outputs.of` takes it, where `hidden` also keeps `hidden/0`.
        sides: what the two sides are called in messages.

    Returns:
        The reference's and the candidate's arrays by name.

    Raises:
        TypeError: if a return value has no array, or `outputs` cannot be read.
        ValueError: if `outputs` names what is not there.

    >>> import numpy as np
    >>> pair_outputs((np.ones(2), np.ones(3)), np.zeros(2))
    ({'0': array([1., 1.])}, {'0': array([0., 0.])})
    """
    wanted = Outputs.of(outputs)
    first, second = (
        name_outputs(wanted.picked(out, side)) for side, out in enumerate((reference_out, candidate_out))
    )
    if wanted.names is None:
        if set(first) & set(second):
            return first, second
        names = _in_order(first, second)
        return {n: first[n] for n in names}, {n: second[m] for n, m in names.items()}
    if isinstance(wanted.names, Mapping):
        names = dict(wanted.names)
    else:
        names = {n: n for want in wanted.names for n in _below(want, [*first, *second]) or [want]}
    if faults := [
        f"{side} has no output {name!r} (it has {', '.join(has)})"
        for side, wanted_here, has in (
            (sides.reference, names, first),
            (sides.candidate, names.values(), second),
        )
        for name in wanted_here
        if name not in has
    ]:
        raise ValueError("`outputs` names what is not there: " + "; ".join(faults))
    return {n: first[n] for n in names}, {n: second[m] for n, m in names.items()}


def _below(name: str, has: Sequence[str]) -> list[str]:
    """The outputs of this name, or inside the container of this name."""
    return [path for path in has if path == name or path.startswith(f"{name}/")]


def _in_order(first: Mapping[str, Output], second: Mapping[str, Output]) -> dict[str, str]:
    """The reference's names and the output that each is compared with, where no name is common."""
    pairs = list(zip(first, second, strict=False))
    same = all(math.prod(first[n].shape) == math.prod(second[m].shape) for n, m in pairs)
    return dict(pairs if len(first) == len(second) and same else pairs[:1])
