"""The trace of a PyTorch program of which no value is kept: each is handed on as it comes."""

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from parity.frameworks.torch.torch_memory import layout_of, storage_of
from parity.frameworks.torch.torch_trace import Recorder
from parity.frameworks.torch.torch_unread import UnreadTensor
from parity.trace.graph import Node
from parity.trace.kept_values import Keep, absent


class StreamedRecorder(Recorder):
    """Records every operation, with what `keep` makes of its value.

    Tensors live as long as the program itself needs them. Another may then get their memory: an address is a
    tensor's own only while that lives.
    """

    def __init__(self, stack: list[str], keep: Keep) -> None:
        super().__init__(stack)
        self.keep = keep
        self.memory: dict[int, StorageWeakRef] = {}

    def _append(self, node: Node) -> int:
        if isinstance(node.value, UnreadTensor):
            node.value = absent(node.value)
        node.value = self.keep(node)
        return super()._append(node)

    def _hold(self, tensor: torch.Tensor) -> None:
        if not isinstance(tensor, UnreadTensor):  # these are held by who runs the program
            self.memory.setdefault(storage_of(tensor), StorageWeakRef(tensor.untyped_storage()))

    def _forget_freed(self, tensor: torch.Tensor) -> None:
        storage = storage_of(tensor)
        if storage in self.memory and self.memory[storage].expired():
            del self.memory[storage]
            self.by_storage.pop(storage, None)
            for layout in [layout for layout in self.known if layout.storage == storage]:
                del self.known[layout]

    def _add(self, node: Node, tensor: torch.Tensor) -> int:
        self._forget_freed(tensor)
        return super()._add(node, tensor)

    def _seen(self, tensor: torch.Tensor) -> int | None:
        self._forget_freed(tensor)
        return self.known.get(layout_of(tensor))
