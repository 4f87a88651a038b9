"""Fused operations of PyTorch as simpler ones, so that their inner values can be seen."""

import contextlib
from collections.abc import Callable, Iterator

import torch

from parity.frameworks.torch.torch_operations import Argument, AtenOperation, bare_name

Decomposition = Callable[..., object]
"""Computes an operation from its arguments; gives NotImplemented for those that it does not cover."""


def _biased_convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *settings: Argument
) -> object:
    """A convolution with a bias as a convolution and a sum."""
    if bias is None:
        return NotImplemented
    out = torch.ops.aten.convolution.default(x, weight, None, *settings)
    return out + bias.view(-1, *[1] * (weight.dim() - 2))


_SPLIT = (
    "addmm addbmm baddbmm addmv native_layer_norm native_group_norm native_batch_norm "
    "_native_batch_norm_legit _native_batch_norm_legit_no_training _softmax _log_softmax gelu silu mish "
    "hardswish elu leaky_relu softplus hardsigmoid log_sigmoid_forward selu celu "
    "native_layer_norm_backward native_group_norm_backward native_batch_norm_backward "
    "_softmax_backward_data _log_softmax_backward_data gelu_backward silu_backward elu_backward "
    "leaky_relu_backward softplus_backward _fused_rms_norm _fused_rms_norm_backward embedding_dense_backward "
    "addcmul addcdiv lerp mse_loss nll_loss_forward binary_cross_entropy_with_logits"
)

_table: dict[AtenOperation, Decomposition | None] = {}


def decomposition(func: AtenOperation) -> Decomposition | None:
    """How to compute a fused operation from simpler ones, or None for those recorded as they are."""
    if func not in _table:
        found: Decomposition | None = None
        name = bare_name(func)
        if func is torch.ops.aten.convolution.default:
            found = _biased_convolution
        elif name in _SPLIT.split():
            from torch._decomp import decomposition_table

            found = decomposition_table.get(func)
        elif func._can_decompose() and torch._C._dispatch_has_kernel_for_dispatch_key(
            func.name(), "CompositeImplicitAutograd"
        ):
            found = func.decompose
        _table[func] = found
    return _table[func]


@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """Without fused attention, fused encoder layers and oneDNN's LSTM, whose inner values cannot be seen."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast, fused = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(fused)
