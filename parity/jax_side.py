"""JAX models as programs of named arrays, leaves under PyTorch's names and in its layout."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree, Shaped

from parity.arrays import Arrays, hold, to_jax
from parity.noise import Program, Values
from parity.precision import jax_device, running
from parity.programs import Task, bind, direction, kind_of, name_outputs, targets_of
from parity.trees import Tree, flatten
from parity.weights import Plan


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


def read_jax(model: Any, params: PyTree | None = None) -> JaxModel:
    """Read a JAX model: a function `f(params, *inputs)` with its params, or a Flax NNX module.

    The params may be arrays or `jax.ShapeDtypeStruct`; the latter become zeros, to be loaded.

    Raises:
        TypeError: if `model` is neither, or a function comes without its params.
    """
    import jax

    nnx = _nnx_of(model)
    if nnx is not None:
        graph, state, rest = nnx.split(model, (nnx.Param, nnx.BatchStat), ...)  # rest: random streams
        pure = nnx.to_pure_dict(state)
        leaves, tree = flatten(pure)

        def call(own: PyTree, *args: Any, **kwargs: Any) -> Any:
            filled = jax.tree.map(lambda leaf: leaf, state)  # replacing works in place, on this copy
            nnx.replace_by_pure_dict(filled, own)
            return nnx.merge(graph, filled, rest, copy=True)(*args, **kwargs)

        return JaxModel(call, _held(leaves), tree, type(model).__call__, 1)
    if not callable(model) or params is None:
        raise TypeError(
            f"`jax_model` is {kind_of(model)}; it must be a Flax NNX module, or a function f(params, "
            "*inputs) given together with `params`, a pytree of arrays or shapes"
        )
    leaves, tree = flatten(params)
    return JaxModel(model, _held(leaves), tree, model, 1)


def _held(leaves: dict[str, Any]) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Leaves as NumPy arrays; of those that have only a shape, zeros to be loaded."""
    return {
        path: hold(leaf) if hasattr(leaf, "__array__") else np.zeros(leaf.shape)
        for path, leaf in leaves.items()
    }


def _nnx_of(model: Any) -> Any:
    """Flax's NNX if the model is one of its modules; Flax is not imported for a model that is not."""
    if "flax.nnx" not in sys.modules:
        return None
    from flax import nnx

    return nnx if isinstance(model, nnx.Module) else None


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
            floating = {n: v for n, v in outputs.items() if jax.numpy.issubdtype(v.dtype, jax.numpy.floating)}
            loss = jax.numpy.zeros((), next((v.dtype for v in floating.values()), None))
            for name, value in floating.items():
                loss = loss + (value * jax.numpy.asarray(direction(value.shape, name), value.dtype)).sum()
        else:
            loss = task.jax_loss(out, targets_of(given, task.inputs))
        return loss, outputs

    @jax.jit
    def run(leaves: dict[str, Any], fixed: dict[str, Any], given: dict[str, Any]) -> Any:
        def of(leaves: dict[str, Any]) -> Any:
            return loss_and_outputs(model.tree.build({**leaves, **fixed}), given)

        (loss, outputs), grads = jax.value_and_grad(of, has_aux=True)(leaves)
        if gradients is not None:
            params = model.tree.build({**leaves, **fixed})
            x = given[task.inputs[0]]
            grads, _ = flatten(gradients(params, x, targets_of(given, task.inputs)))
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
