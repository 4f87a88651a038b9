"""PyTorch models as programs of named arrays."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.arrays import Arrays, hold, hold_narrow, is_float, to_torch
from parity.noise import Values
from parity.precision import running_torch
from parity.programs import Task, bind, direction, kind_of, targets_of
from parity.trace.constants import constant
from parity.trace.graph import Kind, Trace
from parity.weights import Signature


class TorchModel(NamedTuple):
    """A PyTorch model as a function of its weights; the model itself is never written to.

    Attributes:
        call: `call(tensors, *args, **kwargs)`, differentiable in the tensors.
        weights: parameters and floating buffers of the state dict by name.
        trainable: the names that gradients are taken of.
        signatures: shapes and layer kinds, for the weight plan.
        target: what to read the argument names from.
        constants: other buffers (counters, tables that are not saved), which a run gets copies of.
        tables: names among `weights` that may stay without a JAX leaf: buffers of the user's own modules,
            parameters that are frozen while others are not.
        module: the `nn.Module`, if it is one.
        skip: how many leading arguments of `target` are not inputs.
    """

    call: Callable[..., Any]
    weights: dict[str, Shaped[np.ndarray, "..."]]
    trainable: tuple[str, ...]
    signatures: dict[str, Signature]
    target: Callable[..., Any]
    constants: Arrays = MappingProxyType({})
    tables: tuple[str, ...] = ()
    module: Any = None
    skip: int = 0


def read_torch(model: Any, params: Mapping[str, Any] | None = None) -> TorchModel:
    """Read a PyTorch model: an `nn.Module`, or a function `f(params, *inputs)` of a dict of tensors.

    A module runs through `torch.func.functional_call` with tensors of the harness, so that its own
    parameters, gradients, statistics, hooks, attributes and mode stay as they are.

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
        tied = _other_names(model)
        signatures = {
            name: Signature(tuple(t.shape), owners[name], tied=tied.get(name, ()))
            for name, t in tensors.items()
        }
        tables = tuple(name for name in tensors if name in buffers and not owners[name])
        if trainable:  # frozen beside trained ones: sinusoids, say; the outputs tell whether they are needed
            tables += tuple(name for name, p in model.named_parameters() if not p.requires_grad)

        def call(own: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
            with _as_it_was(model):
                return torch.func.functional_call(model, dict(own), args, kwargs)

        held = {name: hold_narrow(tensor) for name, tensor in tensors.items()}
        return TorchModel(call, held, trainable, signatures, model.forward, constants, tables, model)
    if not callable(model) or params is None:
        raise TypeError(
            f"`torch_model` is {kind_of(model)}; it must be an nn.Module, or a function f(params, *inputs) "
            "given together with `torch_params`, a dict of its tensors"
        )
    weights = {name: hold_narrow(tensor) for name, tensor in params.items()}
    signatures = {name: Signature(array.shape) for name, array in weights.items()}
    trainable = tuple(name for name, array in weights.items() if is_float(array))
    return TorchModel(model, weights, trainable, signatures, model, skip=1)


def _kept(grad: Any) -> Shaped[np.ndarray, "..."]:
    """A gradient in the precision it was computed in."""
    array = grad.detach().cpu()
    plain = str(array.dtype) in ("torch.float32", "torch.float64")
    return np.asarray(array.numpy()) if plain else hold(array)


def _other_names(model: Any) -> dict[str, tuple[str, ...]]:
    """Names of tied parameters besides their first."""
    names: dict[int, list[str]] = {}
    for name, tensor in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(tensor), []).append(name)
    return {first: tuple(others) for first, *others in names.values() if others}


