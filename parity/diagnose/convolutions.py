"""Convolutions: the JAX equation computed again with PyTorch's settings, or with another padding."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.diagnose.convolving import convolve, length
from parity.diagnose.fault import Bench
from parity.diagnose.numbers_in_code import divisors
from parity.diagnose.pads import each, other_pads, plain, torch_settings
from parity.diagnose.trials import Change, Function

TORCH = ("convolution", "_convolution", "mkldnn_convolution")


class Setting(NamedTuple):
    """One setting of a convolution: what it is called, JAX's parameter, and the value that PyTorch has."""

    name: str
    parameter: str
    value: Any


def convolutions(bench: Bench) -> Iterator[Change]:
    """Every convolution at the fault with the settings in which PyTorch's differs."""
    for number in _numbers(bench):
        params = bench.jax.evaluations[number].params
        different = [s for s in _settings(bench, number) if plain(params[s.parameter]) != plain(s.value)]
        for count in range(1, len(different) + 1):
            for chosen in itertools.combinations(different, count):
                cause = next((s.name for s in chosen if s.name != "padding"), "padding")
                said = ", ".join(
                    f"{s.name} is {plain(params[s.parameter])} in JAX and {plain(s.value)} is needed"
                    for s in chosen
                )
                text = f"the convolution's {said}, as PyTorch has it"
                yield _changed(bench, number, cause, text, {s.parameter: s.value for s in chosen})


def other_paddings(bench: Bench) -> Iterator[Change]:
    """Every convolution at the fault with other paddings."""
    for number in _numbers(bench):
        params = bench.jax.evaluations[number].params
        reaches = [d * (k - 1) + 1 for d, k in zip(params["rhs_dilation"], _taps(bench, number), strict=True)]
        for pads in other_pads(params["padding"], reaches):
            text = (
                f"the convolution's padding is {plain(params['padding'])} in JAX, PyTorch's comes to {pads}"
            )
            yield _changed(bench, number, "padding", text, {"padding": pads})


def _numbers(bench: Bench) -> list[int]:
    return [n for n in bench.active if bench.operation(n) == "conv_general_dilated"]


def _taps(bench: Bench, number: int) -> list[int]:
    evaluation = bench.jax.evaluations[number]
    kernel = bench.value(evaluation.inputs[1])
    return [kernel.shape[axis] for axis in evaluation.params["dimension_numbers"].rhs_spec[2:]]


def _settings(bench: Bench, number: int) -> list[Setting]:
    """What PyTorch's convolution at the fault is set to, in JAX's terms."""
    theirs = torch_settings(bench, TORCH)
    taps = _taps(bench, number)
    if not theirs or len(theirs.get("stride", ())) not in (1, len(taps)):
        return []
    dilation, padding = each(theirs["dilation"], taps), each(theirs["padding"], taps)
    if not theirs.get("transposed"):
        return [
            Setting("padding", "padding", tuple((p, p) for p in padding)),
            Setting("stride", "window_strides", each(theirs["stride"], taps)),
            Setting("dilation", "rhs_dilation", dilation),
            Setting("groups", "feature_group_count", int(theirs["groups"])),
        ]
    reach = [d * (k - 1) for d, k in zip(dilation, taps, strict=True)]
    more = each(theirs["output_padding"], taps)
    pads = tuple((r - p, r - p + o) for r, p, o in zip(reach, padding, more, strict=True))
    return [
        Setting("padding", "padding", pads),
        Setting("stride", "lhs_dilation", each(theirs["stride"], taps)),
        Setting("dilation", "rhs_dilation", dilation),
    ]


def _changed(bench: Bench, number: int, cause: str, text: str, changed: Mapping[str, Any]) -> Change:
    """The change; where more or fewer places come out, means over them are divided by as many."""
    evaluation = bench.jax.evaluations[number]
    params = {**evaluation.params, **changed}
    now, then = (_places(bench, number, p) for p in (evaluation.params, params))
    values = divisors(bench, now, then) if now != then else {}
    return Change(cause, text, values, {number: _computed(params)})


def _computed(params: Mapping[str, Any]) -> Function:
    return lambda values: [convolve(np.asarray(values[0]), np.asarray(values[1]), params)]


def _places(bench: Bench, number: int, params: Mapping[str, Any]) -> int:
    """How many places come out."""
    x = bench.value(bench.jax.evaluations[number].inputs[0])
    sizes = [x.shape[axis] for axis in params["dimension_numbers"].lhs_spec[2:]]
    rows: Sequence[Any] = (
        sizes,
        _taps(bench, number),
        params["window_strides"],
        [low for low, _ in params["padding"]],
        [high for _, high in params["padding"]],
        params["lhs_dilation"],
        params["rhs_dilation"],
    )
    return int(np.prod([length(*map(int, row)) for row in zip(*rows, strict=True)]))
