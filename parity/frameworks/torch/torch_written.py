"""The trace of a PyTorch program as it was written, in its own dtypes, of which no value is kept."""

from collections.abc import Sequence

import torch

from parity.frameworks.torch.torch_lift import ROUNDED
from parity.frameworks.torch.torch_memory import layout_of
from parity.frameworks.torch.torch_operations import AtenOperation, bare_name
from parity.frameworks.torch.torch_streaming import StreamedRecorder
from parity.trace.graph import Node
from parity.trace.kept_values import forget
from parity.trace.rounded_uses import INSIDE_A_KERNEL, written_dtype
from parity.trace.vocabulary import CASTS, names

NORMS = names("""
    native_layer_norm native_group_norm native_batch_norm _native_batch_norm_legit _fused_rms_norm
    _native_batch_norm_legit_no_training
""")
"""Kernels whose statistics are in float32 in both frameworks; to keep them narrow is another layer."""


class WrittenRecorder(StreamedRecorder):
    """Records a run as it was written, in its own dtypes; inside a narrow kernel they say nothing."""

    def __init__(self, stack: list[str]) -> None:
        super().__init__(stack, forget)

    def _append(self, node: Node) -> int:
        node.written = written_dtype(node)
        return super()._append(node)

    def _fused(
        self, func: AtenOperation, given: Sequence[torch.Tensor], first: int, results: Sequence[torch.Tensor]
    ) -> None:
        narrow = any(tensor.dtype in ROUNDED for tensor in given)
        if not narrow or bare_name(func) in NORMS:
            return
        nodes = self.trace.nodes
        for node in nodes[first:]:
            node.written = INSIDE_A_KERNEL
        for tensor in results:
            index = self.known.get(layout_of(tensor), -1)
            while index >= first:
                nodes[index].written = str(tensor.dtype).removeprefix("torch.")
                index = nodes[index].inputs[0] if nodes[index].operation in CASTS else -1
