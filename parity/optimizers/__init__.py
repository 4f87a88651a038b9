"""Optimisers of PyTorch in optax: `to_optax(torch_optimizer, params, plan)`, and what stands around them."""

from parity.optimizers.averaging import average_weights
from parity.optimizers.clipping import clip_grad_norm
from parity.optimizers.schedules import to_schedule
from parity.optimizers.states import state_from_torch, state_to_torch
from parity.optimizers.translation import to_optax

__all__ = [
    "average_weights",
    "clip_grad_norm",
    "state_from_torch",
    "state_to_torch",
    "to_optax",
    "to_schedule",
]
