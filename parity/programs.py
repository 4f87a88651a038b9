"""Models as programs: deterministic functions from named arrays to named values.

Both frameworks are brought to one form, `program(weights, inputs, dtype) -> values`, with weights under
PyTorch's names and layouts. Everything above this module treats the two sides alike.
"""

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree, Shaped

from parity.arrays import Arrays, hold, is_float, to_jax, to_torch
from parity.precision import jax_device, running
from parity.trees import Tree, flatten
from parity.weights import Plan, Signature
from parity.yardstick import Program, Values

Loss = Callable[[Any, Any], Any]
"""`loss(outputs, targets) -> scalar` in one framework; `targets` is an array, or a dict of several."""


class TorchModel(NamedTuple):
    """A PyTorch model as a function of its weights; the model itself is never written to.

    Attributes:
        call: `call(tensors, *args, **kwargs)`, differentiable in the tensors.
        weights: parameters and floating buffers by name, held in float64.
        trainable: the names that gradients are taken of.
        signatures: shapes and layer kinds, for the weight plan.
        target: what to read the argument names from.
    """

    call: Callable[..., Any]
    weights: dict[str, Shaped[np.ndarray, "..."]]
    trainable: tuple[str, ...]
    signatures: dict[str, Signature]
    target: Callable[..., Any]


