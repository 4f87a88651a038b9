"""What models return, as named arrays, and which of PyTorch's is compared with which of JAX's."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def name_outputs(out: Any) -> dict[str, Any]:
    """What a model returns as named arrays: `output`, or keys, fields and positions joined by `/`.

    None is left out, and so are objects beside arrays that hold none themselves (`unnamed_outputs` lists
    them): a cache, a distribution.

    Raises:
        TypeError: if there is no array in it, or if it has a number or text of Python's, or complex
            numbers, in it.

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


def unnamed_outputs(out: Any) -> tuple[str, ...]:
    """What `name_outputs` left out because it cannot be compared, with its type."""
    return tuple(f"{path} ({type(value).__name__})" for path, value in _walk(out, "") if not _is_array(value))


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Arrays and objects by path, without None; Python's numbers and texts are errors."""
    name = path or "output"
    if value is None:
        return
    if _is_array(value):
        _require_comparable(value, name)
        yield name, value
        return
    if isinstance(value, bool | int | float | complex | str | bytes):
        raise TypeError(
            f"output {name!r} is of type {type(value).__name__} ({str(value)[:60]!r}); return it as an "
            "array, or leave it out"
        )
    if isinstance(value, Mapping):
        children: Any = value.items()
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


def _require_comparable(value: Any, name: str) -> None:
    if "complex" in str(value.dtype):
        raise TypeError(f"output {name!r} is complex; return its real and imaginary part, to be compared")


def pair_outputs(torch_out: Any, jax_out: Any, outputs: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The outputs of two models under common names, PyTorch's.

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
        torch_out: what the PyTorch model returned (tensors, or anything with shape and dtype).
        jax_out: what the JAX model returned.
        outputs: a name, or a list of names, to keep, where `hidden` also keeps `hidden/0`; a mapping from
            PyTorch's names to JAX's; or a pair of functions, (of PyTorch's, of JAX's return value), of
            which one may be None, whose results are paired by the rules above.

    Returns:
        PyTorch's and JAX's arrays by name.

    Raises:
        TypeError: if a return value has no array, or `outputs` is none of these.
        ValueError: if `outputs` names what is not there.

    >>> import numpy as np
    >>> pair_outputs((np.ones(2), np.ones(3)), np.zeros(2))
    ({'0': array([1., 1.])}, {'0': array([0., 0.])})
    """
    if isinstance(outputs, tuple) and len(outputs) == 2 and all(o is None or callable(o) for o in outputs):
        pick_torch, pick_jax = outputs
        torch_out = pick_torch(torch_out) if callable(pick_torch) else torch_out
        jax_out = pick_jax(jax_out) if callable(pick_jax) else jax_out
        outputs = None
    ours, theirs = name_outputs(torch_out), name_outputs(jax_out)
    if outputs is None:
        if set(ours) & set(theirs):
            return ours, theirs
        names = _in_order(ours, theirs)
        return {n: ours[n] for n in names}, {n: theirs[m] for n, m in names.items()}
    if isinstance(outputs, Mapping):
        names = dict(outputs)
    elif isinstance(outputs, str) or (
        isinstance(outputs, Sequence) and all(isinstance(name, str) for name in outputs)
    ):
        wanted = [outputs] if isinstance(outputs, str) else [str(name) for name in outputs]
        names = {name: name for want in wanted for name in _below(want, [*ours, *theirs]) or [want]}
    else:
        raise TypeError(
            "`outputs` must be names to keep, a mapping from PyTorch's names to JAX's, or a pair of functions"
        )
    if faults := [
        f"{side} has no output {name!r} (it has {', '.join(has)})"
        for side, wanted_here, has in (("PyTorch", names, ours), ("JAX", names.values(), theirs))
        for name in wanted_here
        if name not in has
    ]:
        raise ValueError("`outputs` names what is not there: " + "; ".join(faults))
    return {n: ours[n] for n in names}, {n: theirs[m] for n, m in names.items()}


def _below(name: str, has: Sequence[str]) -> list[str]:
    """The outputs of this name, or inside the container of this name."""
    return [path for path in has if path == name or path.startswith(f"{name}/")]


def _in_order(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, str]:
    """PyTorch's names and the JAX output that each is compared with, where no name is common."""
    pairs = list(zip(ours, theirs, strict=False))
    same = all(math.prod(ours[n].shape) == math.prod(theirs[m].shape) for n, m in pairs)
    return dict(pairs if len(ours) == len(theirs) and same else pairs[:1])
