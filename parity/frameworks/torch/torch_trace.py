"""The trace of a PyTorch program, forward and backward, and its lifting to float64.

Two modes work together. A function mode sits above autograd: it turns requests for float32 into float64
and notes where each operation was called, also for its gradient. A dispatch mode sits below: it records
every operation with its values. Hooks would miss functional code, fused heads and the steps of an LSTM.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, ClassVar

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from parity.frameworks.authors import is_framework
from parity.frameworks.torch.torch_modes import uncompiled
from parity.report.errors import by_the_harness
from parity.trace.graph import Node, NodeKind, Spot, Trace
from parity.trace.rounded_constants import constant
from parity.trace.vocabulary import REARRANGING

NARROW = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
}


FLOAT32_SOFTPLUS, FLOAT64_SOFTPLUS = 16.0, 40.0
"""Where log(1 + exp(x)) becomes x in each precision."""


def _hardsigmoid(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    return torch.clamp(x + 3, 0, 6) / 6


def _hardswish(x: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    return x * torch.clamp(x + 3, 0, 6) / 6


EXACT = {
    torch.nn.functional.hardsigmoid: _hardsigmoid,
    torch.nn.functional.hardswish: _hardswish,
}
"""Functions whose kernels hold a constant (1/6) in float32 whatever the dtype, by what they mean."""


class Lift(TorchFunctionMode):
    """Requests for a narrow floating dtype become requests for float64; narrow tensors met are widened."""

    _CASTS: ClassVar = {"float", "half", "bfloat16", "cfloat", "chalf"}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in self._CASTS and func is getattr(torch.Tensor, name, None):
            return args[0].to(torch.complex128) if name[0] == "c" else args[0].double()
        if func is torch.nn.functional.rms_norm:
            # The default eps is that of the dtype: of the user's float32, not of the lifted float64.
            bound = dict(
                zip(("input", "normalized_shape", "weight", "eps"), args, strict=False), **(kwargs or {})
            )
            if bound.get("eps") is None:
                args, kwargs = (), {**bound, "eps": torch.finfo(torch.float32).eps}
        if func is torch.nn.functional.softplus:
            # Above the threshold float32 cannot tell softplus from its argument; float64 can.
            bound = dict(zip(("input", "beta", "threshold"), args, strict=False), **(kwargs or {}))
            beta, threshold = bound.get("beta", 1), bound.get("threshold", 20)
            if threshold >= FLOAT32_SOFTPLUS:
                bound = {"input": bound["input"], "beta": beta, "threshold": FLOAT64_SOFTPLUS}
            args, kwargs = (), bound
        if func in EXACT:
            return EXACT[func](*args, **{k: v for k, v in (kwargs or {}).items() if k != "inplace"})
        if name in ("__get__", "__set__") or name.startswith("is_"):
            return func(*args, **(kwargs or {}))
        with by_the_harness("lifting the PyTorch model to float64"):  # inside the model's own forward pass
            args, kwargs = tree_map(self._wider, (args, dict(kwargs or {})))
        return func(*args, **kwargs)

    @staticmethod
    def _wider(value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return NARROW.get(value, value)
        if isinstance(value, torch.Tensor) and value.dtype in NARROW and not value.requires_grad:
            if type(value) is not torch.Tensor:
                return value.to(NARROW[value.dtype])
            narrow = value.detach() if value.is_complex() else value.detach().float()
            return torch.from_numpy(constant(narrow.numpy(force=True)))
        return value


@contextlib.contextmanager
def lifting() -> Iterator[None]:
    """Inside, a PyTorch model computes in float64 whatever dtypes it asks for; limits stay float32's."""
    finfo = torch.finfo
    narrow = {torch.float64: torch.float32}

    class LimitsType(type):
        """A type, not a function: what is imported inside may ask for instances of `torch.finfo`."""

        def __call__(cls, dtype: torch.dtype | None = None) -> Any:
            return finfo(narrow.get(dtype, dtype) if dtype is not None else torch.float32)

        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, finfo)

    class OfFloat32(metaclass=LimitsType):
        """`torch.finfo`, which gives the limits of float32 for float64."""

    torch.finfo = OfFloat32  # type: ignore[misc,assignment]
    try:
        with uncompiled(), Lift():
            yield
    finally:
        torch.finfo = finfo  # type: ignore[misc]


