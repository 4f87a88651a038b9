"""Pooling and padding: windows, borders and divisors as the reference has them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.pads import Pads, Pooled, as_ints, other_pads, pooled, reference_operation, sliding_axes
from parity.diagnose.sliding import reduce_windows
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.localise.comparison import Function, Value
from parity.report.kinds import CauseKind
from parity.trace.vocabulary import names

NAMES = {"max": "maximum", "min": "minimum", "sum": "average"}

KINDS = {"reduce_window_max": "max", "reduce_window_sum": "sum", "reduce_window_min": "min"}

PUTTING_BORDERS = names("cat concatenate index gather copy_ slice_scatter scatter dynamic_update_slice")
"""Operations that a border is written with, where no padding is called."""

POOLINGS = ("max_pool", "avg_pool", *KINDS)
"""Beginnings of the names of poolings, in both vocabularies."""


def pools(fault: Fault) -> Iterator[Change]:
    """Other settings for every pooling at the fault, and another way of padding."""
    for number in fault.active:
        operation = fault.operation(number)
        if operation in KINDS:
            yield from _pool(fault, number)
        elif operation == "pad":
            yield from _pad(fault, number)


def _pool(fault: Fault, number: int) -> Iterator[Change]:
    params = fault.candidate.evaluations[number].params
    kind = KINDS[fault.operation(number)]
    window = params["window_dimensions"]
    spatial = sliding_axes(window, params["window_strides"])
    node = reference_operation(fault, POOLINGS)
    wanted = pooled(node, len(spatial)) if node is not None and spatial else None
    if wanted is not None:
        yield from _pool_settings(number, kind, params, spatial, wanted)
    for pads in other_pads([params["padding"][axis] for axis in spatial], [window[a] for a in spatial]):
        now = [as_ints(params["padding"][axis]) for axis in spatial]
        text = f"the pooling's padding is {now} in <candidate>: <reference>'s comes to {list(pads)}"
        function = _reduce_window(kind, params, spatial, {"padding": pads})
        yield Change(CauseKind.PADDING, text, functions={number: function})
    if kind == "sum":
        yield from _pool_count(fault, number, window)
    for other, scale in _other_modes(kind, float(np.prod(window))):
        text = f"<reference> pools by the {NAMES[other]}, <candidate> by the {NAMES[kind]}"
        function = _reduce_window(other, params, spatial, {}, scale)
        yield Change(CauseKind.POOL_MODE, text, functions={number: function})


def _other_modes(kind: str, count: float) -> Iterator[tuple[str, float]]:
    """(the other way of pooling, a factor): a division by the size of the window may follow, or not."""
    if kind == "sum":
        yield "max", count
        yield "max", 1.0
    else:
        yield "sum", 1 / count
        yield "sum", 1.0


def _pool_settings(
    number: int, kind: str, params: Mapping[str, Any], spatial: Sequence[int], wanted: Pooled
) -> Iterator[Change]:
    """The pooling with the settings in which the reference's differs."""
    settings: tuple[tuple[CauseKind, str, Pads | tuple[int, ...]], ...] = (
        (CauseKind.PADDING, "padding", wanted.padding),
        (CauseKind.STRIDE, "window_strides", wanted.stride),
        (CauseKind.DILATION, "window_dilation", wanted.dilation),
    )

    def now(parameter: str) -> tuple[object, ...]:
        return tuple(as_ints(params[parameter][axis]) for axis in spatial)

    different = [setting for setting in settings if now(setting[1]) != setting[2]]
    for count in range(1, len(different) + 1):
        for chosen in itertools.combinations(different, count):
            causes = [cause for cause, _, _ in chosen if cause is not CauseKind.PADDING]
            cause = causes[0] if causes else CauseKind.PADDING
            both = ", ".join(f"{n} is {now(n)} in <candidate> and {v} in <reference>" for _, n, v in chosen)
            function = _reduce_window(kind, params, spatial, {n: v for _, n, v in chosen})
            yield Change(cause, f"the pooling's {both}", functions={number: function})