def torch_model(model: Any, params: Mapping[str, Any] | None = None) -> TorchModel:
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
        tensors |= {name: b for name, b in model.named_buffers() if b.is_floating_point()}
        signatures = {name: Signature(tuple(t.shape), _layer(owners[name])) for name, t in tensors.items()}

        def call(own: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
            return torch.func.functional_call(model, dict(own), args, kwargs)

        return TorchModel(
            call, {n: hold(t) for n, t in tensors.items()}, trainable, signatures, model.forward
        )
    if not callable(model) or params is None:
        raise TypeError(
            f"`torch_model` is {_kind(model)}; it must be an nn.Module, or a function f(params, *inputs) "
            "given together with `torch_params`, a dict of its tensors"
        )
    weights = {name: hold(tensor) for name, tensor in params.items()}
    signatures = {name: Signature(array.shape) for name, array in weights.items()}
    trainable = tuple(name for name, array in weights.items() if is_float(array))
    return TorchModel(model, weights, trainable, signatures, model)


def _layer(class_name: str) -> str:
    import torch

    return class_name if hasattr(torch.nn, class_name) else ""


class JaxModel(NamedTuple):
    """A JAX model as a pure function of a params tree.

    Attributes:
        call: `call(params, *args, **kwargs)`.
        leaves: the params' leaves by path, held in float64.
        tree: the structure to build params from leaves.
        target: what to read the argument names from.
        skip: how many leading arguments of `target` are not inputs.
    """

    call: Callable[..., Any]
    leaves: dict[str, Shaped[np.ndarray, "..."]]
    tree: Tree
    target: Callable[..., Any]
    skip: int


def jax_model(model: Any, params: PyTree | None = None) -> JaxModel:
    """Read a JAX model: a function `f(params, *inputs)` with its params, or a Flax NNX module.

    The params may be arrays or `jax.ShapeDtypeStruct`; the latter become zeros, to be loaded.

    Raises:
        TypeError: if `model` is neither, or a function comes without its params.
    """
    nnx = _nnx_of(model)
    if nnx is not None:
        graph, state = nnx.split(model)
        pure = nnx.to_pure_dict(state)
        leaves, tree = flatten(pure)

        def call(own: PyTree, *args: Any, **kwargs: Any) -> Any:
            filled = nnx.split(model)[1]
            nnx.replace_by_pure_dict(filled, own)
            return nnx.merge(graph, filled)(*args, **kwargs)

        return JaxModel(call, {p: hold(leaf) for p, leaf in leaves.items()}, tree, type(model).__call__, 1)
    if not callable(model) or params is None:
        raise TypeError(
            f"`jax_model` is {_kind(model)}; it must be a Flax NNX module, or a function f(params, *inputs) "
            "given together with `params`, a pytree of arrays or shapes"
        )
    leaves, tree = flatten(params)
    held = {
        p: hold(leaf) if hasattr(leaf, "__array__") else np.zeros(leaf.shape) for p, leaf in leaves.items()
    }
    return JaxModel(model, held, tree, model, 1)


def _nnx_of(model: Any) -> Any:
    """Flax's NNX if the model is one of its modules; Flax is not imported for a model that is not."""
    import sys

    if "flax.nnx" not in sys.modules:
        return None
    from flax import nnx

    return nnx if isinstance(model, nnx.Module) else None


class Task(NamedTuple):
    """What a forward and backward program needs besides the two models.

    Attributes:
        inputs: names of the model's inputs among the named arrays; the rest are targets.
        torch_loss, jax_loss: both given or both None (a fixed random projection of the outputs).
        layout: per input the permutation from PyTorch's axes to JAX's, e.g. (0, 2, 3, 1).
        device: "cpu" or "cuda".
    """

    inputs: tuple[str, ...]
    torch_loss: Loss | None = None
    jax_loss: Loss | None = None
    layout: Mapping[str, tuple[int, ...]] = {}
    device: str = "cpu"


def torch_program(model: TorchModel, task: Task, *, backward: bool = True) -> Program:
    """Outputs, loss and (with `backward`) gradients of a PyTorch model: "outputs", "loss", "gradients"."""
    import torch

    def program(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        own = {name: to_torch(array, dtype, task.device) for name, array in weights.items()}
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
                    loss = loss + (value * to_torch(_direction(value.shape, i), dtype, task.device)).sum()
            else:
                loss = task.torch_loss(out, _targets(given, task.inputs))
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


def jax_program(
    model: JaxModel,
    plan: Plan,
    trainable: Sequence[str],
    task: Task,
    *,
    gradients: Callable[[PyTree, Any, Any], PyTree] | None = None,
) -> Program:
    """Outputs, loss and gradients of a JAX model, leaves under PyTorch's names and in its layout.

    Args:
        model: the JAX side.
        plan: the weight plan.
        trainable: PyTorch's names of the leaves whose gradients are compared.
        task: inputs, losses, layout and device.
        gradients: `gradients(params, x, targets)` instead of `jax.grad` of the loss, for gradients
            written by hand.
    """
    import jax

    kept = frozenset(trainable)

    def loss_and_outputs(params: PyTree, given: dict[str, Any]) -> Any:
        args, kwargs = bind(model.target, model.skip, {name: given[name] for name in task.inputs})
        out = model.call(params, *args, **kwargs)
        outputs = name_outputs(out)
        if task.jax_loss is None:
            floating = [v for v in outputs.values() if jax.numpy.issubdtype(v.dtype, jax.numpy.floating)]
            loss = jax.numpy.zeros((), floating[0].dtype if floating else None)
            for i, value in enumerate(floating):
                loss = loss + (value * jax.numpy.asarray(_direction(value.shape, i), value.dtype)).sum()
        else:
            loss = task.jax_loss(out, _targets(given, task.inputs))
        return loss, outputs

    @jax.jit
    def run(leaves: dict[str, Any], fixed: dict[str, Any], given: dict[str, Any]) -> Any:
        def of(leaves: dict[str, Any]) -> Any:
            return loss_and_outputs(model.tree.build({**leaves, **fixed}), given)

        (loss, outputs), grads = jax.value_and_grad(of, has_aux=True)(leaves)
        if gradients is not None:
            params = model.tree.build({**leaves, **fixed})
            x = given[task.inputs[0]]
            grads, _ = flatten(gradients(params, x, _targets(given, task.inputs)))
        return loss, outputs, grads

    trained = [t for t in plan.transfers if t.torch_name in kept]

    def program(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        with running(dtype, task.device):
            device = jax_device(task.device)
            leaves = {path: to_jax(array, dtype, device) for path, array in model.leaves.items()}
            leaves |= {path: to_jax(a, dtype, device) for path, a in plan.to_jax(weights).items()}
            paths = {t.jax_path for t in trained}
            moved = {path: leaf for path, leaf in leaves.items() if path in paths}
            fixed = {path: leaf for path, leaf in leaves.items() if path not in paths}
            given = {
                name: to_jax(
                    array.transpose(task.layout[name]) if name in task.layout else array, dtype, device
                )
                for name, array in inputs.items()
            }
            loss, outputs, grads = run(moved, fixed, given)
            return {
                "outputs": {name: hold(value) for name, value in outputs.items()},
                "loss": {"loss": hold(loss)},
                "gradients": {t.torch_name: t.to_torch(hold(grads[t.jax_path])) for t in trained},
            }

    return program


def bind(
    target: Callable[..., Any], skip: int, inputs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Pass inputs by keyword where the function has arguments of those names, else by position.

    >>> bind(lambda params, x: x, 1, {"x": 3})
    ((), {'x': 3})
    >>> bind(lambda params, images: images, 1, {"x": 3})
    ((3,), {})
    """
    try:
        names = list(inspect.signature(target).parameters)[skip:]
    except (TypeError, ValueError):  # builtins and some compiled callables have no signature
        names = []
    if all(name in names for name in inputs):
        return (), dict(inputs)
    return tuple(inputs.values()), {}


def name_outputs(out: Any) -> dict[str, Any]:
    """What a model returns as named arrays: `output`, or keys, fields and positions joined by `/`.

    Raises:
        TypeError: if there is no array in it.
    """
    named = dict(_walk(out, ""))
    if not named:
        raise TypeError(f"the model returned {_kind(out)} without any array in it; return arrays or tensors")
    return named


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        yield path or "output", value
        return
    if isinstance(value, Mapping):
        children: Any = value.items()
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        children = zip(value._fields, value, strict=True)
    elif isinstance(value, tuple | list):
        children = enumerate(value)
    else:
        return
    for key, child in children:
        yield from _walk(child, f"{path}/{key}" if path else str(key))


def _direction(shape: Sequence[int], seed: int) -> Shaped[np.ndarray, "..."]:
    """A fixed random projection for an output, so that no gradient vanishes by symmetry."""
    return np.random.default_rng(seed).standard_normal(tuple(shape)).astype(np.float32).astype(np.float64)


def _targets(given: Mapping[str, Any], inputs: Sequence[str]) -> Any:
    targets = {name: value for name, value in given.items() if name not in inputs}
    return next(iter(targets.values())) if len(targets) == 1 else targets


def _kind(value: Any) -> str:
    return "a function" if inspect.isfunction(value) else f"of type {type(value).__name__}"


@contextlib.contextmanager
def said_by(framework: str) -> Iterator[None]:
    """Errors raised inside say which framework's model raised them."""
    try:
        yield
    except Exception as error:
        error.add_note(f"raised by the {framework} model")
        raise
