"""`to_optax`: an optimiser of PyTorch, as configured, as a gradient transformation of optax."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from jaxtyping import Array, Int, PyTree

from parity.optimizers.groups import Group, groups_of, rule_of
from parity.optimizers.optax_forms import optax_form
from parity.optimizers.rules import Options, Rule, Slots
from parity.optimizers.tensor_layout import TensorLayout, Tensors
from parity.weights import Plan

Moving = Callable[[Int[Array, ""]], Options]
"""A schedule of one group: updates so far -> the options that move, by PyTorch's names."""


class TorchState(NamedTuple):
    """The state of a rule of PyTorch's own.

    Attributes:
        step: updates so far, shape (), int32.
        slots: tensor name -> PyTorch's slot name -> array; "step" counts the updates of that tensor.
    """

    step: Int[Array, ""]
    slots: dict[str, Slots]


def to_optax(
    torch_optimizer: torch.optim.Optimizer,
    params: PyTree,
    plan: Plan,
    *,
    module: torch.nn.Module | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Translate an optimiser of PyTorch, with its parameter groups, to optax.

    The transformation acts in PyTorch's layout: gradients go to PyTorch's tensors along the plan, each group
    is updated there with its own options, and what is added comes back as leaves. So a leaf that stacks
    layers of several groups, a packed tensor and a tied one are updated as PyTorch does it. Where optax has
    an optimiser that is equal to rounding it is used, otherwise PyTorch's own equation with its slot names.

    The options are read once, now; later changes of `torch_optimizer` change nothing. Its state is not read:
    see `state_from_torch`.

    Args:
        torch_optimizer: an optimiser of `torch.optim`, as configured.
        params: the weights of the JAX side: a pytree of floating arrays.
        plan: the weight plan between both models, from `parity.plan_weights`.
        module: the PyTorch model, for the names of its parameters. Not needed where the optimiser was built
            with `named_parameters()`, or where `params` hold the same numbers as the model.

    Returns:
        A transformation for `params`; `update` needs `params`. Its state holds arrays in PyTorch's layout
        under the names of PyTorch's tensors. Tensors that the optimiser does not hold, or that need no
        gradient, are frozen: their updates are zero.

    Raises:
        TypeError: if the optimiser is not of `torch.optim` itself, or cannot be translated; by name.
        WeightError: if `params` do not fit `plan`, or a parameter is not in it; by name.

    Differs: PyTorch skips a parameter whose gradient is None: no decay, no momentum, no count. JAX has zeros
    there, and the optimiser acts on them: freeze such parameters (`requires_grad_(False)`) or leave them out
    of the groups. Gradients of complex leaves are to be conjugated first, as optax asks.

    >>> import torch, jax.numpy as jnp
    >>> from parity.weights import Plan, Transfer
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> plan = Plan((Transfer("weight", "kernel", (2, 3), (3, 2), axes=(1, 0)),))
    >>> params = {"kernel": jnp.ones((3, 2))}
    >>> optimizer = to_optax(torch.optim.SGD(layer.parameters(), lr=0.5), params, plan, module=layer)
    >>> updates, state = optimizer.update({"kernel": jnp.ones((3, 2))}, optimizer.init(params), params)
    >>> float(updates["kernel"][0, 0])
    -0.5
    """
    rule = rule_of(torch_optimizer)
    layout = TensorLayout.of(params, plan)
    tensors = plan.to_tensors(_planned(params, layout))
    groups = groups_of(torch_optimizer, tensors, module)
    return _in_layout(_grouped(type(torch_optimizer), rule, groups, tuple(tensors)), layout)


def _planned(params: PyTree, layout: TensorLayout) -> dict[str, np.ndarray]:
    """The leaves that the plan fills, as NumPy arrays by path."""
    paths = {t.leaf_path for t in layout.plan.transfers}
    leaves = zip(layout.tree.paths, jax.tree.leaves(params), strict=True)
    return {path: np.asarray(leaf) for path, leaf in leaves if path in paths}


def _grouped(
    kind: type[torch.optim.Optimizer], rule: Rule, groups: list[Group], names: tuple[str, ...]
) -> optax.GradientTransformationExtraArgs:
    """The transformation of all tensors by name: each group with its options, all others frozen."""
    labels = dict.fromkeys(names, "frozen")
    labels.update({name: str(number) for number, group in enumerate(groups) for name in group.names})
    transformations: dict[str, Any] = {"frozen": optax.set_to_zero()}
    for number, group in enumerate(groups):
        form = optax_form(kind, group.options, group.options["lr"])
        transformations[str(number)] = _by_rule(rule, group.options) if form is None else form
    return optax.partition(transformations, labels)


def _by_rule(rule: Rule, options: Options) -> optax.GradientTransformation:
    """A rule of PyTorch's own as a transformation of the tensors of a group."""

    def init(tensors: Tensors) -> TorchState:
        slots = {
            name: {"step": jnp.zeros((), jnp.int32), **rule.slots(_real(tensor), options)}
            for name, tensor in _present(tensors).items()
        }
        return TorchState(jnp.zeros((), jnp.int32), slots)

    def update(
        grads: Tensors, state: TorchState, tensors: Tensors | None = None
    ) -> tuple[Tensors, TorchState]:
        if tensors is None:
            raise ValueError("`params` is None: this optimiser reads the weights; pass them to `update`")
        changes, after = dict(grads), {}
        for name, grad in _present(grads).items():
            param, before = _real(tensors[name]), state.slots[name]
            step = before["step"] + 1
            change, slots = rule.change(
                _real(grad), before, param, options, step.astype(jnp.promote_types(param.dtype, jnp.float32))
            )
            changes[name] = _like(change.astype(param.dtype), grad)
            kept = {slot: value.astype(before[slot].dtype) for slot, value in slots.items()}
            after[name] = {"step": step, **kept}
        return changes, TorchState(state.step + 1, after)

    return optax.GradientTransformation(init, update)


def _present(tensors: Tensors) -> Tensors:
    """The tensors of this group: optax puts an empty node in the place of all others."""
    return {name: tensor for name, tensor in tensors.items() if not isinstance(tensor, optax.MaskedNode)}


def _real(tensor: Array) -> Array:
    """A complex tensor as pairs of real numbers, as PyTorch's optimisers see it."""
    return jnp.stack([tensor.real, tensor.imag], axis=-1) if jnp.iscomplexobj(tensor) else tensor


def _like(change: Array, tensor: Array) -> Array:
    """A change of `_real(tensor)` as one of the tensor."""
    return jax.lax.complex(change[..., 0], change[..., 1]) if jnp.iscomplexobj(tensor) else change


def _in_layout(
    inner: optax.GradientTransformationExtraArgs, layout: TensorLayout
) -> optax.GradientTransformationExtraArgs:
    """A transformation of tensors as one of the params tree."""

    def init(params: PyTree) -> PyTree:
        return inner.init(layout.parameters(params))

    def update(
        grads: PyTree, state: PyTree, params: PyTree | None = None, **extra: object
    ) -> tuple[PyTree, PyTree]:
        if params is None:
            raise ValueError("`params` is None: this optimiser reads the weights; pass them to `update`")
        changes, state = inner.update(layout.gradients(grads), state, layout.parameters(params), **extra)
        return layout.updates(changes), state

    return optax.GradientTransformationExtraArgs(init, update)
