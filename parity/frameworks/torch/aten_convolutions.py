"""Aten's convolutions in LAX's terms."""

from collections.abc import Mapping, Sequence

import torch

from parity.frameworks.torch.lax_numpy import ConvDimensionNumbers
from parity.frameworks.torch.torch_tape import Ref, Rule, Tape, UntranslatedError
from parity.trace.vocabulary import each_axis


def _convolved(
    tape: Tape,
    x: Ref,
    kernel: Ref,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    spread: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
    specs: Sequence[str] = ("NC", "OI", "NC"),
) -> Ref:
    """One `conv_general_dilated`; the specs say which of the first two axes comes first."""
    rest = tuple(range(2, len(tape.shape(x))))
    numbers = ConvDimensionNumbers(*[(0, 1, *rest) if s in ("NC", "OI") else (1, 0, *rest) for s in specs])
    return tape.run(
        "conv_general_dilated",
        x,
        kernel,
        window_strides=tuple(strides),
        padding=tuple(padding),
        lhs_dilation=tuple(spread),
        rhs_dilation=tuple(dilation),
        dimension_numbers=numbers,
        feature_group_count=groups,
        batch_group_count=1,
        precision=None,
        preferred_element_type=None,
        out_sharding=None,
    )


def _turned(tape: Tape, weight: Ref, groups: int) -> Ref:
    """A kernel as the transposed convolution has it: (inputs of one group, outputs, taps reversed)."""
    shape = tape.shape(weight)
    taps = shape[2:]
    kernel = tape.run("rev", weight, dimensions=tuple(range(2, len(shape))))
    if groups == 1:
        return kernel
    apart = tape.reshape(kernel, (groups, shape[0] // groups, shape[1], *taps))
    apart = tape.transpose(apart, (1, 0, 2, *range(3, 3 + len(taps))))
    return tape.reshape(apart, (shape[0] // groups, groups * shape[1], *taps))


def _convolution(
    tape: Tape,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Ref:
    if bias is not None:
        raise UntranslatedError
    taps = weight.shape[2:]
    count = len(taps)
    stride, padding, dilation = (each_axis(v, count) for v in (stride, padding, dilation))
    x, kernel, ones = tape.read(input), tape.read(weight), (1,) * count
    if not transposed:
        pads = [(p, p) for p in padding]
        return _convolved(tape, x, kernel, stride, pads, ones, dilation, groups)
    more = each_axis(output_padding, count)
    reach = [d * (k - 1) for d, k in zip(dilation, taps, strict=True)]
    pads = [(r - p, r - p + o) for r, p, o in zip(reach, padding, more, strict=True)]
    turned = _turned(tape, kernel, groups)
    return _convolved(tape, x, turned, ones, pads, stride, dilation, groups, ("NC", "IO", "NC"))


def _convolution_backward(
    tape: Tape,
    grad_output: torch.Tensor,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
) -> list[Ref]:
    """The gradients that are asked for: both are convolutions.

    A transposed convolution exchanges the parts of the operand and the result.
    """
    count = weight.dim() - 2
    stride, padding, dilation = (each_axis(v, count) for v in (stride, padding, dilation))
    wide, narrow = (grad_output, input) if transposed else (input, grad_output)
    rows = zip(weight.shape[2:], wide.shape[2:], narrow.shape[2:], stride, padding, dilation, strict=True)
    axes = [(k, n - (m - 1) * s - 1, p, d) for k, n, m, s, p, d in rows]
    kernel, grad, ones = tape.read(weight), tape.read(grad_output), (1,) * count
    found = []
    if output_mask[0] and transposed:
        pads = [(p, d * (k - 1) - rest - p) for k, rest, p, d in axes]
        found.append(_convolved(tape, grad, kernel, stride, pads, ones, dilation, groups))
    elif output_mask[0]:
        pads = [(d * (k - 1) - p, rest + p) for k, rest, p, d in axes]
        turned = _turned(tape, kernel, groups)
        specs = ("NC", "IO", "NC")
        found.append(_convolved(tape, grad, turned, ones, pads, stride, dilation, groups, specs))
    if output_mask[1]:
        pads = [(p, d * (k - 1) - rest - p) for k, rest, p, d in axes]
        lhs, spec = tape.read(wide), "CN"
        if groups > 1:
            batch, width, *places = tape.shape(lhs)
            apart = tape.reshape(lhs, (batch, groups, width // groups, *places))
            apart = tape.transpose(apart, (2, 1, 0, *range(3, 3 + count)))
            lhs, spec = tape.reshape(apart, (width // groups, groups * batch, *places)), "NC"
        specs = (spec, "IO", "CN")
        found.append(_convolved(tape, lhs, tape.read(narrow), dilation, pads, ones, stride, groups, specs))
    if output_mask[2]:
        found.append(tape.run("reduce_sum", grad, axes=(0, *range(2, 2 + count)), out_sharding=None))
    return found


RULES: Mapping[str, Rule] = {
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
}
"""Rules by the name of the aten operation."""
