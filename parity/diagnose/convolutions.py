"""Convolutions: computed again with the reference's settings, or with another padding."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.diagnose.convolving import convolve, length
from parity.diagnose.fault import Fault
from parity.diagnose.numbers_in_code import divisors
from parity.diagnose.pads import Windowing, as_ints, other_pads, reference_operation
from parity.diagnose.trials import Change
from parity.localise.comparison import Function
from parity.report.kinds import CauseKind
from parity.trace.graph import Node
from parity.trace.vocabulary import CONVOLUTIONS, each_axis


class Setting(NamedTuple):
    """One setting of a convolution.

    Attributes:
        cause: the fault that it would be; also what the setting is called.
        parameter: its name in LAX.
        value: the reference's.
    """

    cause: CauseKind
    parameter: str
    value: Windowing


def convolutions(fault: Fault) -> Iterator[Change]:
    """Every convolution at the fault with the settings in which the reference's differs."""
    for number in _numbers(fault):
        params = fault.candidate.evaluations[number].params
        different = [s for s in _settings(fault, number) if as_ints(params[s.parameter]) != as_ints(s.value)]
        for count in range(1, len(different) + 1):
            for chosen in itertools.combinations(different, count):
                causes = [s.cause for s in chosen if s.cause is not CauseKind.PADDING]
                needed = ", ".join(
                    f"{s.cause} is {as_ints(params[s.parameter])} in <candidate> "
                    f"and {as_ints(s.value)} is needed"
                    for s in chosen
                )
                text = f"the convolution's {needed}, as <reference> has it"
                cause = causes[0] if causes else CauseKind.PADDING
                changed = {s.parameter: s.value for s in chosen}
                yield _changed(fault, number, cause, text, changed)
                for pads in _reaching_on(fault, number, changed):
                    text_of_both = f"{text}, with the padding before it to match"
                    yield _changed(fault, number, cause, text_of_both, {**changed, "padding": pads})