class Where(TorchFunctionMode):
    """Notes the module and the author's line of every operation, also on its gradient's nodes."""

    def __init__(self, stack: list[str]) -> None:
        super().__init__()
        self.stack = stack

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and leaf.grad_fn is not None:
                self._mark(leaf.grad_fn, here(self.stack))
        return out

    @staticmethod
    def _mark(node: Any, spot: Spot) -> None:
        waiting = [node]
        while waiting:
            node = waiting.pop()
            if node is None or "parity" in node.metadata or "AccumulateGrad" in node.name():
                continue
            node.metadata["parity"] = spot
            waiting += [following for following, _ in node.next_functions]


ENTRY = os.path.join("parity", "frameworks", "torch", "torch_program.py")
"""The file from which models are called."""


def here(stack: list[str]) -> Spot:
    """The innermost module and the innermost line of the model's author."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.endswith(ENTRY):  # what lies above is who called the check
            break
        if not is_framework(frame.f_code.co_filename):
            return Spot(stack[-1] if stack else "", frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return Spot(stack[-1] if stack else "")


def written_name(name: str) -> str:
    """A module's path in the code as it was written: without the wrappers of `torch.compile`."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


@contextlib.contextmanager
def module_stack(model: Any) -> Iterator[list[str]]:
    """The names of the modules whose forward is running, innermost last; through hooks on no module."""
    stack: list[str] = []
    modules = model.named_modules() if model is not None else ()
    names = {id(module): written_name(name) for name, module in modules}
    hooks = torch.nn.modules.module

    def enter(module: Any, args: Any) -> None:
        stack.append(names.get(id(module), stack[-1] if stack else ""))

    def leave(module: Any, args: Any, out: Any) -> None:
        if stack:
            stack.pop()

    handles = [
        hooks.register_module_forward_pre_hook(enter),
        hooks.register_module_forward_hook(leave, always_call=True),
    ]
    try:
        with warnings.catch_warnings():
            # Compiled modules warn of hooks on all modules; these do nothing that the user could see.
            warnings.filterwarnings("ignore", "Using `torch.compile.module.` when there are global hooks")
            yield stack
    finally:
        for handle in handles:
            handle.remove()


Key = tuple[int, tuple[int, ...], tuple[int, ...], int, torch.dtype, tuple[bool, bool]]


class _Mode(TorchDispatchMode):
    """A dispatch mode that does not wake the compiler: importing it takes seconds."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Recorder(_Mode):
    """Records every operation below autograd; fused ones as their decompositions."""

    def __init__(self, stack: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = Trace([], {}, {}, {})
        self.stack = stack
        self.known: dict[Key, int] = {}
        self.by_storage: dict[int, list[int]] = {}
        self.alive: list[Any] = []  # while a tensor lives, its address is its own

    def source(self, kind: NodeKind, name: str, tensor: torch.Tensor) -> int:
        """A weight, input or constant as a node.

        Args:
            kind: what the tensor is to the model.
            name: of the weight or input; for a constant, what it is called in the trace.
            tensor: its value.
        """
        node = Node(name, kind, (), tensor.detach(), fixed=kind is not NodeKind.INPUT)
        index = self._add(node, tensor)
        if kind is NodeKind.WEIGHT:
            self.trace.weights[name] = index
        elif kind is NodeKind.INPUT:
            self.trace.inputs[name] = index
        return index

    def node_of(self, tensor: torch.Tensor) -> int:
        """The node of a tensor; one that was never seen is a constant."""
        index = self.known.get(key_of(tensor))
        return self.source(NodeKind.CONSTANT, "constant", tensor) if index is None else index

    def _add(self, node: Node, tensor: torch.Tensor) -> int:
        self.trace.nodes.append(node)
        index = len(self.trace.nodes) - 1
        self.known[key_of(tensor)] = index
        self.by_storage.setdefault(storage_of(tensor), []).append(index)
        self.alive.append(tensor)
        return index

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        decomposed = decomposition(func)
        if decomposed is not None:
            with self:
                result = decomposed(*args, **kwargs)
            if result is not NotImplemented:
                return result
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        inputs = tuple(self.node_of(tensor) for tensor in given)
        written = written_tensors(func, args, kwargs)
        for tensor in written:
            for index in self.by_storage.get(storage_of(tensor), ()):
                node = self.trace.nodes[index]
                if storage_of(node.value) == storage_of(tensor):
                    node.value = node.value.clone()
        out = func(*args, **kwargs)
        name = func.__name__.partition(".")[0]
        fixed = name in REARRANGING and bool(inputs) and all(self.trace.nodes[i].fixed for i in inputs)
        spot, backward = self._spot()
        params = settings_of(func, args, kwargs)
        outs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        for tensor in outs:
            before = self.known.get(key_of(tensor))
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
        for key, old in list(self.known.items()):
            if key[0] == storage_of(tensor) and old != index:
                size, stride, offset = key[1], key[2], key[3]
                view = torch.as_strided(tensor.detach(), size, stride, offset)
                node = Node(name, NodeKind.OPERATION, (old, index), view, spot, {}, backward)
                self.trace.nodes.append(node)
                self.known[key] = len(self.trace.nodes) - 1
                self.by_storage[storage_of(tensor)].append(self.known[key])

    def _spot(self) -> tuple[Spot, bool]:
        running: Any = torch._C._current_autograd_node()
        if running is not None:
            return running.metadata.get("parity", Spot()), True
        return here(self.stack), False


def storage_of(tensor: torch.Tensor) -> int:
    """The address of a tensor's memory."""
    return int(tensor.untyped_storage().data_ptr())


