"""PyTorch models taken apart: a function of named tensors, and what the weight plan must know of these."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.frameworks.kept_state import KeptState
from parity.frameworks.model import stored_remarks
from parity.frameworks.task import Task, type_in_words
from parity.frameworks.torch.torch_modes import compiled_remarks, training_remarks
from parity.frameworks.unread_weights import Streaming, unread_weights
from parity.numerics.arrays import Arrays, is_float, to_numpy, to_numpy_narrow
from parity.numerics.unread import shapes_only
from parity.weights import Signature
from parity.weights.layer_kinds import layer_name

if TYPE_CHECKING:
    import torch

    from parity.frameworks.torch.torch_program import TorchProgram

    Weight = torch.Tensor | Shaped[np.ndarray, "..."]

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers of a batch normalisation: it updates them in training and reads them when it is evaluated."""


class TorchModel(NamedTuple):
    """A PyTorch model as a function of its weights; the model itself is never written to.

    Attributes:
        call: `call(tensors, *args, **kwargs)`, differentiable in the tensors.
        weights: parameters and floating buffers of the state dict by name.
        trainable: the names that gradients are taken of.
        signatures: shapes and layer kinds, for the weight plan.
        target: what to read the argument names from.
        constants: other buffers (counters, tables that are not saved), which a run gets copies of.
        tables: names among `weights` that may stay without a partner: buffers of the user's own modules,
            parameters that are frozen while others are not.
        module: the `nn.Module`, if it is one.
        skip: how many leading arguments of `target` are not inputs.
        notes: what was done to the model: nothing.
        dtypes: the dtype that each weight is stored in.
        state: what else the model may change when it runs.
        updated: names of the weights that a run wrote to, such as running statistics; filled as it runs.
        updates: `updates(tensors, *args, **kwargs)`: the buffers among the weights, as a run leaves them.
    """

    call: Callable[..., object]
    weights: Arrays
    trainable: tuple[str, ...]
    signatures: dict[str, Signature]
    target: Callable[..., object]
    constants: Arrays = MappingProxyType({})
    tables: tuple[str, ...] = ()
    module: "torch.nn.Module | None" = None
    skip: int = 0
    notes: tuple[str, ...] = ()
    dtypes: Mapping[str, str] = MappingProxyType({})
    state: KeptState = KeptState()
    updated: Set[str] = frozenset()
    updates: "Callable[..., Mapping[str, torch.Tensor]]" = lambda tensors, *args, **kwargs: {}

    @property
    def keeps_state(self) -> bool:
        """Whether its runs may write to its weights: to the buffers of a module."""
        return self.module is not None

    @property
    def framework(self) -> str:
        """The framework's name."""
        return "PyTorch"

    def program(self, task: Task, *, trainable: Collection[str] | None = None) -> "TorchProgram":
        """Outputs, loss and gradients of this model.

        Args:
            task: which outputs and which loss are computed.
            trainable: names of the tensors to differentiate by; None: those of the model.
        """
        from parity.frameworks.torch.torch_program import TorchProgram

        return TorchProgram(self, task, trainable=self.trainable if trainable is None else trainable)

    def remarks(self, inputs: Arrays, task: Task) -> tuple[str, ...]:
        """What to say of training mode, of compiled code, and of weights stored in a narrow dtype.

        Args:
            inputs: arrays by name, in the reference's layout.
            task: which outputs and which loss are computed.
        """
        model = self.target if self.module is None else self.module
        training = training_remarks(self.module, drawing=task.shares is not None)
        return (*self._stored(), *training, *compiled_remarks(model))

    def _stored(self) -> tuple[str, ...]:
        return stored_remarks(self.framework, [self.dtypes[name] for name in self.trainable])


