"""A rule of PyTorch's own as a transformation of optax, over tensors by name."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from parity.optimizers.history import Options
from parity.optimizers.rules import Rule, Slots
from parity.optimizers.schedules import Moving
from parity.optimizers.tensor_layout import Tensors


class TorchState(NamedTuple):
    """The state of a rule of PyTorch's own.

    Attributes:
        step: updates so far, shape (), int32.
        slots: tensor name -> PyTorch's slot name -> array; "step" counts the updates of that tensor.
    """

    step: Int[Array, ""]
    slots: dict[str, Slots]


def rule_form(rule: Rule, options: Options, moving: Moving | None) -> optax.GradientTransformationExtraArgs:
    """One parameter group by a rule.

    Args:
        rule: of the optimiser's class.
        options: of the group.
        moving: what a schedule moves in it, or None.

    Returns:
        A transformation of tensors by name; where a metric moves the rate, `update` takes the rates of all
        groups as `rates=`.

    Raises:
        ValueError: from `update`, if it is not given the weights.
    """

    def in_force(step: Int[Array, ""], rates: Float[Array, " groups"] | None) -> Options:
        moved = dict(moving.options(step, rates)) if moving else {}
        if "momentum" in moved and "betas" in options:
            moved["betas"] = (moved.pop("momentum"), *options["betas"][1:])
        return {**options, **moved}

    def init(tensors: Tensors) -> TorchState:
        step = jnp.zeros((), jnp.int32)
        first = {**options, "lr": in_force(step, None)["lr"]}
        slots = {
            name: {"step": step, **rule.slots(_real(tensor), first)}
            for name, tensor in _present(tensors).items()
        }
        return TorchState(step, slots)

    def update(
        grads: Tensors, state: TorchState, tensors: Tensors | None = None, **extra: Any
    ) -> tuple[Tensors, TorchState]:
        if tensors is None:
            raise ValueError("`params` is None: this optimiser reads the weights; pass them to `update`")
        now = in_force(state.step, extra.get("rates"))
        changes, after = dict(grads), {}
        for name, grad in _present(grads).items():
            param, before = _real(tensors[name]), state.slots[name]
            step = before["step"] + 1
            precise = step.astype(jnp.promote_types(param.dtype, jnp.float32))
            change, slots = rule.change(_real(grad), before, param, now, precise)
            changes[name] = _like(change.astype(param.dtype), grad)
            after[name] = {
                "step": step,
                **{slot: value.astype(before[slot].dtype) for slot, value in slots.items()},
            }
        return changes, TorchState(state.step + 1, after)

    return optax.GradientTransformationExtraArgs(init, update)


def _present(tensors: Tensors) -> Tensors:
    """The tensors of this group: optax puts an empty node in the place of all others."""
    return {name: tensor for name, tensor in tensors.items() if not isinstance(tensor, optax.MaskedNode)}


def _real(tensor: Array) -> Array:
    """A complex tensor as pairs of real numbers, as PyTorch's optimisers see it."""
    return jnp.stack([tensor.real, tensor.imag], axis=-1) if jnp.iscomplexobj(tensor) else tensor


def _like(change: Array, tensor: Array) -> Array:
    """A change of `_real(tensor)` as one of the tensor."""
    return jax.lax.complex(change[..., 0], change[..., 1]) if jnp.iscomplexobj(tensor) else change
