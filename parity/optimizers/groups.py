"""What a PyTorch optimiser is told: its class, and the options and tensors of its parameter groups."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped

from parity.optimizers.history import Options
from parity.optimizers.known import RULES
from parity.optimizers.rules import Rule
from parity.weights import WeightError

DESCRIBED = {
    "param_names", "params", "foreach", "fused", "capturable", "differentiable", "initial_lr", "swa_lr",
}  # fmt: skip
"""Entries of a group that change no number."""


class Group(NamedTuple):
    """A parameter group.

    Attributes:
        options: hyperparameters by PyTorch's names, as plain numbers.
        names: of its tensors, as in the plan; tensors that need no gradient are left out.
    """

    options: Options
    names: tuple[str, ...]


def rule_of(optimizer: torch.optim.Optimizer) -> Rule:
    """The rule of an optimiser's class.

    Args:
        optimizer: as configured.

    Raises:
        TypeError: if it is no optimiser of `torch.optim` itself, or one that cannot be translated, by name.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"`torch_optimizer` is a {type(optimizer).__name__}; it must be an optimiser of "
            "`torch.optim`, built over the model's parameters"
        )
    kind, name = type(optimizer), name_of(type(optimizer))
    if name in RULES:
        return RULES[name]
    if kind is torch.optim.LBFGS:
        raise TypeError(
            f"{name} is not translated: it calls the loss many times in one step, and `optax.lbfgs` "
            "searches along the line by other rules"
        )
    bases = [base for base in map(name_of, kind.__mro__) if base in RULES]
    inherits = f" (a subclass of torch.optim.{bases[0]})" if bases else ""
    raise TypeError(
        f"{name}{inherits} is no optimiser of `torch.optim` itself: what its step computes is not known, and "
        f"would only be guessed. Known are {', '.join(sorted(RULES))}"
    )


def name_of(kind: type) -> str:
    """The name by which `RULES` knows a class: of `torch.optim` its own, of others with their module.

    >>> name_of(torch.optim.AdamW), name_of(type("AdamW", (torch.optim.AdamW,), {"__module__": "mine"}))
    ('AdamW', 'mine.AdamW')

    Args:
        kind: a class of optimisers.
    """
    is_torchs = getattr(torch.optim, kind.__name__, None) is kind
    return kind.__name__ if is_torchs else f"{kind.__module__}.{kind.__qualname__}"


def defaults_of(name: str) -> Options | None:
    """The hyperparameters of an optimiser of `torch.optim` of which nothing is said; None if it has no such.

    Args:
        name: of its class.
    """
    kind = getattr(torch.optim, name, None)
    return (
        None
        if kind is None
        else plain_options(kind([torch.nn.Parameter(torch.zeros(1, 1))], lr=1e-3).defaults)
    )


def groups_of(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Shaped[np.ndarray, "..."]],
    module: torch.nn.Module | None,
) -> list[Group]:
    """The parameter groups, their tensors by name.

    Args:
        optimizer: as configured.
        tensors: the JAX side's weights as tensors, by the plan's names.
        module: the model whose parameters the optimiser holds; None reads the names that the optimiser was
            given, or finds each parameter by its values.

    Raises:
        WeightError: if a parameter has no name in the plan, naming every one.
        TypeError: if step hooks are registered.
    """
    hooks = [*optimizer._optimizer_step_pre_hooks, *optimizer._optimizer_step_post_hooks]
    if hooks:
        raise TypeError(
            f"`torch_optimizer` has {len(hooks)} step hooks: what they change is not known. "
            "Remove them, or put what they do into the JAX side by hand"
        )
    names = parameter_names(optimizer, tensors, module)
    return [
        Group(
            plain_options(group),
            tuple(names[id(p)] for p in group["params"] if p.requires_grad and id(p) in names),
        )
        for group in optimizer.param_groups
    ]


def parameter_names(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Shaped[np.ndarray, "..."]],
    module: torch.nn.Module | None = None,
) -> dict[int, str]:
    """The plan's name of each parameter that an optimiser holds, by the parameter's `id`.

    Args:
        optimizer: as configured.
        tensors: the JAX side's weights as tensors, by the plan's names.
        module: as in `groups_of`.

    Raises:
        WeightError: if parameters cannot be told apart or are not in the plan, naming every one.
    """
    held = [p for group in optimizer.param_groups for p in group["params"]]
    if module is not None:
        known: dict[int, list[str]] = {}
        for name, p in module.named_parameters(remove_duplicate=False):
            known.setdefault(id(p), []).append(name)
        strangers = sum(id(p) not in known for p in held)
        if strangers:
            raise WeightError(
                f"{strangers} of the {len(held)} parameters of `torch_optimizer` are not parameters of "
                "`module`; pass the model that the optimiser was built for"
            )
        named = {id(p): known[id(p)] for p in held}
    elif all("param_names" in group for group in optimizer.param_groups):
        named = {
            id(p): [name]
            for group in optimizer.param_groups
            for p, name in zip(group["params"], group["param_names"], strict=True)
        }
    else:
        return _names_by_value(held, tensors)
    found = {key: next((n for n in names if n in tensors), None) for key, names in named.items()}
    lost = [named[id(p)][0] for p in held if p.requires_grad and found[id(p)] is None]
    if lost:
        raise WeightError(
            "`torch_optimizer` holds parameters that `plan` gives no leaf of `params`: " + ", ".join(lost)
        )
    return {key: name for key, name in found.items() if name is not None}


def _names_by_value(
    held: list[torch.Tensor], tensors: Mapping[str, Shaped[np.ndarray, "..."]]
) -> dict[int, str]:
    """Names by equal shapes and values; of equal tensors the first parameter gets the first name."""
    left = dict(tensors)
    names: dict[int, str] = {}
    lost = []
    for p in held:
        tensor = p.detach().cpu().resolve_conj()
        values = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
        like = (n for n, t in left.items() if t.shape == values.shape and _equal(np.asarray(t), values))
        name = next(like, None)
        if name is not None:
            names[id(p)] = name
            del left[name]
        elif p.requires_grad:
            lost.append(tuple(p.shape))
    if lost:
        shapes = ", ".join(map(str, lost))
        raise WeightError(
            f"no leaf of `params` holds the values of {len(lost)} parameters of `torch_optimizer`, of "
            f"shapes {shapes}: pass `module=` (the model), or build the optimiser with "
            "`model.named_parameters()`, so that its parameters have names"
        )
    return names


def _equal(a: Shaped[np.ndarray, "..."], b: Shaped[np.ndarray, "..."]) -> bool:
    dtype = np.result_type(np.complex64 if np.iscomplexobj(b) else np.float32)
    return np.array_equal(a.astype(dtype), b.astype(dtype), equal_nan=True)


def plain_options(group: Mapping[str, Any]) -> Options:
    """The hyperparameters of a parameter group, as plain numbers.

    Args:
        group: of PyTorch.
    """
    return {name: _plain(value) for name, value in group.items() if name not in DESCRIBED}


def _plain(value: Any) -> Any:
    """A hyperparameter as a plain number, tensors of one number included."""
    if isinstance(value, torch.Tensor):
        return value.item()
    if isinstance(value, tuple | list):
        return tuple(_plain(one) for one in value)
    return value
