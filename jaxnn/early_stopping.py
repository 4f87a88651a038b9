"""Early stopping inside a compiled program: epochs in a loop that ends, and the best weights on the way."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree

__all__ = ["EarlyStopping", "Watch", "begin", "train"]

State = TypeVar("State")


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """When to stop: after `patience` epochs in a row whose validation loss is no better than the best.

    Better is lower than the best so far by more than `min_delta`. NaN is never better. The weights that are
    kept are those of the last epoch that was better; if none was, those from before training.

    Attributes:
        patience: At least 1.
        min_delta: In the unit of the loss, at least 0.

    Raises:
        ValueError: If a number is out of its range.

    Source: notebook, section 4.5.
    """

    patience: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.patience, int) or self.patience < 1:
            raise ValueError(f"`patience` is {self.patience!r}: it must be an integer of at least 1.")
        if not (math.isfinite(self.min_delta) and self.min_delta >= 0):
            raise ValueError(f"`min_delta` is {self.min_delta!r}: it must be finite and at least 0.")


class Watch(NamedTuple):
    """What is remembered from epoch to epoch.

    Attributes:
        params: The best weights so far.
        loss: Their validation loss; infinite before the first epoch.
        best_epoch: The epoch that they were measured in, counted from 1; 0 before the first.
        waited: Epochs since then.
    """

    params: PyTree
    loss: Float[Array, ""]
    best_epoch: Int[Array, ""]
    waited: Int[Array, ""]

    def seen(
        self, rule: EarlyStopping, params: PyTree, loss: Float[Array, ""], epoch: Int[Array, ""]
    ) -> "Watch":
        """Takes in an epoch.

        Args:
            rule: What is better.
            params: The weights that were measured.
            loss: Their validation loss.
            epoch: Counted from 1.
        """
        better: Bool[Array, ""] = loss < self.loss - rule.min_delta  # False for NaN
        chosen = Watch(params, loss, epoch, jnp.zeros_like(self.waited))
        kept = self._replace(waited=self.waited + 1)
        watch: Watch = jax.tree.map(lambda new, old: jnp.where(better, new, old), chosen, kept)
        return watch


def begin(params: PyTree, dtype: jnp.dtype) -> Watch:
    """Returns the watch before the first epoch.

    Args:
        params: The weights from before training.
        dtype: Of the validation loss.
    """
    zero = jnp.zeros((), jnp.int32)
    return Watch(params, jnp.full((), jnp.inf, dtype), zero, zero)


def train(
    rule: EarlyStopping,
    next_epoch: Callable[[State, PyTree], tuple[State, dict[str, Array]]],
    measured: Callable[[State, State], PyTree],
    state: State,
    inputs: PyTree,
    epochs: int,
) -> tuple[State, Watch, Int[Array, ""], dict[str, Array]]:
    """Runs epochs until the rule says stop, or all of them; inside a compiled program.

    Args:
        rule: When to stop.
        next_epoch: ``next_epoch(state, inputs of the epoch) -> (state, history)``; the history has
            ``val_loss``, a scalar.
        measured: ``measured(state before, state after) -> params``, those that ``val_loss`` belongs to.
        state: The state before the first epoch.
        inputs: The inputs of all epochs, along the first axis.
        epochs: How many there are at most.

    Returns:
        The last state, the watch, the number of epochs that ran, and their history: arrays of `epochs` rows,
        of which the rows after that number are zeros.
    """

    def of_epoch(epoch: Int[Array, ""]) -> PyTree:
        return jax.tree.map(lambda rows: lax.dynamic_index_in_dim(rows, epoch, keepdims=False), inputs)

    def goes_on(carry: tuple[Array, State, Watch, dict[str, Array]]) -> Bool[Array, ""]:
        epoch, _, watch, _ = carry
        return (epoch < epochs) & (watch.waited < rule.patience)

    def body(
        carry: tuple[Array, State, Watch, dict[str, Array]],
    ) -> tuple[Array, State, Watch, dict[str, Array]]:
        epoch, before, watch, history = carry
        after, recorded = next_epoch(before, of_epoch(epoch))
        watch = watch.seen(rule, measured(before, after), recorded["val_loss"], epoch + 1)
        history = jax.tree.map(lambda rows, row: rows.at[epoch].set(row), history, recorded)
        return epoch + 1, after, watch, history

    first = jnp.zeros((), jnp.int32)
    shapes = jax.eval_shape(lambda: next_epoch(state, of_epoch(first)))[1]
    history = jax.tree.map(lambda row: jnp.zeros((epochs, *row.shape), row.dtype), shapes)
    watch = begin(measured(state, state), shapes["val_loss"].dtype)
    num_epochs, state, watch, history = lax.while_loop(goes_on, body, (first, state, watch, history))
    return state, watch, num_epochs, history
