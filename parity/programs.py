"""Models as programs: deterministic functions from named arrays to named values.

Both frameworks are brought to one form, `program(weights, inputs, dtype) -> values`, with weights under
PyTorch's names and layouts. Everything above this module treats the two sides alike.
"""

import contextlib
import dataclasses
import inspect
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

Loss = Callable[[Any, Any], Any]
"""`loss(outputs, targets) -> scalar` in one framework; `targets` is an array, or a dict of several."""


class Task(NamedTuple):
    """What a forward and backward program needs besides the two models.

    Attributes:
        inputs: names of the model's inputs among the named arrays; the rest are targets.
        torch_loss, jax_loss: both given or both None (a fixed random projection of the outputs).
        layout: per input the permutation from PyTorch's axes to JAX's, e.g. (0, 2, 3, 1).
        device: "cpu" or "cuda".
    """

    inputs: tuple[str, ...]
    torch_loss: Loss | None = None
    jax_loss: Loss | None = None
    layout: Mapping[str, tuple[int, ...]] = {}
    device: str = "cpu"


def bind(
    target: Callable[..., Any], skip: int, inputs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Pass inputs by keyword where the function has arguments of those names, else by position.

    >>> bind(lambda params, x: x, 1, {"x": 3})
    ((), {'x': 3})
    >>> bind(lambda params, images: images, 1, {"x": 3})
    ((3,), {})
    """
    try:
        names = list(inspect.signature(target).parameters)[skip:]
    except (TypeError, ValueError):  # builtins and some compiled callables have no signature
        names = []
    if all(name in names for name in inputs):
        return (), dict(inputs)
    return tuple(inputs.values()), {}


def name_outputs(out: Any) -> dict[str, Any]:
    """What a model returns as named arrays: `output`, or keys, fields and positions joined by `/`.

    Raises:
        TypeError: if there is no array in it.
    """
    named = dict(_walk(out, ""))
    if not named:
        raise TypeError(f"the model returned {kind_of(out)} without an array in it; return arrays or tensors")
    return named


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        if "complex" in str(value.dtype):
            raise TypeError(f"output {path!r} is complex; return its real and imaginary part, to be compared")
        yield path or "output", value
        return
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        children: Any = value.items()
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        children = zip(value._fields, value, strict=True)
    elif isinstance(value, tuple | list):
        children = enumerate(value)
    else:
        raise TypeError(
            f"output {path!r} is {kind_of(value)}; it must be an array, or a dict or tuple of them"
        )
    for key, child in children:
        yield from _walk(child, f"{path}/{key}" if path else str(key))


def direction(shape: Sequence[int], name: str) -> Shaped[np.ndarray, "..."]:
    """A fixed random projection for the output of this name, so that no gradient vanishes by symmetry."""
    seed = zlib.crc32(name.encode())
    return np.random.default_rng(seed).standard_normal(tuple(shape)).astype(np.float32).astype(np.float64)


def targets_of(given: Mapping[str, Any], inputs: Sequence[str]) -> Any:
    """What is not an input: the one target, or a dict of several."""
    targets = {name: value for name, value in given.items() if name not in inputs}
    return next(iter(targets.values())) if len(targets) == 1 else targets


def kind_of(value: Any) -> str:
    """What a value is, for messages."""
    return "a function" if inspect.isfunction(value) else f"of type {type(value).__name__}"


@contextlib.contextmanager
def said_by(framework: str) -> Iterator[None]:
    """Errors raised inside say which framework's model raised them."""
    try:
        yield
    except Exception as error:
        error.add_note(f"raised by the {framework} model")
        raise