def read_torch(
    model: object, params: "Mapping[str, Weight] | None" = None, streaming: Streaming | None = None
) -> TorchModel:
    """Read a PyTorch model: an `nn.Module`, or a function `f(params, *inputs)` of a dict of tensors.

    A module runs with tensors of the harness in place of its own, and everything else that it changes is put
    back after each run: parameters, gradients, statistics, attributes, generators and mode stay as they are.

    Args:
        model: the module or function.
        params: tensors or arrays by name, for a function.
        streaming: where weights are read from that are not to be held in memory; None: they are held.

    Raises:
        TypeError: if `model` is neither, is a module of TorchScript, or a function comes without its params.
    """
    import torch

    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            "the PyTorch model is a module of TorchScript, whose weights cannot be exchanged; give the "
            "module that it was made from"
        )
    if isinstance(model, torch.nn.Module):
        return _read_module(model, streaming)
    if not callable(model) or params is None:
        raise TypeError(
            f"the PyTorch model is {type_in_words(model)}; it must be an nn.Module, or a function f(params, "
            "*inputs) given together with its tensors by name (`reference_params`, or `template` for the "
            "candidate)"
        )
    weights, dtypes = _weights(params, streaming, {})
    signatures = {name: Signature(tuple(tensor.shape)) for name, tensor in params.items()}
    trainable = tuple(name for name, array in shapes_only(weights).items() if is_float(array))
    state = KeptState(model)

    def call(own: Mapping[str, torch.Tensor], *args: object, **kwargs: object) -> object:
        with state.restored():
            return model(own, *args, **kwargs)

    return TorchModel(call, weights, trainable, signatures, model, skip=1, dtypes=dtypes, state=state)


def _weights(
    tensors: "Mapping[str, Weight]", streaming: Streaming | None, others: Mapping[str, tuple[str, ...]]
) -> tuple[Arrays, Mapping[str, str]]:
    """The weights by name, held or unread, and the dtypes that they are stored in."""
    if streaming is not None:
        return unread_weights(tensors, streaming, others)
    dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()}
    return {name: to_numpy_narrow(tensor) for name, tensor in tensors.items()}, dtypes


def _tables(model: "torch.nn.Module") -> Iterator[str]:
    """Buffers that may stay without a partner: the user's own, and statistics that training does not read."""
    from torch.nn.modules.batchnorm import _NormBase

    for prefix, module in model.named_modules():
        is_norm = isinstance(module, _NormBase)
        is_own = not _layer(type(module)) or not type(module).__module__.startswith("torch.")
        for leaf, _ in module.named_buffers(recurse=False):
            if module.training if is_norm and leaf in STATISTICS else is_own:
                yield f"{prefix}.{leaf}" if prefix else leaf


def _read_module(model: "torch.nn.Module", streaming: Streaming | None) -> TorchModel:
    import torch

    owners = {
        f"{prefix}.{leaf}" if prefix else leaf: _layer(type(module))
        for prefix, module in model.named_modules()
        for leaf, _ in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    }
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters())
    trainable = tuple(name for name, p in tensors.items() if p.requires_grad and _is_number(p))
    saved = model.state_dict().keys()
    buffers = dict(model.named_buffers())
    tensors |= {name: b for name, b in buffers.items() if _is_number(b) and name in saved}
    rest = {name: b for name, b in buffers.items() if name not in tensors}
    _require_numbers(rest)
    constants = {name: to_numpy(b) for name, b in rest.items()}
    tied = _other_names(model)
    signatures = {
        name: Signature(tuple(t.shape), owners[name], tied=tied.get(name, ())) for name, t in tensors.items()
    }
    tables = tuple(name for name in _tables(model) if name in tensors)
    if trainable:  # frozen beside trained ones: sinusoids, say; the outputs tell whether they are needed
        tables += tuple(name for name, p in model.named_parameters() if not p.requires_grad)

    state, updated = KeptState(model), set[str]()
    statistics = [name for name in tensors if name in buffers]

    def run(
        own: Mapping[str, torch.Tensor], *args: object, **kwargs: object
    ) -> tuple[object, dict[str, torch.Tensor]]:
        written = {name: own[name] for name in statistics if name in own}
        with _holding(model, own, state):
            with _noting_writes(written, updated):
                out = model(*args, **kwargs)
            after = {name: model.get_buffer(name) for name in written}
        updated.update(name for name, tensor in after.items() if tensor is not written[name])
        return out, after

    def call(own: Mapping[str, torch.Tensor], *args: object, **kwargs: object) -> object:
        return run(own, *args, **kwargs)[0]

    def updates(own: Mapping[str, torch.Tensor], *args: object, **kwargs: object) -> dict[str, torch.Tensor]:
        return run(own, *args, **kwargs)[1]

    weights, dtypes = _weights(tensors, streaming, tied)
    return TorchModel(
        call,
        weights,
        trainable,
        signatures,
        model.forward,
        constants,
        tables,
        model,
        0,
        (),
        dtypes,
        state,
        updated,
        updates,
    )


