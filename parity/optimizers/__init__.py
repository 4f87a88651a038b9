"""Optimisers of PyTorch in optax: `to_optax(torch_optimizer, params, plan)`, and their state both ways."""

from parity.optimizers.translation import to_optax

__all__ = ["to_optax"]
