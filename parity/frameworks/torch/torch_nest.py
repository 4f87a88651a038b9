"""The state of a PyTorch loop: any nest of modules, optimisers, tensors and numbers, taken apart."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from parity.frameworks.stepping import Held, Role
from parity.numerics.arrays import to_numpy


class Part(NamedTuple):
    """An object of the nest that is not looked into: a module, an optimiser, a tensor, a number.

    Attributes:
        path: to it, joined by "."; "" for the state itself.
        value: the object.
    """

    path: str
    value: Any


def parts_of(state: object) -> list[Part]:
    """What a nest holds: of dicts, lists, tuples, dataclasses and simple objects what is in them.

    Args:
        state: the nest.
    """
    found: list[Part] = []
    seen: set[int] = set()

    def walk(value: Any, path: str) -> None:
        if isinstance(value, bool | int | float | np.number):
            found.append(Part(path, value))
            return
        if id(value) in seen or value is None or isinstance(value, str | bytes | type):
            return
        seen.add(id(value))
        if isinstance(value, torch.Tensor | np.ndarray | torch.nn.Module | torch.optim.Optimizer):
            found.append(Part(path, value))
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                walk(inner, joined(path, str(key)))
        elif isinstance(value, tuple | list):
            names = getattr(value, "_fields", range(len(value)))
            for name, inner in zip(names, value, strict=True):
                walk(inner, joined(path, str(name)))
        elif callable(getattr(value, "state_dict", None)):
            kept = value.state_dict()
            walk({key: kept[key] for key in kept} if isinstance(kept, Mapping) else kept, path)
        elif hasattr(value, "__dict__") and not callable(value):
            walk(vars(value), path)

    walk(state, "")
    return found


def joined(path: str, name: str) -> str:
    """A name behind a path.

    >>> joined("", "weight"), joined("net", "weight")
    ('weight', 'net.weight')

    Args:
        path: "" for the state itself.
        name: of what it holds.
    """
    return f"{path}.{name}" if path else name


def copied(state: Any) -> Any:
    """A copy of a state in which an optimiser steps over the copied module's parameters.

    Args:
        state: the nest; copied in one go.

    Raises:
        TypeError: if something in it cannot be copied.
    """
    try:
        again = copy.deepcopy(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise TypeError(
            f"PyTorch's state cannot be copied ({type(error).__name__}: {str(error).splitlines()[0]}). Every "
            "run starts from a copy: leave out of `state` what cannot be copied (loaders, loggers) and "
            "detach its tensors"
        ) from error
    for part in parts_of(again):
        if isinstance(part.value, torch.optim.Optimizer):
            # A scheduler wraps the step of its optimiser, bound to that one: a copy must not step the user's.
            part.value.__dict__.pop("step", None)
    return again


def cast(state: Any, dtype: torch.dtype) -> None:
    """Give every floating tensor of a nest another dtype, in place: optimisers keep their parameters.

    Args:
        state: a copy.
        dtype: floating.
    """
    for tensor in tensors_of(state):
        if tensor.is_floating_point() and tensor.dtype != dtype:
            tensor.data = tensor.data.to(dtype)
            if tensor.grad is not None:
                tensor.grad = None


def tensors_of(state: Any) -> Iterator[torch.Tensor]:
    """All tensors of a nest, each once, those that its optimisers keep as well.

    Args:
        state: the nest.
    """
    seen: set[int] = set()
    for _, value in parts_of(state):
        held: Iterator[Any] | list[Any] = []
        if isinstance(value, torch.Tensor):
            held = [value]
        elif isinstance(value, torch.nn.Module):
            held = [*value.parameters(), *value.buffers()]
        elif isinstance(value, torch.optim.Optimizer):
            held = [p for group in value.param_groups for p in group["params"]]
            held += [t for kept in value.state.values() for t in kept.values() if isinstance(t, torch.Tensor)]
        for tensor in held:
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor


def named_tensors(state: Any) -> dict[str, torch.Tensor]:
    """Parameters, buffers and tensors of a nest by name; of one with several names, the first.

    Args:
        state: the nest.
    """
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for path, value in parts_of(state):
        own: list[tuple[str, torch.Tensor]] = []
        if isinstance(value, torch.Tensor):
            own = [(path or "tensor", value)]
        elif isinstance(value, torch.nn.Module):
            own = [(joined(path, n), t) for n, t in [*value.named_parameters(), *value.named_buffers()]]
        for name, tensor in own:
            if id(tensor) not in seen:
                seen.add(id(tensor))
                found[name] = tensor
    return found


def named_slots(state: Any) -> dict[str, torch.Tensor]:
    """What the optimisers of a nest keep of their parameters, by the names that `read` gives them.

    Args:
        state: the nest.
    """
    names = {id(tensor): name for name, tensor in named_tensors(state).items()}
    return {
        joined(joined(path, names[id(p)]), slot): value
        for path, optimizer in parts_of(state)
        if isinstance(optimizer, torch.optim.Optimizer)
        for p, kept in optimizer.state.items()
        if id(p) in names
        for slot, value in kept.items()
        if isinstance(value, torch.Tensor)
    }


def read(state: Any) -> dict[str, Held]:
    """All values of a nest by name.

    Args:
        state: the nest.
    """
    tensors = named_tensors(state)
    names = {id(tensor): name for name, tensor in tensors.items()}
    layers = {
        joined(path, joined(inner, name)): type(owner).__name__
        for path, value in parts_of(state)
        if isinstance(value, torch.nn.Module)
        for inner, owner in value.named_modules()
        for name, _ in owner.named_parameters(recurse=False)
    }
    trained = {
        id(p)
        for _, value in parts_of(state)
        if isinstance(value, torch.optim.Optimizer)
        for group in value.param_groups
        for p in group["params"]
    }
    modules = [value for _, value in parts_of(state) if isinstance(value, torch.nn.Module)]
    buffers = {id(buffer) for module in modules for buffer in module.buffers()}
    found = {}
    for name, tensor in tensors.items():
        floating = tensor.is_floating_point() or tensor.is_complex()
        role = (Role.STATISTIC if id(tensor) in buffers else Role.WEIGHT) if floating else Role.NUMBER
        value = np.array(to_numpy(tensor))
        found[name] = Held(role, value, layer=layers.get(name, ""), is_trained=id(tensor) in trained)
    for path, value in parts_of(state):
        if isinstance(value, torch.optim.Optimizer):
            found |= _kept_by(value, path, names)
        elif isinstance(value, bool | int | float | np.number | np.ndarray):
            array = np.array(to_numpy(value))
            floating = array.dtype.kind == "f" and array.ndim > 0
            found[path or "number"] = Held(Role.STATISTIC if floating else Role.NUMBER, array)
    return found


def _kept_by(optimizer: torch.optim.Optimizer, path: str, names: Mapping[int, str]) -> dict[str, Held]:
    """What an optimiser keeps: slots of its parameters, and the rates of its groups."""
    found = {}
    for p, kept in optimizer.state.items():
        of = names.get(id(p), "") if isinstance(p, torch.Tensor) else ""
        for slot, value in kept.items():
            if not of or not isinstance(value, torch.Tensor) or not value.is_floating_point():
                continue
            name = joined(joined(path, of), slot)
            if slot == "step" or value.shape != p.shape:
                found[name] = Held(Role.NUMBER, np.array(to_numpy(value)), of=of)
            else:
                kind = joined(path, slot)
                found[name] = Held(Role.SLOT, np.array(to_numpy(value)), of, kind)
    return found
