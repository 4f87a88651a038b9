"""PyTorch models as programs of named arrays."""

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.arrays import Arrays, hold, is_float, to_torch
from parity.noise import Program, Values
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
            f"{prefix}.{leaf}" if prefix else leaf: type(module).__name__
            for prefix, module in model.named_modules()
            for leaf, _ in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        }
        # A module's class says how its tensors lie only if it is one of PyTorch's own layers.
        tensors: dict[str, torch.Tensor] = dict(model.named_parameters())
        trainable = tuple(name for name, p in tensors.items() if p.requires_grad and p.is_floating_point())
        saved = model.state_dict().keys()
        buffers = dict(model.named_buffers())
        tensors |= {name: b for name, b in buffers.items() if b.is_floating_point() and name in saved}
        constants = {name: hold(b) for name, b in buffers.items() if name not in tensors}
        signatures = {name: Signature(tuple(t.shape), _layer(owners[name])) for name, t in tensors.items()}

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


def _layer(class_name: str) -> str:
    import torch

    return class_name if hasattr(torch.nn, class_name) else ""


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
        with torch.set_grad_enabled(backward):
            out = model.call(own, *args, **kwargs)
            outputs = name_outputs(out)
            if task.torch_loss is None:
                floating = [value for value in outputs.values() if value.is_floating_point()]
                loss = torch.zeros((), dtype=getattr(torch, dtype), device=task.device)
                for i, value in enumerate(floating):
                    loss = loss + (value * to_torch(direction(value.shape, i), dtype, task.device)).sum()
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