def _reaching_on(fault: Fault, number: int, changed: Mapping[str, Windowing]) -> Iterator[Windowing]:
    """Paddings with which another dilation gives as many places: before, behind, or half on either side.

    A causal convolution is padded by its reach on a line of its own.
    """
    if "rhs_dilation" not in changed or "padding" in changed:
        return
    params = fault.candidate.evaluations[number].params
    dilations = zip(params["rhs_dilation"], as_ints(changed["rhs_dilation"]), strict=True)
    more = [(new - int(old)) * (k - 1) for (old, new), k in zip(dilations, _taps(fault, number), strict=True)]
    for low in (lambda n: n, lambda n: 0, lambda n: n // 2):
        pads = zip(params["padding"], more, strict=True)
        yield tuple((int(a) + low(n), int(b) + n - low(n)) for (a, b), n in pads)


def exchanged_settings(fault: Fault) -> Iterator[Change]:
    """Two convolutions with each other's strides or dilations, as of a bottleneck that halves elsewhere."""
    named = (
        (CauseKind.STRIDE, "window_strides", "strides"),
        (CauseKind.DILATION, "rhs_dilation", "dilations"),
    )
    for one, other in itertools.combinations(_numbers(fault), 2):
        ends = [fault.candidate.evaluations[number].params for number in (one, other)]
        for cause, parameter, words in named:
            first, second = (as_ints(params[parameter]) for params in ends)
            if first == second or len(ends[0][parameter]) != len(ends[1][parameter]):
                continue
            lines = " and ".join(f"of line {fault.line(number)[1]}" for number in (one, other))
            text = f"the {words} of two convolutions ({lines}) are {first} and {second} in <candidate>"
            text += f" and {second} and {first} in <reference>"
            functions = {
                one: _computed({**ends[0], parameter: ends[1][parameter]}),
                other: _computed({**ends[1], parameter: ends[0][parameter]}),
            }
            yield Change(cause, text, functions=functions)


def other_paddings(fault: Fault) -> Iterator[Change]:
    """Every convolution at the fault with other paddings."""
    for number in _numbers(fault):
        params = fault.candidate.evaluations[number].params
        reaches = [d * (k - 1) + 1 for d, k in zip(params["rhs_dilation"], _taps(fault, number), strict=True)]
        for pads in other_pads(params["padding"], reaches):
            now = as_ints(params["padding"])
            text = f"the convolution's padding is {now} in <candidate>, <reference>'s comes to {pads}"
            yield _changed(fault, number, CauseKind.PADDING, text, {"padding": pads})


def _numbers(fault: Fault) -> list[int]:
    return [n for n in fault.active if fault.operation(n) == "conv_general_dilated"]


def _taps(fault: Fault, number: int) -> list[int]:
    evaluation = fault.candidate.evaluations[number]
    kernel = fault.value(evaluation.inputs[1])
    return [kernel.shape[axis] for axis in evaluation.params["dimension_numbers"].rhs_spec[2:]]


def _settings(fault: Fault, number: int) -> list[Setting]:
    """What the reference's convolution at the fault is set to, in LAX's terms."""
    node = reference_operation(fault, CONVOLUTIONS)
    taps = _taps(fault, number)
    if node is None:
        return []
    return _of_lax(node, taps) if "window_strides" in node.params else _of_aten(node, taps)


def _of_lax(node: Node, taps: Sequence[int]) -> list[Setting]:
    """The settings of `conv_general_dilated`."""
    params = node.params
    if len(params["window_strides"]) != len(taps):
        return []
    settings = (
        (CauseKind.PADDING, "padding"),
        (CauseKind.STRIDE, "window_strides"),
        (CauseKind.STRIDE, "lhs_dilation"),
        (CauseKind.DILATION, "rhs_dilation"),
        (CauseKind.GROUPS, "feature_group_count"),
    )
    return [Setting(cause, parameter, params[parameter]) for cause, parameter in settings]


def _of_aten(node: Node, taps: Sequence[int]) -> list[Setting]:
    """The settings of `convolution`."""
    params, count = node.params, len(taps)
    if len(params.get("stride", ())) not in (1, count):
        return []
    dilation, padding = each_axis(params["dilation"], count), each_axis(params["padding"], count)
    if not params.get("transposed"):
        return [
            Setting(CauseKind.PADDING, "padding", tuple((p, p) for p in padding)),
            Setting(CauseKind.STRIDE, "window_strides", each_axis(params["stride"], count)),
            Setting(CauseKind.DILATION, "rhs_dilation", dilation),
            Setting(CauseKind.GROUPS, "feature_group_count", int(params["groups"])),
        ]
    reach = [d * (k - 1) for d, k in zip(dilation, taps, strict=True)]
    more = each_axis(params["output_padding"], count)
    pads = tuple((r - p, r - p + o) for r, p, o in zip(reach, padding, more, strict=True))
    return [
        Setting(CauseKind.PADDING, "padding", pads),
        Setting(CauseKind.STRIDE, "lhs_dilation", each_axis(params["stride"], count)),
        Setting(CauseKind.DILATION, "rhs_dilation", dilation),
    ]


def _changed(
    fault: Fault, number: int, cause: CauseKind, text: str, changed: Mapping[str, Windowing]
) -> Change:
    """The change; where more or fewer places come out, means over them are divided by as many."""
    evaluation = fault.candidate.evaluations[number]
    params = {**evaluation.params, **changed}
    now, then = (_places(fault, number, p) for p in (evaluation.params, params))
    values = divisors(fault, now, then) if now != then else {}
    return Change(cause, text, values, {number: _computed(params)})


def _computed(params: Mapping[str, Any]) -> Function:
    return lambda values: [convolve(np.asarray(values[0]), np.asarray(values[1]), params)]


def _places(fault: Fault, number: int, params: Mapping[str, Any]) -> int:
    """How many places come out."""
    x = fault.value(fault.candidate.evaluations[number].inputs[0])
    sizes = [x.shape[axis] for axis in params["dimension_numbers"].lhs_spec[2:]]
    rows: Sequence[Sequence[int]] = (
        sizes,
        _taps(fault, number),
        params["window_strides"],
        [low for low, _ in params["padding"]],
        [high for _, high in params["padding"]],
        params["lhs_dilation"],
        params["rhs_dilation"],
    )
    return int(np.prod([length(*map(int, row)) for row in zip(*rows, strict=True)]))
