"""What a program needs besides its model: which arrays are inputs, the loss, the layout, the outputs."""

import functools
import inspect
import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Shaped

from parity.frameworks.outputs import name_outputs
from parity.numerics.arrays import Arrays
from parity.numerics.draws import Share
from parity.trace.rounded_constants import Key, Settled

Given = TypeVar("Given")
"""An array or tensor of the side's own framework."""

Loss = Callable[[Any, Any], Any]
"""`loss(outputs, targets)` in one framework: a scalar, or what `losses_of` reads; `targets` is an array, or a
dict of several."""

LOSS = "loss"
"""The name of what is differentiated; `loss/NAME` is a part of it."""


class Task(NamedTuple):
    """What one side is to compute.

    Attributes:
        inputs: names of the model's inputs among the named arrays; the rest are targets.
        loss: in the side's own framework; None is a fixed random projection of the outputs.
        layout: per input the permutation from the reference's axes to this side's, e.g. (0, 2, 3, 1).
        device: "cpu" or "cuda".
        rounding: whether roundings to bfloat16 and float16 inside this model stay when it is lifted to
            float64: they are part of what it computes, unless both sides compute in that dtype throughout.
        numbers: those that the other side's program holds, by which float32 constants are recognised.
        settled: what single float32 constants are taken for.
        tables: weights without a partner on the other side: constants of this one.
        outputs: from what the model returns to named arrays, under names common to both sides.
        shares: where this side's random draws read the stream that both share, in order; None where it
            draws its own numbers.
    """

    inputs: tuple[str, ...]
    loss: Loss | None = None
    layout: Mapping[str, tuple[int, ...]] = {}
    device: str = "cpu"
    rounding: bool = False
    numbers: tuple[float, ...] = ()
    settled: Mapping[Key, Settled] = {}
    tables: tuple[str, ...] = ()
    outputs: Callable[[Any], dict[str, Any]] = name_outputs
    shares: tuple[Share, ...] | None = None

    def laid_out(self, inputs: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
        """Bring inputs into this side's layout.

        Args:
            inputs: named arrays in the reference's layout.
        """
        return {
            name: array.transpose(self.layout[name]) if name in self.layout else array
            for name, array in inputs.items()
        }


def bind(
    target: Callable[..., object], skip: int, inputs: Mapping[str, Given]
) -> tuple[tuple[Given, ...], dict[str, Given]]:
    """How to call a function with these inputs: by name where the names agree, in order for the rest.

    An input whose name is an argument's goes there. The others fill, in order, the arguments that are free,
    then `*args`; without `*args`, `**kwargs` takes them under their own names. Arguments are passed by
    position as far as possible, because `jax.vmap` and `jax.jit` treat positions, not names.

    Args:
        target: the function; its signature decides.
        skip: how many leading arguments are not inputs (params, self).
        inputs: values by name, in order.

    Raises:
        TypeError: if a required argument is left without an input, or an input without an argument.

    >>> bind(lambda params, x, mask=None: x, 1, {"mask": 1, "images": 2})
    ((2, 1), {})
    >>> bind(lambda params, x, scale=1, mask=None: x, 1, {"x": 1, "mask": 2})
    ((1,), {'mask': 2})
    """
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):  # builtins and some compiled callables have no signature
        return tuple(inputs.values()), {}
    kinds = inspect.Parameter
    parameters = list(signature.parameters.values())
    leading = [p for p in parameters if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    positional = [p.name for p in leading[skip:]]
    by_keyword = [p for p in parameters if p.kind is kinds.KEYWORD_ONLY]
    single = [*positional, *(p.name for p in by_keyword)]
    takes_more = any(p.kind is kinds.VAR_POSITIONAL for p in parameters)
    takes_names = any(p.kind is kinds.VAR_KEYWORD for p in parameters)

    given = {name: value for name, value in inputs.items() if name in single}
    others = {name: value for name, value in inputs.items() if name not in single}
    free = [name for name in positional if name not in given]
    if not takes_more:
        free += [p.name for p in by_keyword if p.name not in given and p.default is p.empty]
    for name, value in zip(free, list(others.values()), strict=False):
        given[name] = value
    left = dict(list(others.items())[len(free) :])
    required = [p.name for p in parameters if p.default is p.empty and p.name in single]
    faults = [f"nothing is given for {name!r}" for name in required if name not in given]
    if left and not takes_more and not takes_names:
        faults.append(f"there is no argument for {', '.join(map(repr, left))}")
    if faults:
        raise TypeError(
            f"the inputs {', '.join(map(repr, inputs))} do not fit {_signature_of(target, signature)}: "
            f"{'; '.join(faults)}"
        )
    if left and takes_more:
        defaults = {p.name: p.default for p in leading}
        args = [given.pop(name, defaults[name]) for name in positional]
        return (*args, *left.values()), given
    prefix = list(itertools.takewhile(lambda name: name in given, positional))
    return tuple(given.pop(name) for name in prefix), {**given, **left}


def _signature_of(target: Callable[..., object], signature: inspect.Signature) -> str:
    """A function's name and arguments, without the annotations."""
    while isinstance(target, functools.partial):
        target = target.func
    bare = signature.replace(
        parameters=[p.replace(annotation=p.empty) for p in signature.parameters.values()],
        return_annotation=signature.empty,
    )
    return f"{getattr(target, '__qualname__', type(target).__name__)}{bare}"


def direction(shape: Sequence[int], name: str) -> Shaped[np.ndarray, "..."]:
    """A fixed random projection for an output, so that no gradient vanishes by symmetry.

    Its numbers have 8 significant bits: they are the same in every precision.

    Args:
        shape: of the output.
        name: of the output; it decides the numbers.

    Returns:
        float64, of that shape.
    """
    seed = zlib.crc32(name.encode())
    mantissa, exponent = np.frexp(np.random.default_rng(seed).standard_normal(tuple(shape)))
    return np.asarray(np.ldexp(np.round(mantissa * 256) / 256, exponent))


def losses_of(returned: Any) -> dict[str, Any]:
    """What a loss returned: the number that is differentiated, and named parts of it.

    Args:
        returned: a scalar; a dict of scalars, whose sum is differentiated; or a pair of a scalar and a dict
            of its parts, as of `jax.value_and_grad(..., has_aux=True)`. Anything else beside the scalar of a
            pair is left out.

    Returns:
        The scalar as "loss", parts as "loss/NAME".

    Raises:
        TypeError: if an empty dict was returned.

    >>> losses_of({"rate": 1.0, "distortion": 2.0})
    {'loss': 3.0, 'loss/rate': 1.0, 'loss/distortion': 2.0}
    """
    total, parts = returned, None
    if isinstance(returned, Mapping):
        parts = returned
        if not parts:
            raise TypeError(
                "the loss returned an empty dict; return a scalar, or a dict of scalars to be added"
            )
        first, *others = parts.values()
        total = sum(others, start=first)
    elif isinstance(returned, tuple | list) and len(returned) == 2:
        total, parts = returned
    named = parts if isinstance(parts, Mapping) else {}
    return {LOSS: total} | {f"{LOSS}/{name}": value for name, value in named.items()}


def targets_of(given: Mapping[str, Given], inputs: Sequence[str]) -> Given | dict[str, Given]:
    """The targets among named arrays: all that are not inputs.

    Args:
        given: arrays by name.
        inputs: names of the inputs.

    Returns:
        The one target, or a dict of several.
    """
    targets = {name: value for name, value in given.items() if name not in inputs}
    return next(iter(targets.values())) if len(targets) == 1 else targets


def type_in_words(value: object) -> str:
    """The type of a value in words, for messages.

    Args:
        value: of any type.
    """
    return "a function" if inspect.isfunction(value) else f"of type {type(value).__name__}"
