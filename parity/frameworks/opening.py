"""Which framework an object belongs to, and the object opened as a model of it."""

import functools
import sys
from collections.abc import Iterable, Mapping
from types import CodeType

from parity.frameworks.model import Model
from parity.frameworks.task import type_in_words
from parity.frameworks.unread_weights import Streaming
from parity.numerics.arrays import Arrays, Params


def open_model(
    model: object,
    params: Params | None,
    inputs: Arrays,
    *,
    default: str = "JAX",
    role: str = "model",
    streaming: Streaming | None = None,
    drawing: bool = False,
) -> Model:
    """Open a model of either framework.

    An `nn.Module` is PyTorch's, and so is a function whose params hold a tensor. Everything else that JAX's
    libraries know, and a function with a pytree of arrays, is JAX's. A function whose params are NumPy
    arrays could be either: the modules that its code names tell, else `default` decides.

    Args:
        model: the user's object.
        params: its weights, or their shapes; None where it has its own.
        inputs: arrays in its own layout, by argument name.
        default: "PyTorch" or "JAX", for functions of NumPy arrays.
        role: what to call it in messages: "reference" or "candidate".
        streaming: where weights are read from that are not to be held in memory; None: they are held.
        drawing: whether random draws are compared: then a JAX model does not run in inference mode.

    Raises:
        TypeError: if neither framework knows it, or params that it needs are missing.
    """
    if model is None:
        raise TypeError(f"the {role} is None; give a module of PyTorch, Flax or Equinox, or a function")
    if not callable(model) and not isinstance(model, tuple) and not hasattr(model, "apply"):
        raise TypeError(
            f"the {role} is {type_in_words(model)}; in PyTorch it must be an nn.Module, in JAX it must be a "
            "module of Flax or Equinox, and in both it may be a function f(params, *inputs)"
        )
    if framework_of(model, params, default) == "PyTorch":
        from parity.frameworks.torch.torch_model import read_torch

        return read_torch(model, params, streaming)
    from parity.frameworks.jax.jax_model import read_jax

    return read_jax(model, params, inputs, streaming, drawing=drawing)


def framework_of(model: object, params: Params | None = None, default: str = "JAX") -> str:
    """The framework that a model belongs to: "PyTorch" or "JAX".

    Args:
        model: the user's object.
        params: its params, if they are given apart.
        default: for a function whose params are neither's.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return "PyTorch"
    leaves = list(_leaves(params))
    if torch is not None and any(isinstance(leaf, torch.Tensor) for leaf in leaves):
        return "PyTorch"
    jax = sys.modules.get("jax")
    plain = bool(leaves) and not any(
        jax is not None and isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) for leaf in leaves
    )
    if plain and (named := _frameworks_named(model)):
        return named[0] if len(named) == 1 else default
    is_function = callable(model) and type(model).__name__ in ("function", "method", "partial")
    if default == "PyTorch" and is_function and (plain or params is None) and _is_flat(params):
        return "PyTorch"
    return "JAX"


def frameworks_of(*models: tuple[object, Params | None, str]) -> tuple[str, ...]:
    """The frameworks of some models, as `parity.numerics.precision` calls them: "torch", "jax".

    Args:
        *models: (model, params, default), each as in `framework_of`.
    """
    found = {framework_of(*one) for one in models}
    return tuple(key for key, name in (("torch", "PyTorch"), ("jax", "JAX")) if name in found)


def _frameworks_named(function: object) -> list[str]:
    """The frameworks whose modules the code of a function names, its inner functions included."""
    while isinstance(function, functools.partial):
        function = function.func
    code: CodeType | None = getattr(function, "__code__", None)
    if code is None:
        return []
    scope: Mapping[str, object] = getattr(function, "__globals__", {})
    names: set[str] = set()
    waiting = [code]
    while waiting:
        one = waiting.pop()
        names.update(one.co_names)
        waiting += [constant for constant in one.co_consts if isinstance(constant, CodeType)]
    owners = {getattr(scope.get(name), "__name__", "").partition(".")[0] for name in names}
    return [title for module, title in (("torch", "PyTorch"), ("jax", "JAX")) if module in owners]


def _is_flat(params: Params | None) -> bool:
    """Whether params are tensors by name, as a state dict has them, and not a nested tree."""
    return params is None or (
        isinstance(params, Mapping) and not any(isinstance(v, Mapping) for v in params.values())
    )


def _leaves(params: Params | None) -> Iterable[object]:
    """Arrays among plain containers; whatever else there is is no leaf of PyTorch's."""
    if isinstance(params, Mapping):
        for value in params.values():
            yield from _leaves(value)
    elif isinstance(params, list | tuple):
        for value in params:
            yield from _leaves(value)
    elif hasattr(params, "shape"):
        yield params