def _require_numbers(buffers: "Mapping[str, torch.Tensor]") -> None:
    """Buffers that are no weights, of which no file tells the numbers, must have them.

    Raises:
        ValueError: naming those on the meta device.
    """
    if empty := [name for name, buffer in buffers.items() if buffer.is_meta]:
        raise ValueError(
            f"the buffers {', '.join(empty)} of the PyTorch model lie on the meta device and are not saved "
            "with its weights, so nothing says what is in them; give them their values (make the module with "
            "its parameters alone on that device)"
        )


def _is_number(tensor: "torch.Tensor") -> bool:
    """Whether a tensor is floating or complex."""
    return tensor.is_floating_point() or tensor.is_complex()


def _other_names(model: "torch.nn.Module") -> dict[str, tuple[str, ...]]:
    """Names of tied parameters besides their first."""
    names: dict[int, list[str]] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(tensor), []).append(name)
    return {first: tuple(others) for first, *others in names.values() if others}


@contextlib.contextmanager
def _holding(model: "torch.nn.Module", own: "Mapping[str, torch.Tensor]", state: KeptState) -> Iterator[None]:
    """Tensors of the harness in place of the module's own under every name; the state is put back afterwards.

    `torch.func.functional_call` leaves the harness's tensors in a module that has two names.
    """
    named = [*model.named_parameters(), *model.named_buffers()]
    instead = {id(tensor): own[name] for name, tensor in named if name in own}
    with state.restored():
        for module in model.modules():
            for table in (module._parameters, module._buffers):
                for name, tensor in table.items():
                    if id(tensor) in instead:
                        table[name] = instead[id(tensor)]  # type: ignore[assignment]
        yield


@contextlib.contextmanager
def _noting_writes(statistics: "Mapping[str, torch.Tensor]", updated: set[str]) -> Iterator[None]:
    """Afterwards the names of those tensors are in `updated` that a plain run wrote other numbers to.

    They are compared because batch normalisation writes to its statistics without counting a version; not
    while a trace is recorded, which would take the comparison for the model's.
    """
    import torch
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

    if any(type(mode).__name__ != "SharedDraws" for mode in _get_current_dispatch_mode_stack()):
        yield
        return
    plain = {name: t for name, t in statistics.items() if type(t) is torch.Tensor and not _is_wrapped(t)}
    before = {name: tensor.clone() for name, tensor in plain.items()}
    yield
    updated.update(name for name, tensor in before.items() if not torch.equal(tensor, statistics[name]))


def _is_wrapped(tensor: "torch.Tensor") -> bool:
    """Whether a transform of functions is running, whose tensors have no numbers to compare."""
    import torch

    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def _layer(kind: type) -> str:
    """Which of PyTorch's own layers a module is; "" for the user's, whose tensors lie as they like."""
    own = [c for c in kind.__mro__ if c.__module__.startswith("torch.nn.modules.") and c.__name__ != "Module"]
    return layer_name(c.__name__ for c in own)
