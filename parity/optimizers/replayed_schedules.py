"""A scheduler of PyTorch, of any class, asked for its rates on the host: it knows them best."""

import copy
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxtyping import Array, Float, Int, UInt32

from parity.optimizers.history import Options


class Replay:
    """The rates and momenta of a scheduler by its steps, from a copy that steps as far as it is asked to.

    Args:
        scheduler: before its first step; it is left as it is.

    Raises:
        ValueError: if it has stepped already: what it said before cannot be asked for any more.
    """

    def __init__(self, scheduler: Any) -> None:
        steps = _steps_made(scheduler)
        if steps > 0:
            raise ValueError(
                f"`scheduler` ({type(scheduler).__name__}) has made {steps} steps: its first "
                "rates cannot be read any more. Translate it before the first step; a count of updates that "
                "continues (`state_from_torch`) then finds its place"
            )
        optimizer = scheduler.optimizer
        # The copy holds an empty tensor in the place of each parameter, and no optimiser state.
        held = [p for group in optimizer.param_groups for p in group["params"]]
        memo: dict[int, Any] = {id(p): torch.nn.Parameter(torch.zeros(())) for p in held}
        memo[id(optimizer.state)] = {}
        self._scheduler = copy.deepcopy(scheduler, memo)
        self._moves_momentum = _cycles_momentum(scheduler)
        self._known = [self._now()]

    def _now(self) -> Float[np.ndarray, "groups 2"]:
        """Rate and momentum of each group; a momentum of NaN where there is none."""
        rows = []
        for group in self._scheduler.optimizer.param_groups:
            momentum = group["betas"][0] if "betas" in group else group.get("momentum", np.nan)
            rows.append((float(group["lr"]), float(momentum)))
        return np.asarray(rows)

    def at(self, time: int) -> Float[np.ndarray, "groups 2"]:
        """Rate and momentum of each group after some steps of the scheduler.

        Args:
            time: how many steps.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the optimiser has not stepped
            while len(self._known) <= time:
                self._scheduler.step()
                self._known.append(self._now())
        return self._known[time]

    def form(self, number: int, time: Int[Array, ""]) -> Options:
        """The options of a group after some steps, from within compiled code.

        Args:
            number: of the group.
            time: how many steps, an integer.
        """
        dtype = jnp.result_type(float)
        words = np.dtype(dtype).itemsize // 4

        def ask(time: Any) -> UInt32[np.ndarray, "2 words"]:
            # As words of 32 bits: the callback runs in a thread in which 64-bit types may be off.
            return np.array(self.at(int(time))[number], dtype).view(np.uint32).reshape(2, words)

        bits = jax.pure_callback(ask, jnp.zeros((2, words), jnp.uint32), time, vmap_method="sequential")
        found = jax.lax.bitcast_convert_type(bits if words > 1 else bits[:, 0], dtype)
        return {"lr": found[0], **({"momentum": found[1]} if self._moves_momentum else {})}


def _steps_made(scheduler: Any) -> int:
    """How often a scheduler has stepped; one of several in a chain knows it, the chain does not."""
    made = getattr(scheduler, "last_epoch", None)
    return int(made) if made is not None else max(map(_steps_made, scheduler._schedulers), default=0)


def _cycles_momentum(scheduler: Any) -> bool:
    """Whether a scheduler, or a part of it, cycles the momentum."""
    parts = getattr(scheduler, "_schedulers", ())
    return bool(getattr(scheduler, "cycle_momentum", False)) or any(map(_cycles_momentum, parts))
