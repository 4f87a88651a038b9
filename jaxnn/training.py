"""Training: the loss of a batch, a step (loss, gradient, update), an epoch of steps, a run of epochs.

All of it is compiled into one program, a scan over epochs of a scan over steps. What only speed needs lies in
modules below: `jaxnn.storage` turns matrices, `jaxnn.minibatches` splits the samples, `jaxnn.evaluation`
measures images in batches, `jaxnn.placement` and `jaxnn.mesh` deal the samples out over devices,
`jaxnn.progress` moves a bar; `jaxnn.early_stopping` is the loop that may end before the last epoch.
`jaxnn.fit` trains one network with it, `jaxnn.sweep` many at once.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree

from jaxnn import early_stopping, evaluation, minibatches, placement, progress, storage
from jaxnn import mesh as meshes
from jaxnn.arguments import Apply, Draws, Measure, Params, Samples
from jaxnn.early_stopping import EarlyStopping
from jaxnn.minibatches import Batch, Batches

__all__ = ["Fit", "Plan", "run"]


History = dict[str, Array]
"""What is recorded, by name."""


class Fit(NamedTuple):
    """What a training run leaves.

    Attributes:
        params: The trained params; with early stopping the best ones.
        opt_state: The optimiser's state after the last step.
        history: ``train_<metric>`` and ``val_<metric>``, of shape (epochs, *shape of the metric), and
            ``step_loss`` of shape (epochs, steps per epoch), each batch's loss before its update, penalty
            included. With early stopping there are as many epochs as ran, and ``best_epoch``, a number: the
            epoch counted from 1 in which `params` were measured, 0 if they are those from before training.
    """

    params: Params
    opt_state: PyTree
    history: History


class Plan(NamedTuple):
    """The part of a run that is compiled in. Equal plans and equal shapes share a compiled program."""

    apply: Apply
    loss: Measure
    metrics: tuple[tuple[str, Measure], ...]
    optimizer: Callable[..., optax.GradientTransformation]
    epochs: int
    batch_size: int | None
    mesh: Mesh | None = None
    schedule: Callable[[Int[Array, ""]], Array] | None = None
    penalty: Callable[[Params], Array] | None = None
    early_stopping: EarlyStopping | None = None
    num_rows: tuple[int, int] | None = None
    """Training and validation samples, where rows have been added to fill the mesh."""


class State(NamedTuple):
    """What a step changes: the params, and the optimiser's own state."""

    params: Params
    opt_state: PyTree


def batch_loss(plan: Plan, params: Params, x: Array, y: Array, draws: Draws) -> tuple[Array, Array]:
    """Computes the loss of a batch, which is differentiated, and beside it the logits."""
    logits = plan.apply(params, x, **draws)
    if logits.shape[:1] != x.shape[:1]:
        raise ValueError(
            f"`apply` returned shape {logits.shape} for inputs of shape {x.shape}: it must return one "
            f"row per sample."
        )
    loss = plan.loss(logits, y)
    return loss if plan.penalty is None else loss + plan.penalty(params), logits


def step(
    plan: Plan, rule: optax.GradientTransformation, state: State, batch: Batch
) -> tuple[State, tuple[Array, Array]]:
    """Takes one step: loss, gradient, update, by `rule`, the optimiser with its learning rate.

    For gradient descent: ``params <- params - learning_rate * grads``.

    Returns:
        The new state, and the loss and the logits from before it.
    """
    params, opt_state = state
    loss_and_grads = jax.value_and_grad(functools.partial(batch_loss, plan), has_aux=True)
    (loss, logits), grads = loss_and_grads(params, *batch)
    updates, opt_state = rule.update(grads, opt_state, params)
    return State(optax.apply_updates(params, updates), opt_state), (loss, logits)


def evaluate(plan: Plan, logits: tuple[Array, Array], labels: tuple[Array, Array]) -> History:
    """Computes the metrics of the training and of the validation samples."""
    return {
        f"{part}_{name}": metric(o, y)
        for part, o, y in zip(("train", "val"), logits, labels, strict=True)
        for name, metric in plan.metrics
    }


def full_batch_epoch(
    plan: Plan, val: Samples, rule: optax.GradientTransformation, state: State, train: Batch
) -> tuple[State, History]:
    """Takes one step with all samples. The metrics are those before it."""
    before = state.params
    val_logits = plan.apply(before, val[0])
    state, (loss, logits) = step(plan, rule, state, train)
    if train[2]:  # the logits of the step are those of training, with its random numbers
        logits = plan.apply(before, train[0])
    history = evaluate(plan, (logits, val_logits), (train[1], val[1]))
    return state, history | {"step_loss": loss[jnp.newaxis]}