def key_of(tensor: torch.Tensor) -> Key:
    """What tells a tensor from others: its memory, how it lies there, and how it is read from it."""
    return (
        storage_of(tensor),
        tuple(tensor.shape),
        tuple(tensor.stride()),
        int(tensor.storage_offset()),
        tensor.dtype,
        (tensor.is_conj(), tensor.is_neg()),
    )


def written_tensors(func: Any, args: Any, kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The tensors among the arguments that an operation writes to.

    Args:
        func: the operation, an `OpOverload`.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    arguments = func._schema.arguments
    given = [
        *zip(arguments, args, strict=False),
        *((a, kwargs[a.name]) for a in arguments if a.name in kwargs),
    ]
    written = [value for a, value in given if a.alias_info is not None and a.alias_info.is_write]
    return [leaf for leaf in tree_leaves(written) if isinstance(leaf, torch.Tensor)]


def settings_of(func: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an operation that are not tensors, by the names of its schema.

    Args:
        func: the operation, an `OpOverload`.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    named = {a.name: value for a, value in zip(func._schema.arguments, args, strict=False)}
    named |= kwargs
    return {
        name: value
        for name, value in named.items()
        if value is not None and not any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(value))
    }


def _convolution(x: Any, weight: Any, bias: Any, *settings: Any) -> Any:
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

_table: dict[Any, Callable[..., Any] | None] = {}


def decomposition(func: Any) -> Callable[..., Any] | None:
    """How to compute a fused operation from simpler ones, or None for those recorded as they are."""
    if func not in _table:
        found: Callable[..., Any] | None = None
        name = func.__name__.partition(".")[0]
        if func is torch.ops.aten.convolution.default:
            found = _convolution
        elif name in _SPLIT.split():
            from torch._decomp import decomposition_table

            found = decomposition_table.get(func)
        elif func._can_decompose() and torch._C._dispatch_has_kernel_for_dispatch_key(
            func.name(), "CompositeImplicitAutograd"
        ):
            found = func.decompose
        _table[func] = found
    return _table[func]


class Counter(_Mode):
    """What a model runs: the dtypes it holds values in, and where it draws random numbers."""

    def __init__(self, stack: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stack = stack
        self.narrow: dict[str, Spot] = {}
        self.random: dict[str, Spot] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.random.setdefault(func.__name__.partition(".")[0], here(self.stack))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and leaf.dtype in (torch.bfloat16, torch.float16):
                self.narrow.setdefault(str(leaf.dtype).removeprefix("torch."), here(self.stack))
        return out


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
