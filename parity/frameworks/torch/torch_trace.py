"""The trace of a PyTorch program, forward and backward: every operation below autograd, with its values.

A dispatch mode sits below autograd and records. Hooks would miss functional code, fused heads and the steps
of an LSTM.
"""

from collections.abc import Mapping, Sequence

import torch

from parity.frameworks.torch.torch_decompositions import decomposition
from parity.frameworks.torch.torch_memory import MemoryLayout, layout_of, storage_of
from parity.frameworks.torch.torch_operations import (
    UNWRITTEN,
    Argument,
    AtenOperation,
    DispatchMode,
    bare_name,
    settings_of,
    tensors_in,
    written_tensors,
)
from parity.frameworks.torch.torch_places import here, spot_of_gradient
from parity.frameworks.torch.torch_unread import UnreadTensor
from parity.trace.graph import Node, NodeKind, Spot, Trace
from parity.trace.vocabulary import REARRANGING


class Recorder(DispatchMode):
    """Records every operation below autograd; fused ones as their decompositions."""

    def __init__(self, stack: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = Trace([], {}, {}, {})
        self.stack = stack
        self.known: dict[MemoryLayout, int] = {}
        self.by_storage: dict[int, list[int]] = {}
        self.alive: list[torch.Tensor] = []

    def source(self, kind: NodeKind, name: str, tensor: torch.Tensor) -> int:
        """A weight, input or constant as a node.

        Args:
            kind: what the tensor is to the model.
            name: of the weight or input; for a constant, what it is called in the trace.
            tensor: its value.
        """
        value = tensor if isinstance(tensor, UnreadTensor) else tensor.detach()
        node = Node(name, kind, (), value, fixed=kind is not NodeKind.INPUT)
        index = self._add(node, tensor)
        if kind is NodeKind.WEIGHT:
            self.trace.weights[name] = index
        elif kind is NodeKind.INPUT:
            self.trace.inputs[name] = index
        return index

    def node_of(self, tensor: torch.Tensor) -> int:
        """The node of a tensor; one that was never seen is a constant."""
        index = self._seen(tensor)
        return self.source(NodeKind.CONSTANT, "constant", tensor) if index is None else index

    def _seen(self, tensor: torch.Tensor) -> int | None:
        return self.known.get(layout_of(tensor))

    def stop(self, name: str, tensor: torch.Tensor, spot: Spot) -> None:
        """Note that the gradient is stopped at a value.

        Args:
            name: of what stops it.
            tensor: the value, which needs no gradient though it was computed from what does.
            spot: where.
        """
        inside_a_transform = torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # it has no memory
        value = None if inside_a_transform else self.known.get(layout_of(tensor))
        if value is not None:
            self.trace.stops.append(Node(name, NodeKind.OPERATION, (value,), tensor.detach(), spot))

    def _fused(
        self, func: AtenOperation, given: Sequence[torch.Tensor], first: int, results: Sequence[torch.Tensor]
    ) -> None:
        """Told that an operation was recorded as its decomposition, from the node `first` on."""

    def _add(self, node: Node, tensor: torch.Tensor) -> int:
        index = self._append(node)
        self.known[layout_of(tensor)] = index
        self.by_storage.setdefault(storage_of(tensor), []).append(index)
        self._hold(tensor)
        return index

    def _append(self, node: Node) -> int:
        self.trace.nodes.append(node)
        return len(self.trace.nodes) - 1

    def _hold(self, tensor: torch.Tensor) -> None:
        """While a tensor lives, its address is its own."""
        self.alive.append(tensor)

    def __torch_dispatch__(
        self,
        func: AtenOperation,
        types: Sequence[type],
        args: tuple[Argument, ...] = (),
        kwargs: Mapping[str, Argument] | None = None,
    ) -> object:
        kwargs = dict(kwargs or {})
        decomposed = decomposition(func)
        if decomposed is not None:
            first = len(self.trace.nodes)
            with self:
                result = decomposed(*args, **kwargs)
            if result is not NotImplemented:
                self._fused(func, tensors_in((args, kwargs)), first, tensors_in(result))
                return result
        given = tensors_in((args, kwargs))
        inputs = tuple(self.node_of(tensor) for tensor in given)
        written = written_tensors(func, args, kwargs)
        for tensor in written:
            for index in self.by_storage.get(storage_of(tensor), ()):
                node = self.trace.nodes[index]
                if isinstance(node.value, torch.Tensor) and storage_of(node.value) == storage_of(tensor):
                    node.value = node.value.clone()
        out = func(*args, **kwargs)
        name = bare_name(func)
        if name in UNWRITTEN:
            for made in tensors_in(out):
                made.zero_()
        fixed = name in REARRANGING and bool(inputs) and all(self.trace.nodes[i].fixed for i in inputs)
        spot, backward = self._spot()
        params = settings_of(func, args, kwargs)
        for tensor in tensors_in(out):
            before = self._seen(tensor)
            if (
                before in inputs
                and name in ("detach", "alias", "view_as", "_unsafe_view", "view")
                and not written
            ):
                continue
            detached = tensor.detach()
            node = Node(name, NodeKind.OPERATION, inputs, detached, spot, params, backward, fixed)
            index = self._add(node, detached)
            if written:
                self._refresh_views(tensor, index, name, spot, backward)
        return out

    def _refresh_views(self, tensor: torch.Tensor, index: int, name: str, spot: Spot, backward: bool) -> None:
        """Other tensors over the memory that was written have new values, too."""
        for layout, old in list(self.known.items()):
            if layout.storage == storage_of(tensor) and old != index:
                view = torch.as_strided(tensor.detach(), layout.shape, layout.strides, layout.offset)
                node = Node(name, NodeKind.OPERATION, (old, index), view, spot, {}, backward)
                self.known[layout] = self._append(node)
                self.by_storage[storage_of(tensor)].append(self.known[layout])

    def _spot(self) -> tuple[Spot, bool]:
        """Where the operation was called, and whether it belongs to the gradient."""
        spot = spot_of_gradient()
        return (here(self.stack), False) if spot is None else (spot, True)