@contextlib.contextmanager
def _as_it_was(model: Any) -> Iterator[None]:
    """Attributes that modules set while they run (old weight norm, counters, caches) are put back."""
    before = [(module, dict(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        for module, attributes in before:
            if vars(module).keys() != attributes.keys() or any(
                vars(module)[key] is not value for key, value in attributes.items()
            ):
                vars(module).clear()
                vars(module).update(attributes)


def _layer(kind: type) -> str:
    """Which of PyTorch's own layers a module is; "" for the user's, whose tensors lie as they like."""
    for parent in kind.__mro__:
        if parent.__module__.startswith("torch.nn.modules.") and parent.__name__ != "Module":
            # Variants such as LazyLinear or NonDynamicallyQuantizableLinear keep their parent's layout.
            known = [base.__name__ for base in parent.__mro__ if base.__name__ in _KNOWN]
            return known[0] if known else parent.__name__
    return ""


_KNOWN = ("Linear", "Conv1d", "Conv2d", "Conv3d", "Embedding", "EmbeddingBag")


class TorchProgram:
    """Outputs, loss and gradients of a PyTorch model: the groups "outputs", "loss" and "gradients".

    In float64 the model is lifted: float32 that it asks for by name becomes float64.
    """

    def __init__(self, model: TorchModel, task: Task, *, backward: bool = True) -> None:
        """A program of `model`; without `backward` it has no gradients."""
        self.model, self.task, self.backward = model, task, backward

    def __call__(self, weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        """Run once."""
        own, given = self._tensors(weights, inputs, dtype)
        with self._lifted(dtype):
            outputs, loss, grads = self._run(own, given, dtype)
        return {
            "outputs": {name: hold(value) for name, value in outputs.items()},
            "loss": {"loss": hold(loss)},
            "gradients": {
                name: np.zeros(own[name].shape) if grad is None else _kept(grad)
                for name, grad in grads.items()
            },
        }

    def forward(self, weights: Arrays, inputs: Arrays, dtype: str) -> Any:
        """What the model itself returns."""
        import torch

        own, given = self._tensors(weights, inputs, dtype)
        args, kwargs = bind(
            self.model.target, self.model.skip, {name: given[name] for name in self.task.inputs}
        )
        with self._lifted(dtype), running_torch(dtype), torch.inference_mode(False), torch.no_grad():
            return self.model.call(own, *args, **kwargs)

    def output_dtypes(self, weights: Arrays, inputs: Arrays, dtype: str) -> dict[str, str]:
        """The dtypes of the outputs of a run in `dtype`."""
        outputs = self.task.torch_outputs(self.forward(weights, inputs, dtype))
        return {name: str(value.dtype).removeprefix("torch.") for name, value in outputs.items()}

    def census(self, weights: Arrays, inputs: Arrays) -> Any:
        """Narrow dtypes and random numbers that a run in float32 meets, as `torch_trace.Census`."""
        from parity.trace.torch_trace import Census, module_stack

        with module_stack(self.model.module) as stack, Census(stack) as census:
            self.forward(weights, inputs, "float32")
        return census

    def trace(
        self, weights: Arrays, inputs: Arrays, backward: bool = True, *, replayable: bool = False
    ) -> Trace:
        """Run once in float64 and keep every value.

        Args:
            weights: tensors by name.
            inputs: inputs by name.
            backward: whether to record the gradients, too.
            replayable: whether to record in LAX's terms and with evaluations, as a candidate is recorded;
                otherwise operations have aten's names and no evaluations.
        """
        if self.backward and not backward:
            forward = TorchProgram(self.model, self.task, backward=False)
            return forward.trace(weights, inputs, replayable=replayable)
        from parity.trace.torch_trace import Recorder, Where, module_stack, plain_kernels

        own, given = self._tensors(weights, inputs, "float64")
        with module_stack(self.model.module) as stack, plain_kernels(), self._lifted("float64"), Where(stack):
            recorder = _replayable(stack) if replayable else Recorder(stack)
            for name, tensor in own.items():
                recorder.source(Kind.WEIGHT if name in weights else Kind.CONSTANT, name, tensor)
            for name in self.task.inputs:
                recorder.source(Kind.INPUT, name, given[name])
            with recorder:
                outputs, _, grads = self._run(own, given, "float64")
        recorder.trace.outputs = {
            "outputs": {name: recorder.node_of(value) for name, value in outputs.items()},
            "gradients": {n: recorder.node_of(grad) for n, grad in grads.items() if grad is not None},
        }
        return recorder.trace

    def _tensors(self, weights: Arrays, inputs: Arrays, dtype: str) -> tuple[dict[str, Any], dict[str, Any]]:
        lifted = dtype == "float64"
        constants = {
            name: constant(array) if lifted and is_float(array) else array
            for name, array in self.model.constants.items()
        }
        device = self.task.device
        own = {name: to_torch(array, dtype, device) for name, array in {**constants, **weights}.items()}
        if self.backward:
            for name in self.model.trainable:
                own[name].requires_grad_()
        return own, {name: to_torch(array, dtype, device) for name, array in inputs.items()}

    @staticmethod
    def _lifted(dtype: str) -> Any:
        if dtype != "float64":
            return contextlib.nullcontext()
        from parity.trace.torch_trace import lifting

        return lifting()

    def _run(
        self, own: dict[str, Any], given: dict[str, Any], dtype: str
    ) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        import torch

        task = self.task
        args, kwargs = bind(self.model.target, self.model.skip, {name: given[name] for name in task.inputs})
        trainable = self.model.trainable if self.backward else ()
        with running_torch(dtype), torch.inference_mode(False), torch.set_grad_enabled(self.backward):
            out = self.model.call(own, *args, **kwargs)
            outputs = task.torch_outputs(out)
            if task.torch_loss is None:
                loss = torch.zeros((), dtype=getattr(torch, dtype), device=task.device)
                for name, value in outputs.items():
                    if value.is_floating_point():
                        along = to_torch(direction(value.shape, name), dtype, task.device)
                        loss = loss + (value * along).sum()
            else:
                loss = task.torch_loss(out, targets_of(given, task.inputs))
            # A loss that no weight reaches has no graph at all, and the gradients are zero.
            wanted = [own[name] for name in trainable] if loss.requires_grad else []
            grads = torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ()
        return outputs, loss, dict(itertools.zip_longest(trainable, grads))


def _replayable(stack: list[str]) -> Any:
    from parity.trace.torch_replay import ReplayableRecorder

    return ReplayableRecorder(stack)


def torch_program(model: TorchModel, task: Task, *, backward: bool = True) -> TorchProgram:
    """The program of a PyTorch model."""
    return TorchProgram(model, task, backward=backward)