def _reduce_window(
    kind: str,
    params: Mapping[str, Any],
    spatial: Sequence[int],
    changed: Mapping[str, Pads | tuple[int, ...]],
    scale: float = 1.0,
) -> Function:
    settings = {
        name: list(params[name])
        for name in ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    }
    for name, values in changed.items():
        for axis, value in zip(spatial, values, strict=True):
            settings[name][axis] = value

    def compute(values: Sequence[Value]) -> Sequence[Value]:
        window, strides, padding, base, dilation = settings.values()
        out = reduce_windows(
            np.asarray(values[0]),
            kind,
            window=window,
            strides=strides,
            padding=padding,
            base_dilation=base,
            window_dilation=dilation,
        )
        return [out * scale]

    return compute


def _pool_count(fault: Fault, number: int, window: Sequence[int]) -> Iterator[Change]:
    """The sum of a window divided by the whole window, or only by what lies inside."""
    params = fault.candidate.evaluations[number].params
    (total,) = fault.candidate.evaluations[number].outputs
    ones = np.ones(fault.value(fault.candidate.evaluations[number].inputs[0]).shape)
    inside = np.asarray(_reduce_window("sum", params, (), {})([ones])[0])
    whole = np.full(inside.shape, float(np.prod(window)))
    for divided in fault.readers(total):
        if fault.operation(divided) not in ("div", "mul"):
            continue
        for by in fault.candidate.evaluations[divided].inputs:
            if by == total:
                continue
            power = 1.0 if fault.operation(divided) == "div" else -1.0
            for value, how in ((whole, "counts padded places"), (inside, "leaves padded places out")):
                text = f"<reference>'s average {how}, <candidate>'s does not: "
                text += f"count_include_pad={value is whole}"
                yield Change(CauseKind.POOL_COUNT, text, {by: value**power})


def _pad(fault: Fault, number: int) -> Iterator[Change]:
    """A pad operation with other widths of the same total."""
    settings = fault.candidate.evaluations[number].params["padding_config"]
    config = [(int(low), int(high), int(inner)) for low, high, inner in settings]
    axes = [axis for axis, (low, high, _) in enumerate(config) if low or high]
    if not axes or any(inner for _, _, inner in config):
        return
    for pads in other_pads([config[axis][:2] for axis in axes], [1] * len(axes)):
        widths = [(0, 0)] * len(config)
        for axis, pad in zip(axes, pads, strict=True):
            widths[axis] = pad

        def compute(values: Sequence[Value], widths: Pads = tuple(widths)) -> Sequence[Array]:
            return [np.pad(values[0], widths, constant_values=np.asarray(values[1]).item())]

        text = f"padded by {[config[a][:2] for a in axes]} in <candidate> and by {list(pads)} in <reference>"
        yield Change(CauseKind.PADDING, text, functions={number: compute})


def padding_modes(fault: Fault) -> Iterator[Change]:
    """The faulty value is a matched one with a border, filled in another way, where either side pads."""
    done = {fault.operation(n) for n in fault.active}
    done |= {fault.reference.nodes[i].operation for i in fault.reference_scope}
    if not any("pad" in name for name in done) and not done & PUTTING_BORDERS:
        return
    for target in fault.targets:
        shape = target.wanted.shape
        for index in fault.inputs:
            x = fault.value(index)
            more = [b - a for a, b in zip(x.shape, shape, strict=False)]
            if x.ndim != len(shape) or not any(more) or min(more) < 0 or max(more) > 16:
                continue
            for width in _splits(more):
                for mode in ("reflect", "edge", "symmetric", "wrap", "constant"):
                    try:
                        value = np.pad(x, width, mode=mode)
                    except ValueError:
                        continue
                    text = f"<reference> pads in the mode {mode!r} (np.pad's name) by {width}"
                    text += ", <candidate> otherwise"
                    yield Change(CauseKind.PADDING, text, {target.node: value})


def _splits(more: Sequence[int]) -> Iterator[tuple[tuple[int, int], ...]]:
    yield tuple((n // 2, n - n // 2) for n in more)
    yield tuple((n, 0) for n in more)
    yield tuple((0, n) for n in more)
