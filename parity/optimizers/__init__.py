"""Optimisers of PyTorch in optax: `to_optax(torch_optimizer, params, plan)`, and what stands around them.

PyTorch is loaded when a name that needs it is first used: update rules, and what explains a recorded run by
them, work where there is only JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.optimizers.averaging import average_weights as average_weights
    from parity.optimizers.clipping import clip_grad_norm as clip_grad_norm
    from parity.optimizers.schedules import to_schedule as to_schedule
    from parity.optimizers.states import state_from_torch as state_from_torch
    from parity.optimizers.states import state_to_torch as state_to_torch
    from parity.optimizers.translation import to_optax as to_optax

_HOMES = {
    "average_weights": "averaging",
    "clip_grad_norm": "clipping",
    "state_from_torch": "states",
    "state_to_torch": "states",
    "to_optax": "translation",
    "to_schedule": "schedules",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
