"""Optimisers of PyTorch in optax: `to_optax(torch_optimizer, params, plan)`, and their state both ways."""

from parity.optimizers.schedules import to_schedule
from parity.optimizers.states import state_from_torch, state_to_torch
from parity.optimizers.translation import to_optax

__all__ = ["state_from_torch", "state_to_torch", "to_optax", "to_schedule"]
