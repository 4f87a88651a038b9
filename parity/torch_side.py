"""PyTorch models as programs of named arrays."""

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.arrays import Arrays, hold, is_float, to_torch
from parity.noise import Program, Values
from parity.precision import running_torch
from parity.programs import Task, bind, direction, kind_of, name_outputs, targets_of
from parity.weights import Signature


class TorchModel(NamedTuple):
    """A PyTorch model as a function of its weights; the model itself is never written to.

    Attributes:
        call: `call(tensors, *args, **kwargs)`, differentiable in the tensors.
        weights: parameters and floating buffers of the state dict by name, held in float64.
        trainable: the names that gradients are taken of.
        signatures: shapes and layer kinds, for the weight plan.
        target: what to read the argument names from.
        constants: other buffers (counters, tables that are not saved), which a run gets copies of.
    """

    call: Callable[..., Any]
    weights: dict[str, Shaped[np.ndarray, "..."]]
    trainable: tuple[str, ...]
    signatures: dict[str, Signature]
    target: Callable[..., Any]
    constants: Arrays = MappingProxyType({})


def read_torch(model: Any, params: Mapping[str, Any] | None = None) -> TorchModel:
    """Read a PyTorch model: an `nn.Module`, or a function `f(params, *inputs)` of a dict of tensors.

    A module runs through `torch.func.functional_call` with tensors of the harness, so that its own
    parameters, gradients, statistics, hooks and mode stay as they are.

    Raises:
        TypeError: if `model` is neither, or a function comes without its params.
    """
    import torch

    if isinstance(model, torch.nn.Module):
        owners = {
            f"{prefix}.{leaf}" if prefix else leaf: _layer(type(module))
            for prefix, module in model.named_modules()
            for leaf, _ in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        }
        tensors: dict[str, torch.Tensor] = dict(model.named_parameters())
        trainable = tuple(name for name, p in tensors.items() if p.requires_grad and p.is_floating_point())
        saved = model.state_dict().keys()
        buffers = dict(model.named_buffers())
        tensors |= {name: b for name, b in buffers.items() if b.is_floating_point() and name in saved}
        constants = {name: hold(b) for name, b in buffers.items() if name not in tensors}
        signatures = {name: Signature(tuple(t.shape), owners[name]) for name, t in tensors.items()}

        def call(own: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
            return torch.func.functional_call(model, dict(own), args, kwargs)

        held = {name: hold(tensor) for name, tensor in tensors.items()}
        return TorchModel(call, held, trainable, signatures, model.forward, constants)
    if not callable(model) or params is None:
        raise TypeError(
            f"`torch_model` is {kind_of(model)}; it must be an nn.Module, or a function f(params, *inputs) "
            "given together with `torch_params`, a dict of its tensors"
        )
    weights = {name: hold(tensor) for name, tensor in params.items()}
    signatures = {name: Signature(array.shape) for name, array in weights.items()}
    trainable = tuple(name for name, array in weights.items() if is_float(array))
    return TorchModel(model, weights, trainable, signatures, model)


def _layer(kind: type) -> str:
    """Which of PyTorch's own layers a module is; "" for the user's, whose tensors lie as they like."""
    for parent in kind.__mro__:
        if parent.__module__.startswith("torch.nn.modules.") and parent.__name__ != "Module":
            # Variants such as LazyLinear or NonDynamicallyQuantizableLinear keep their parent's layout.
            known = [base.__name__ for base in parent.__mro__ if base.__name__ in _KNOWN]
            return known[0] if known else parent.__name__
    return ""


_KNOWN = ("Linear", "Conv1d", "Conv2d", "Conv3d", "Embedding", "EmbeddingBag")


def torch_program(model: TorchModel, task: Task, *, backward: bool = True) -> Program:
    """Outputs, loss and (with `backward`) gradients of a PyTorch model: "outputs", "loss", "gradients"."""
    import torch

    def program(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        arrays = {**model.constants, **weights}
        own = {name: to_torch(array, dtype, task.device) for name, array in arrays.items()}
        trainable = model.trainable if backward else ()
        for name in trainable:
            own[name].requires_grad_()
        given = {name: to_torch(array, dtype, task.device) for name, array in inputs.items()}
        args, kwargs = bind(model.target, 0, {name: given[name] for name in task.inputs})
        with running_torch(dtype), torch.set_grad_enabled(backward):
            out = model.call(own, *args, **kwargs)
            outputs = name_outputs(out)
            if task.torch_loss is None:
                floating = {name: value for name, value in outputs.items() if value.is_floating_point()}
                loss = torch.zeros((), dtype=getattr(torch, dtype), device=task.device)
                for name, value in floating.items():
                    loss = loss + (value * to_torch(direction(value.shape, name), dtype, task.device)).sum()
            else:
                loss = task.torch_loss(out, targets_of(given, task.inputs))
            # A loss that no weight reaches has no graph at all, and the gradients are zero.
            wanted = [own[name] for name in trainable] if loss.requires_grad else []
            grads = torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ()
        return {
            "outputs": {name: hold(value) for name, value in outputs.items()},
            "loss": {"loss": hold(loss)},
            "gradients": {
                name: np.zeros(own[name].shape) if grad is None else hold(grad)
                for name, grad in itertools.zip_longest(trainable, grads)
            },
        }

    return program
