"""Aten's pooling in LAX's terms."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Shaped

from parity.frameworks.torch.torch_tape import Ref, Rule, Tape, UntranslatedError
from parity.trace.vocabulary import each_axis

Array = Shaped[np.ndarray, "..."]

ForEachAxis = int | Sequence[int]
"""A setting of a window: one number for all of its axes, or one for each."""


def _reduce_window(
    tape: Tape,
    operation: str,
    x: Ref,
    size: Sequence[int],
    stride: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilation: Sequence[int],
) -> Ref:
    """One window reduction over the last axes."""
    rest = len(tape.shape(x)) - len(size)
    return tape.run(
        operation,
        x,
        window_dimensions=(1,) * rest + tuple(size),
        window_strides=(1,) * rest + tuple(stride),
        padding=((0, 0),) * rest + tuple(pads),
        base_dilation=(1,) * (rest + len(size)),
        window_dilation=(1,) * rest + tuple(dilation),
    )


def _pads(
    tape: Tape,
    self: torch.Tensor,
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> list[tuple[int, int]]:
    """The border before and behind; behind it is as wide as the windows need that are there (ceil_mode)."""
    count = len(size)
    rows = zip(size, stride, padding, dilation, self.shape[-count:], tape.out[0].shape[-count:], strict=True)
    found = []
    for k, s, p, d, n, m in rows:
        needed = (m - 1) * s + (k - 1) * d + 1 - n - p
        found.append((p, needed if needed > p else p))
    return found


def _max_pool(count: int) -> Rule:
    def rule(
        tape: Tape,
        self: torch.Tensor,
        kernel_size: ForEachAxis,
        stride: ForEachAxis = (),
        padding: ForEachAxis = 0,
        dilation: ForEachAxis = 1,
        ceil_mode: bool = False,
    ) -> Ref | list[Ref]:
        size = each_axis(kernel_size, count)
        settings = (
            size,
            each_axis(stride or size, count),
            each_axis(padding, count),
            each_axis(dilation, count),
        )
        x = tape.read(self)
        pads = _pads(tape, self, *settings)
        values = _reduce_window(tape, "reduce_window_max", x, size, settings[1], pads, settings[3])
        if len(tape.out) == 1:
            return values
        pool = getattr(torch.ops.aten, f"max_pool{count}d_with_indices")

        def indices(values: Sequence[Array]) -> list[Array]:
            return [pool(torch.from_numpy(np.array(values[0])), *settings, ceil_mode)[1].numpy()]

        return [values, *tape.emit(f"max_pool{count}d_indices", {"kernel_size": size}, [x], indices)]

    return rule


def _max_pool_backward(count: int) -> Rule:
    """Each gradient goes where the largest entry of its window stands."""

    def rule(
        tape: Tape,
        grad_output: torch.Tensor,
        self: torch.Tensor,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        ceil_mode: bool,
        indices: torch.Tensor,
    ) -> Ref:
        shape, lead = tuple(self.shape), self.dim() - count

        def function(values: Sequence[Array]) -> list[Array]:
            grad, at = (np.asarray(v).reshape(math.prod(shape[:lead]), -1) for v in values)
            out = np.zeros((len(grad), math.prod(shape[lead:])), grad.dtype)
            np.add.at(out, (np.arange(len(grad))[:, None], at), grad)
            return [out.reshape(shape)]

        inputs = [tape.read(grad_output), tape.read(indices)]
        return tape.emit("select_and_scatter_add", {"kernel_size": kernel_size}, inputs, function)[0]

    return rule


def _avg_pool(count: int) -> Callable[..., Ref]:
    def rule(
        tape: Tape,
        self: torch.Tensor,
        kernel_size: ForEachAxis,
        stride: ForEachAxis = (),
        padding: ForEachAxis = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Ref:
        size = each_axis(kernel_size, count)
        steps, border, ones = each_axis(stride or size, count), each_axis(padding, count), (1,) * count
        pads = _pads(tape, self, size, steps, border, ones)
        total = _reduce_window(tape, "reduce_window_sum", tape.read(self), size, steps, pads, ones)
        whole = divisor_override or math.prod(size)
        beyond = any(high > p for (_, high), p in zip(pads, border, strict=True))
        if divisor_override or not (beyond or (any(border) and not count_include_pad)):
            return tape.run("div", total, tape.constant(whole, tape.dtype))
        inside = np.ones(self.shape[-count:], tape.dtype)
        if count_include_pad:
            inside, rest = np.pad(inside, [(p, p) for p in border], constant_values=1), border
            pads = [(low - p, max(0, high - p)) for (low, high), p in zip(pads, rest, strict=True)]
        counted = _reduce_window(
            tape, "reduce_window_sum", tape.constant(inside, tape.dtype), size, steps, pads, ones
        )
        return tape.run("div", total, counted)

    return rule


def _adaptive(count: int) -> Rule:
    """Averages over parts of equal size; others are PyTorch's own decomposition."""

    def rule(tape: Tape, self: torch.Tensor, output_size: ForEachAxis) -> Ref:
        sizes, places = self.shape[-count:], each_axis(output_size, count)
        if any(n % m for n, m in zip(sizes, places, strict=True)):
            raise UntranslatedError
        return _avg_pool(count)(tape, self, [n // m for n, m in zip(sizes, places, strict=True)])

    return rule


RULES: Mapping[str, Rule] = {
    **{f"max_pool{n}d_with_indices": _max_pool(n) for n in (2, 3)},
    **{f"max_pool{n}d": _max_pool(n) for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices_backward": _max_pool_backward(n) for n in (2, 3)},
    **{f"avg_pool{n}d": _avg_pool(n) for n in (1, 2, 3)},
    **{f"_adaptive_avg_pool{n}d": _adaptive(n) for n in (2, 3)},
}
"""Rules by the name of the aten operation."""