def minibatch_epoch(
    plan: Plan,
    measure: Callable[[Params], History],
    rule: optax.GradientTransformation,
    state: State,
    batches: Batches,
) -> tuple[State, History]:
    """Takes one step per batch. The metrics, `measure` of the params, are those after the last."""

    def next_step(state: State, batch: Batch) -> tuple[State, Array]:
        state, (loss, _) = step(plan, rule, state, batch)
        return state, loss

    state, losses = lax.scan(next_step, state, batches.full)
    if batches.num_left > 0:  # the short last batch has a shape of its own: a step after the scan
        state, last_loss = next_step(state, batches.rest)
        losses = jnp.append(losses, last_loss)
    return state, measure(state.params) | {"step_loss": losses}


def descend(
    plan: Plan,
    rule_of: Callable[[Int[Array, ""] | int], optax.GradientTransformation],
    params: Params,
    train: Samples,
    val: Samples,
    order: Int[Array, "..."] | None,
    draws: Draws,
    bar_number: int | Int[Array, ""] | None,
) -> Fit:
    """Trains for all epochs, the arguments being those of `run`; ``rule_of(epoch)`` updates the params."""
    epoch: Callable[..., tuple[State, History]]
    if plan.batch_size is None:
        epoch = functools.partial(full_batch_epoch, plan, val)
    else:
        both = evaluation.logits_of_both(plan.apply, train[0], val[0], plan.batch_size, plan.mesh)
        labels = (train[1], val[1])
        epoch = functools.partial(minibatch_epoch, plan, lambda p: evaluate(plan, both(p), labels))
    samples_of, rows = minibatches.for_epochs(train, order, plan.batch_size, plan.mesh)

    def next_epoch(state: State, inputs: tuple[Array, Array | None, Draws]) -> tuple[State, History]:
        index, row, drawn = inputs
        samples = minibatches.beside(samples_of(row), drawn, plan.batch_size, plan.mesh)
        state, history = epoch(rule_of(index), state, samples)
        progress.report(bar_number, index, plan.epochs, history)
        return state, history

    start, inputs = State(params, rule_of(0).init(params)), (jnp.arange(plan.epochs), rows, draws)
    if plan.early_stopping is None:
        state, history = lax.scan(next_epoch, start, inputs)
        return Fit(state.params, state.opt_state, history)

    def measured(before: State, after: State) -> Params:
        return (before if plan.batch_size is None else after).params

    state, watch, num_epochs, history = early_stopping.train(
        plan.early_stopping, next_epoch, measured, start, inputs, plan.epochs
    )
    counts = {"best_epoch": watch.best_epoch, "num_epochs": num_epochs}
    return Fit(watch.params, state.opt_state, history | counts)


def run(
    plan: Plan,
    params: Params,
    train: Samples,
    val: Samples,
    order: Int[Array, "..."] | None,
    learning_rate: float | Float[Array, ""],
    bar_number: int | Int[Array, ""] | None = None,
    weight_decay: Float[Array, ""] | None = None,
    draws: Draws | None = None,
) -> Fit:
    """Trains a network: the function that `fit` compiles and `jaxnn.sweep` maps over many runs.

    Args:
        plan: What is compiled in.
        params: As in `fit`, checked.
        train: As in `fit`, checked.
        val: As in `fit`, checked.
        order: As in `fit`, checked.
        learning_rate: Step size.
        bar_number: Number of the open progress bar; None leaves all callbacks out of the program.
        weight_decay: Times the params, added to the gradients; None leaves them as they are.
        draws: As in `fit`, checked; None for none.

    Returns:
        As `fit`; with early stopping the history has all epochs, and ``num_epochs`` says how many ran.

    Raises:
        ValueError: If `plan.apply` does not return one row per sample.
    """
    if plan.num_rows is not None:
        train, val = placement.without_filling(train, val, plan.num_rows, plan.mesh)
    dtype = jax.tree.leaves(params)[0].dtype

    def rule_of(epoch: Int[Array, ""] | int) -> optax.GradientTransformation:
        """Returns the optimiser with the learning rate of an epoch; its state is that of any other epoch."""
        rate = learning_rate
        if plan.schedule is not None:
            rate = rate * jnp.asarray(plan.schedule(jnp.asarray(epoch))).astype(dtype)
        rule = plan.optimizer(rate)
        if weight_decay is None:
            return rule
        # Entry by entry: it does not matter to how the matrices are stored.
        return optax.chain(optax.add_decayed_weights(weight_decay), rule)

    given = (train, val, order, draws or {}, bar_number)
    if storage.treats_rows_and_columns_alike(plan.optimizer, params):
        turned = plan._replace(
            apply=storage.of_turned(plan.apply),
            penalty=plan.penalty and storage.of_turned(plan.penalty),
        )
        trained = descend(turned, rule_of, storage.turned(params), *given)
        opt_state = storage.turned_state(rule_of(0), trained.opt_state)
        trained = Fit(storage.turned(trained.params), opt_state, trained.history)
    else:
        trained = descend(plan, rule_of, params, *given)
    whole: Fit = meshes.everywhere(trained, plan.mesh)
    return whole
