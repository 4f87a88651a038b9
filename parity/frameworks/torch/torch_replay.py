"""The trace of a PyTorch program that can be replayed: every operation as LAX evaluations in NumPy.

Rules say how an operation is put in LAX's terms. What they compute is held against PyTorch's own result, and
that result is what the trace holds. An operation without a rule, or one that a rule gets wrong, is one
evaluation under aten's name that asks PyTorch itself.

Tensors share memory. Writing to one changes others; their new values are evaluations, too, made when they are
next read: what the tensor was before, with the part that was written put in.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped

from parity.frameworks.torch.aliasing import overlap, rebuilt
from parity.frameworks.torch.aten import largest, results_apart, rule_of, simpler
from parity.frameworks.torch.torch_calls import always, repeated
from parity.frameworks.torch.torch_memory import MemoryLayout, as_array, layout_of, storage_of
from parity.frameworks.torch.torch_operations import (
    UNWRITTEN,
    Argument,
    AtenOperation,
    bare_name,
    settings_of,
    tensors_in,
    written_tensors,
)
from parity.frameworks.torch.torch_tape import Ref, Tape, UntranslatedError
from parity.frameworks.torch.torch_trace import Recorder
from parity.trace.graph import Node, Spot

Array = Shaped[np.ndarray, "..."]

RESHAPING = frozenset({"reshape", "squeeze", "broadcast_in_dim"})
"""Operations after which as many entries stand in the same order."""


class Write(NamedTuple):
    """Values that were written into memory: their node, where they lie, and where that was asked for."""

    node: int
    layout: MemoryLayout
    spot: Spot
    backward: bool


class ReplayableRecorder(Recorder):
    """Records every operation below autograd together with a function that computes it again.

    Attributes:
        untranslated: aten's name of every operation that is asked of PyTorch itself, and why.
    """

    def __init__(self, stack: list[str]) -> None:
        super().__init__(stack)
        self.untranslated: dict[str, str] = {}
        self.writes: dict[int, list[Write]] = {}
        self.included: dict[MemoryLayout, int] = {}  # how many writes to its memory a tensor's node has in it
        self.owners: dict[int, int] = {}  # the memory that a node's value is a view of

    def node_of(self, tensor: torch.Tensor) -> int:
        """The node of a tensor as its memory is now."""
        index = super().node_of(tensor)
        layout = layout_of(tensor)
        writes = self.writes.get(layout.storage, [])
        for write in writes[self.included[layout] :]:
            index = self._overwritten(layout, index, write)
        self.known[layout], self.included[layout] = index, len(writes)
        return index

    def _add(self, node: Node, tensor: torch.Tensor) -> int:
        node.value = as_array(node.value)
        index = super()._add(node, tensor)
        self.owners[index] = storage_of(tensor)
        self._is_of(tensor, index)
        return index

    def _is_of(self, tensor: torch.Tensor, index: int) -> None:
        """From now on a tensor's value is that of a node."""
        layout = layout_of(tensor)
        self.known[layout], self.included[layout] = index, len(self.writes.get(layout.storage, []))
        self.alive.append(tensor)

    def _holds(self, index: int, storage: int) -> None:
        self.owners[index] = storage
        self.by_storage.setdefault(storage, []).append(index)

    def _shares(self, index: int, inputs: Sequence[int]) -> None:
        """Note whose memory the value of a node is a view of."""
        nodes = self.trace.nodes
        for producer in inputs:
            if producer in self.owners and np.may_share_memory(nodes[index].value, nodes[producer].value):
                return self._holds(index, self.owners[producer])
        return None

    def _keep_values(self, storage: int) -> None:
        """Memory is about to be written to: nodes whose values are views of it get their own."""
        for index in self.by_storage.pop(storage, ()):
            if index < len(self.trace.nodes):
                node = self.trace.nodes[index]
                node.value = np.array(node.value)
                self.owners.pop(index, None)

    def __torch_dispatch__(
        self,
        func: AtenOperation,
        types: Sequence[type],
        args: tuple[Argument, ...] = (),
        kwargs: Mapping[str, Argument] | None = None,
    ) -> object:
        kwargs = dict(kwargs or {})
        split = simpler(func)
        if split is not None:
            with self:
                result = split(*args, **kwargs)
            if result is not NotImplemented:
                return result
        given = tensors_in((args, kwargs))
        known = {id(tensor): self.node_of(tensor) for tensor in given}
        written = written_tensors(func, args, kwargs)
        for tensor in written:
            self._keep_values(storage_of(tensor))
        out = func(*args, **kwargs)
        if bare_name(func) in UNWRITTEN:
            for made in tensors_in(out):
                made.zero_()
        places = {layout_of(tensor) for tensor in written}
        results = [*written, *(made for made in tensors_in(out) if layout_of(made) not in places)]
        if results:
            spot, backward = self._spot()
            tape = Tape(self.trace, known, results, spot, backward, self._shares)
            nodes = self._translated(tape, func, args, kwargs)
            if nodes is None:
                nodes = self._asked_of_torch(tape, func, args, kwargs, given)
            for position, (tensor, index) in enumerate(zip(results, nodes, strict=True)):
                self._is_of(tensor.detach(), index)
                if position < len(written):
                    self._written(tensor, Write(index, layout_of(tensor), spot, backward))
        return out

    def _written(self, tensor: torch.Tensor, write: Write) -> None:
        layout = layout_of(tensor)
        self.writes.setdefault(layout.storage, []).append(write)
        self.included[layout] += 1

    def _translated(
        self,
        tape: Tape,
        func: AtenOperation,
        args: Sequence[Argument],
        kwargs: Mapping[str, Argument],
    ) -> Sequence[int] | None:
        """The nodes of the results by a rule, or None if there is none that holds."""
        rule = rule_of(func)
        nodes, evaluations = self.trace.nodes, self.trace.evaluations
        before = len(nodes), len(evaluations)
        why = "no rule"
        if rule is not None:
            kept = {
                a.name: kwargs[a.name] for a in func._schema.arguments if a.name in kwargs and not a.is_out
            }
            try:
                found = rule(tape, *args, **kept)
                refs = [found] if isinstance(found, Ref) else list(found)
                refs = self._fitted(tape, refs)
                scale = max((largest(tape.value(i)) for i in tape.known.values()), default=0.0)
                why = results_apart([tape.value(r) for r in refs], [as_array(t) for t in tape.out], scale)
            except UntranslatedError as error:
                why = str(error) or "not with these arguments"
            except Exception as error:  # arguments that a rule never met must not end a check
                why = f"{type(error).__name__}: {error}"
            else:
                if not why:
                    for ref, tensor in zip(refs, tape.out, strict=True):
                        self._settle(ref, tensor, before[0])
                    return refs
        del nodes[before[0] :], evaluations[before[1] :]
        self.untranslated.setdefault(bare_name(func), why)
        return None

    def _settle(self, ref: int, tensor: torch.Tensor, first: int) -> None:
        """Put PyTorch's own numbers into a result, and into what it only reshapes, from node `first` on."""
        node = self.trace.nodes[ref]
        while ref >= first and node.step >= 0:
            node.value = as_array(tensor).reshape(node.value.shape)
            self._holds(ref, storage_of(tensor))
            if node.operation not in RESHAPING or len(node.inputs) != 1:
                break
            ref, size = node.inputs[0], node.value.size
            node = self.trace.nodes[ref]
            if node.value.size != size:
                break

    @staticmethod
    def _fitted(tape: Tape, refs: Sequence[Ref]) -> list[Ref]:
        """Results in the dtypes and shapes of the tensors that they belong to, or are written to."""
        if len(refs) != len(tape.out):
            raise UntranslatedError(f"{len(refs)} results instead of {len(tape.out)}")
        fitted = [tape.convert(r, as_array(t).dtype) for r, t in zip(refs, tape.out, strict=True)]
        return [tape.broadcast(r, t.shape) for r, t in zip(fitted, tape.out, strict=True)]

    def _asked_of_torch(
        self,
        tape: Tape,
        func: AtenOperation,
        args: Sequence[Argument],
        kwargs: Mapping[str, Argument],
        given: Sequence[torch.Tensor],
    ) -> Sequence[int]:
        """One evaluation under aten's name."""
        name = bare_name(func)
        inputs: Sequence[int] = [tape.known[id(tensor)] for tensor in given]
        values = [as_array(tensor.detach()) for tensor in tape.out]
        if torch.Tag.nondeterministic_seeded in func.tags:
            function = always(values)
            if name.endswith(("_", "_like")):  # a tensor that only lends its shape
                inputs = []
        else:
            function = repeated(func, args, kwargs, values) if given else always(values)
        nodes = tape.record(name, settings_of(func, args, kwargs), inputs, values, function)
        for index, tensor in zip(nodes, tape.out, strict=True):
            self._holds(index, storage_of(tensor))
        return nodes

    def _overwritten(self, layout: MemoryLayout, index: int, write: Write) -> int:
        """The node of a tensor after other values were written into its memory."""
        touched = overlap(layout, write.layout)
        if touched == "none":
            return index
        tape = Tape(self.trace, {}, (), write.spot, write.backward, self._shares)
        if touched == "same":
            return tape.reshape(Ref(write.node), layout.shape)
        inputs = [write.node] if touched == "all" else [index, write.node]
        params = {"shape": layout.shape, "strides": layout.strides, "offset": layout.offset}
        function = rebuilt(layout, write.layout)
        return tape.emit("gather" if touched == "all" else "scatter", params, inputs, function)[0]
