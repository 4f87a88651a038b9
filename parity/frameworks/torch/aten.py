"""The rules by which aten's operations become LAX evaluations, and what is split into simpler ones first."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Shaped

from parity.frameworks.torch import (
    aten_convolutions,
    aten_creation,
    aten_elementwise,
    aten_indexing,
    aten_ordering,
    aten_pooling,
    aten_reductions,
    aten_shapes,
)
from parity.frameworks.torch.torch_decompositions import Decomposition, decomposition
from parity.frameworks.torch.torch_operations import Argument, AtenOperation, bare_name
from parity.frameworks.torch.torch_tape import Rule
from parity.numerics.noise import ordinary

Array = Shaped[np.ndarray, "..."]

CLOSE = 1e-9
"""Difference of a rule's result from PyTorch's, relative to the largest entry, up to which the rule holds.

Rounding is a thousand times smaller, a wrong rule is not.
"""

RULES: Mapping[str, Rule] = {
    **aten_creation.RULES,
    **aten_elementwise.RULES,
    **aten_shapes.RULES,
    **aten_reductions.RULES,
    **aten_ordering.RULES,
    **aten_indexing.RULES,
    **aten_convolutions.RULES,
    **aten_pooling.RULES,
}
"""Rules by the name of the aten operation, without its overload and the underscore of writing in place."""

_NAMES = (
    "_safe_softmax sigmoid_backward tanh_backward index_add index_copy index_fill upsample_nearest1d "
    "upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d "
    "upsample_linear1d upsample_bilinear2d upsample_bicubic2d reflection_pad1d reflection_pad2d "
    "reflection_pad3d replication_pad1d replication_pad2d replication_pad3d im2col pixel_shuffle "
    "pixel_unshuffle glu glu_backward _prelu_kernel _prelu_kernel_backward hardshrink softshrink logit "
    "nan_to_num binary_cross_entropy binary_cross_entropy_backward smooth_l1_loss "
    "smooth_l1_loss_backward huber_loss huber_loss_backward logsumexp hardtanh_backward logaddexp "
    "threshold mse_loss_backward nll_loss_backward nll_loss2d_forward nll_loss2d_backward "
    "hardswish_backward mish_backward hardsigmoid_backward xlogy diag_embed addr trace "
    "native_dropout_backward log_sigmoid_backward soft_margin_loss grid_sampler_2d frac aminmax take "
    "channel_shuffle masked_fill_backward rot90 heaviside copysign deg2rad rad2deg unfold_backward "
    "diagonal_backward diagonal_scatter _weight_norm_interface _weight_norm_interface_backward "
    "_euclidean_dist col2im _unsafe_masked_index tril_indices triu_indices "
    "_unsafe_masked_index_put_accumulate"
)

SPLIT = frozenset(_NAMES.split())
"""Operations that PyTorch itself can put down to simpler ones, besides those that every recorder splits."""


def rule_of(func: AtenOperation) -> Rule | None:
    """The rule of an operation; that of `add` also serves `add_`."""
    name = bare_name(func)
    return RULES.get(name) or (RULES.get(name[:-1]) if name.endswith("_") else None)


@functools.cache
def simpler(func: AtenOperation) -> Decomposition | None:
    """How to compute an operation from simpler ones, or None if it stands for itself."""
    from torch._decomp import decomposition_table

    found = decomposition(func)
    if found is not None:
        return found
    name = bare_name(func)
    if name in ("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"):
        return functools.partial(_uneven, decomposition_table.get(func))
    if name in SPLIT:
        return decomposition_table.get(func)
    if name.endswith("_") and name[:-1] not in RULES and hasattr(torch.ops.aten, name[:-1]):
        functional = getattr(getattr(torch.ops.aten, name[:-1]), func._overloadname, None)
        if functional is not None and (decomposition(functional) is not None or name[:-1] in SPLIT):
            return functools.partial(_in_place, functional)
    return None


def _in_place(
    functional: Callable[..., torch.Tensor], tensor: torch.Tensor, *args: Argument, **kwargs: Argument
) -> torch.Tensor:
    return tensor.copy_(functional(tensor, *args, **kwargs))


def _uneven(split: Decomposition | None, x: torch.Tensor, output_size: Sequence[int]) -> object:
    """An average over parts of unequal size; equal ones are an ordinary pooling."""
    count = len(output_size)
    even = all(n % m == 0 for n, m in zip(x.shape[-count:], output_size, strict=True))
    return NotImplemented if even or split is None else split(x, output_size)


def largest(value: Array) -> float:
    """The largest magnitude, without what is infinite, or stands for it in a mask."""
    if value.dtype.kind != "f":
        return 1.0
    finite = value[np.isfinite(value)]
    return float(np.max(np.abs(finite), where=ordinary(finite), initial=0.0))


def results_apart(values: Sequence[Array], wanted: Sequence[Array], scale: float) -> str:
    """In what a rule's results are not PyTorch's; empty if they are.

    Args:
        values: the rule's.
        wanted: PyTorch's.
        scale: the largest operand; where a sum cancels, its rounding is relative to that.
    """
    for value, other in zip(values, wanted, strict=True):
        if value.shape != other.shape or value.dtype != other.dtype:
            return f"{value.dtype}{value.shape} instead of {other.dtype}{other.shape}"
        if value.dtype.kind in "fc":
            allowed = CLOSE * max(scale, largest(other))
            if not np.allclose(value, other, rtol=CLOSE, atol=allowed, equal_nan=True):
                return "other values"
        elif not np.array_equal(value, other):
            return "other values"
    return ""
