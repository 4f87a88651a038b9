"""`to_optax`: an optimiser of PyTorch, as configured, as a gradient transformation of optax."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from jaxtyping import PyTree
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from parity.optimizers import plateaus
from parity.optimizers.groups import groups_of, name_of, rule_of
from parity.optimizers.history import Options
from parity.optimizers.optax_forms import optax_form
from parity.optimizers.plateaus import PlateauState
from parity.optimizers.rule_form import rule_form
from parity.optimizers.schedules import Moving, moving_options
from parity.optimizers.tensor_layout import TensorLayout, Tensors
from parity.weights import Plan


def to_optax(
    torch_optimizer: torch.optim.Optimizer,
    params: PyTree,
    plan: Plan,
    *,
    module: torch.nn.Module | None = None,
    scheduler: LRScheduler | None = None,
    updates_per_step: int = 1,
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
        scheduler: of `torch.optim.lr_scheduler`, over this optimiser. With ReduceLROnPlateau `update` needs
            the metric as `value=`.
        updates_per_step: updates for one `scheduler.step()`: 1 where it follows every update, the number of
            batches where it follows an epoch.

    Returns:
        A transformation for `params`; `update` needs `params`. Its state holds arrays in PyTorch's layout
        under the names of PyTorch's tensors. Tensors that the optimiser does not hold, or that need no
        gradient, are frozen: their updates are zero.

    Raises:
        TypeError: if the optimiser is not of `torch.optim` itself, or cannot be translated; by name.
        WeightError: if `params` do not fit `plan`, or a parameter is not in it; by name.
        ValueError: if `scheduler` belongs to another optimiser, or `updates_per_step` is below 1.

    Differs: PyTorch skips a parameter whose gradient is None: no decay, no momentum, no count. JAX has zeros
    there, and the optimiser acts on them: freeze such parameters (`requires_grad_(False)`) or leave them out
    of the groups. Gradients of complex leaves are to be conjugated first, as optax asks. PyTorch computes
    rates and momenta of a schedule in float64, JAX in float32 unless 64-bit types are on: a cycle of Adam's
    first beta then differs by some roundings of ``1 - beta``.

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
    moving = moving_options(torch_optimizer, scheduler, updates_per_step)
    labels = dict.fromkeys(tensors, "frozen")
    labels.update({name: str(number) for number, group in enumerate(groups) for name in group.names})
    transformations: dict[str, Any] = {"frozen": optax.set_to_zero()}
    for number, group in enumerate(groups):
        form = _optax_form(name_of(type(torch_optimizer)), group.options, moving[number])
        transformations[str(number)] = (
            rule_form(rule, group.options, moving[number]) if form is None else form
        )
    inner = optax.partition(transformations, labels)
    if isinstance(scheduler, ReduceLROnPlateau):
        inner = _on_plateau(inner, scheduler, updates_per_step)
    return _in_layout(inner, layout)


def _optax_form(kind: str, options: Options, moving: Moving | None) -> optax.GradientTransformation | None:
    """A group as optax's own, where that is equal and nothing but the rate moves with the count."""
    if moving is None:
        return optax_form(kind, options, options["lr"])
    if not moving.by_count or set(jax.eval_shape(moving.options, jnp.zeros((), jnp.int32), None)) != {"lr"}:
        return None
    return optax_form(kind, options, lambda count: moving.options(count, None)["lr"])


def _on_plateau(
    inner: optax.GradientTransformationExtraArgs, scheduler: ReduceLROnPlateau, updates_per_step: int
) -> optax.GradientTransformationExtraArgs:
    """A transformation whose rates fall when a metric, `value`, has stopped improving."""

    def init(tensors: Tensors) -> tuple[PlateauState, PyTree]:
        return plateaus.start(scheduler), inner.init(tensors)

    def update(
        grads: Tensors, state: tuple[PlateauState, PyTree], tensors: Tensors | None = None, **extra: Any
    ) -> tuple[Tensors, tuple[PlateauState, PyTree]]:
        if extra.get("value") is None:
            raise ValueError(
                "`value` is missing: ReduceLROnPlateau needs the metric, `update(..., value=metric)`"
            )
        plateau, before = state
        changes, after = inner.update(grads, before, tensors, rates=plateau.rates, **extra)
        metric = jnp.asarray(extra["value"])
        return changes, (plateaus.advance(scheduler, plateau, metric, updates_per_step), after)

    return optax.GradientTransformationExtraArgs(init, update)


def _planned(params: PyTree, layout: TensorLayout) -> dict[str, np.ndarray]:
    """The leaves that the plan fills, as NumPy arrays by path."""
    paths = {t.leaf_path for t in layout.plan.transfers}
    leaves = zip(layout.tree.paths, jax.tree.leaves(params), strict=True)
    return {path: np.asarray(leaf) for path, leaf in leaves if path in paths}


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
