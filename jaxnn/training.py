"""Training as one compiled program: a scan over epochs of a scan over steps, updates by optax."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from jaxnn import mesh as meshes
from jaxnn import progress as progress_bar
from jaxnn import storage
from jaxnn.arguments import Held, Params, Samples, prepare

__all__ = ["Fit", "Plan", "fit", "per_sample_grads", "run"]


class Fit(NamedTuple):
    """What a training run leaves.

    Attributes:
        params: The trained params.
        opt_state: The optimiser's state after the last step.
        history: ``train_<metric>`` and ``val_<metric>``, of shape (epochs, *shape of the metric), and
            ``step_loss`` of shape (epochs, steps per epoch), each batch's loss before its update.
    """

    params: Params
    opt_state: Any
    history: dict[str, Array]


class Plan(NamedTuple):
    """The part of a run that is compiled in. Equal plans and equal shapes share a compiled program."""

    apply: Callable[..., Any]
    loss: Callable[..., Any]
    metrics: tuple[tuple[str, Callable[..., Any]], ...]
    optimizer: Callable[..., optax.GradientTransformation]
    epochs: int
    batch_size: int | None
    mesh: Mesh | None = None
    num_rows: tuple[int, int] | None = None
    """Training and validation samples, where `spread` has added rows to fill the mesh."""


def fit(
    apply: Callable[..., Any],
    params: Params,
    train: tuple[ArrayLike, ArrayLike],
    val: tuple[ArrayLike, ArrayLike],
    *,
    loss: Callable[..., Any],
    metrics: Mapping[str, Callable[..., Any]],
    optimizer: Callable[..., optax.GradientTransformation],
    learning_rate: float,
    epochs: int,
    batch_size: int | None = None,
    order: ArrayLike | None = None,
    mesh: Mesh | None = None,
    progress: bool = False,
) -> Fit:
    """Trains a network, the whole run in one compiled program.

    With full batches, the metrics of an epoch are those before its update, the training metrics from
    the forward pass that the gradient comes from. With minibatches they are those after the epoch's
    updates, on all of `train` and `val`. That is when the notebook records them.

    A second run is compiled anew only if the functions, the shapes or dtypes, `epochs` or `batch_size`
    are others; a lambda written in the call is another function every time.

    Args:
        apply: ``apply(params, x) -> logits``, one row per sample, which depends on that sample alone.
        params: Pytree of arrays of one floating dtype; the run stays in it.
        train: ``(x, y)`` with one row per sample; floating x in the dtype of `params`.
        val: ``(x, y)`` likewise.
        loss: ``loss(logits, y) -> scalar``, what is differentiated.
        metrics: ``{name: metric(logits, y) -> array}``, what is recorded.
        optimizer: ``optimizer(learning_rate) -> optax.GradientTransformation``, for example `optax.sgd`.
        learning_rate: Step size.
        epochs: How many times to go through the data, at least 1.
        batch_size: Samples per step; the last batch of an epoch may be short. None: all in one step.
        order: Indices of the samples in the order of their use, (samples used,) for every epoch or
            (epochs, samples used); batch k is ``order[k * batch_size : (k + 1) * batch_size]``. None:
            as they are. With full batches the training metrics are those of the samples used.
        mesh: `jaxnn.mesh.make()` deals the samples, and every batch, out over all devices of all processes;
            any number of samples will do. With an order for every epoch, each device holds all samples for
            a moment in every epoch; with one order, only its part. None: one device.
        progress: Show a bar with epoch, elapsed time and current metrics on standard error.

    Returns:
        The trained params, the optimiser's state and the history, as jax arrays; with a mesh whole on every
        device, so that every process can read them.

    Raises:
        ValueError: If shapes, dtypes, indices or numbers do not fit; the message names all of them.

    Differs: a loss that becomes infinite or NaN is recorded and not raised, in both packages.

    Source: notebook, sections 3.1.5, 3.2.5, 3.3.3 (full batch) and 4.4.3 (minibatches).

    >>> square = lambda p, y: jnp.mean((p - y) ** 2)
    >>> x, y = jnp.ones((4, 1)), jnp.ones(4)
    >>> run = fit(lambda w, x: x @ w, jnp.zeros(1), (x, y), (x, y), loss=square, metrics={"loss": square},
    ...           optimizer=optax.sgd, learning_rate=0.25, epochs=3)
    >>> run.history["train_loss"].tolist()
    [1.0, 0.25, 0.0625]
    """
    plan = Plan(apply, loss, tuple(metrics.items()), optimizer, epochs, batch_size)
    arrays = prepare(params, train, val, order, epochs=epochs, batch_size=batch_size, mesh=mesh)
    if mesh is not None:
        plan = plan._replace(mesh=mesh, num_rows=(len(arrays[1][0]), len(arrays[2][0])))
        arrays = _placed(*arrays, mesh)
    rate = float(learning_rate)  # weakly typed when traced: takes the dtype of the params
    if not progress:
        trained: Fit = _compiled_run(plan, *arrays, rate)
        return trained
    with progress_bar.bar(epochs) as bar_number:
        trained = _compiled_run(plan, *arrays, rate, bar_number)
        jax.tree.map(lambda leaf: leaf.block_until_ready(), trained)
    return trained


@functools.partial(jax.jit, static_argnames=("apply", "loss"))
def per_sample_grads(
    apply: Callable[..., Any],
    params: Params,
    x: Float[Array, "N ..."],
    y: Array,
    *,
    loss: Callable[..., Any],
) -> Params:
    """Computes the gradient of every sample's own loss at once.

    Args:
        apply: ``apply(params, x) -> logits``.
        params: Pytree of arrays.
        x: Inputs.
        y: Labels, one row per sample.
        loss: ``loss(logits, y) -> scalar``, of batches of one sample here.

    Returns:
        The gradients, shaped as `params` with a leading axis of N. For a loss that is a mean over
        samples, their mean is the gradient of the batch.

    Differs: PyTorch does this with ``torch.func.vmap`` over ``torch.func.grad``.

    >>> square = lambda p, y: jnp.mean((p - y) ** 2)
    >>> x, y = jnp.array([[1.0], [2.0]]), jnp.zeros(2)
    >>> per_sample_grads(lambda w, x: x @ w, jnp.ones(1), x, y, loss=square).tolist()
    [[2.0], [8.0]]
    """

    def sample_loss(params: Params, x: Array, y: Array) -> Any:
        return loss(apply(params, x[jnp.newaxis]), y[jnp.newaxis])

    return jax.vmap(jax.grad(sample_loss), in_axes=(None, 0, 0))(params, x, y)


def run(
    plan: Plan,
    params: Params,
    train: Samples,
    val: Samples,
    order: Int[Array, "..."] | None,
    learning_rate: float | Float[Array, ""],
    bar_number: int | Int[Array, ""] | None = None,
    weight_decay: Float[Array, ""] | None = None,
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

    Returns:
        As `fit`.

    Raises:
        ValueError: If `plan.apply` does not return one row per sample.
    """
    deal = functools.partial(meshes.deal, mesh=plan.mesh)
    if plan.num_rows is not None:  # on a mesh, filled up with zeros: off with them
        num_train, num_val = plan.num_rows
        train = deal(jax.tree.map(lambda a: a[:num_train], train))
        val = deal(jax.tree.map(lambda a: a[:num_val], val))
    optimizer = plan.optimizer(learning_rate)
    if weight_decay is not None:  # entry by entry: it does not matter to how the matrices are stored
        optimizer = optax.chain(optax.add_decayed_weights(weight_decay), optimizer)
    turn = storage.treats_rows_and_columns_alike(plan.optimizer, params)

    def apply(stored: Params, x: Array) -> Array:
        logits: Array = plan.apply(storage.turned(stored) if turn else stored, x)
        return logits

    def objective(stored: Params, x: Array, y: Array) -> tuple[Array, Array]:
        logits = apply(stored, x)
        if logits.shape[:1] != x.shape[:1]:
            raise ValueError(
                f"`apply` returned shape {logits.shape} for inputs of shape {x.shape}: it must return one "
                f"row per sample."
            )
        return plan.loss(logits, y), logits

    def step(state: tuple[Params, Any], batch: Samples) -> tuple[tuple[Params, Any], tuple[Array, Array]]:
        params, opt_state = state
        outcome, grads = jax.value_and_grad(objective, has_aux=True)(params, *batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), outcome

    def evaluate(prefix: str, logits: Array, y: Array) -> dict[str, Array]:
        return {f"{prefix}_{name}": metric(logits, y) for name, metric in plan.metrics}

    def for_evaluation(x: Array, batch_size: int) -> Array:
        """Batches, whose values stay in the cache; all alike, with zeros to fill the last."""
        num_batches = -(-len(x) // batch_size)
        size = -(-len(x) // num_batches)
        filled = jnp.pad(x, [(0, num_batches * size - len(x))] + [(0, 0)] * (x.ndim - 1))
        batches: Array = deal(filled.reshape(num_batches, size, *x.shape[1:]), axis=1)
        return batches

    def both_logits(stored: Params) -> tuple[Array, Array]:
        """Of the training and of the validation samples; of images in one loop: compiled once."""
        if images is None:
            return apply(stored, train[0]), apply(stored, val[0])
        logits: Array = lax.map(functools.partial(apply, stored), images)
        logits = logits.reshape(-1, *logits.shape[2:])
        return logits[: len(train[0])], logits[len(train[0]) : len(train[0]) + len(val[0])]

    def full_batch_epoch(state: Any, samples: Samples) -> tuple[Any, dict[str, Array]]:
        val_logits = apply(state[0], val[0])
        state, (loss, logits) = step(state, samples)
        history = evaluate("train", logits, samples[1]) | evaluate("val", val_logits, val[1])
        return state, history | {"step_loss": loss[jnp.newaxis]}

    def minibatch_epoch(state: Any, samples: tuple[Samples, Samples]) -> tuple[Any, dict[str, Array]]:
        batches, rest = samples
        state, losses = lax.scan(lambda s, b: _keep_loss(step(s, b)), state, batches)
        if rest[0].shape[0] > 0:  # the short last batch has a shape of its own: a step after the scan
            state, last_loss = _keep_loss(step(state, rest))
            losses = jnp.append(losses, last_loss)
        train_logits, val_logits = both_logits(state[0])
        history = evaluate("train", train_logits, train[1]) | evaluate("val", val_logits, val[1])
        return state, history | {"step_loss": losses}

    def in_order(row: Array | None) -> Any:
        samples = deal(_take(train, row))
        return samples if plan.batch_size is None else _split(samples, plan.batch_size, deal)

    images = None
    if plan.batch_size is not None and train[0].ndim > 2:
        images = for_evaluation(jnp.concatenate([train[0], val[0]]), plan.batch_size)
    run_epoch = full_batch_epoch if plan.batch_size is None else minibatch_epoch
    same_every_epoch = order is None or order.ndim == 1
    samples = in_order(order) if same_every_epoch else None  # once, not in every epoch

    def epoch(state: Any, inputs: tuple[Array, Array | None]) -> tuple[Any, dict[str, Array]]:
        index, row = inputs
        state, history = run_epoch(state, samples or in_order(row))
        if bar_number is not None:
            scalars = {name: value for name, value in history.items() if value.ndim == 0}
            progress_bar.report(jnp.asarray(bar_number), index, plan.epochs, scalars)
        return state, history

    rows = None if same_every_epoch else order
    stored = storage.turned(params) if turn else params
    state = (stored, optimizer.init(stored))
    (stored, opt_state), history = lax.scan(epoch, state, (jnp.arange(plan.epochs), rows))
    if turn:
        stored, opt_state = storage.turned(stored), storage.turned_state(optimizer, opt_state)
    whole: Fit = meshes.everywhere(Fit(stored, opt_state, history), plan.mesh)
    return whole


_compiled_run = jax.jit(run, static_argnums=0)


def _keep_loss(stepped: tuple[Any, tuple[Array, Array]]) -> tuple[Any, Array]:
    """Drops the logits of a step, so that a scan does not collect them."""
    state, (loss, _) = stepped
    return state, loss


def _take(samples: Samples, order: Array | None) -> Samples:
    """Returns samples in the given order, whose indices have been checked."""
    if order is None:
        return samples
    x, y = samples
    return jnp.take(x, order, axis=0, mode="clip"), jnp.take(y, order, axis=0, mode="clip")


def _split(samples: Any, size: int, deal: Callable[..., Any]) -> tuple[Any, Any]:
    """Splits samples into full batches, stacked along a new first axis, and the rest."""
    num_rows = jax.tree.leaves(samples)[0].shape[0]
    num_batches = num_rows // size
    used = num_batches * size
    full = jax.tree.map(lambda a: a[:used].reshape(num_batches, size, *a.shape[1:]), samples)
    return deal(full, axis=1), deal(jax.tree.map(lambda a: a[used:], samples))


def _placed(
    params: Params, train: tuple[Held, Held], val: tuple[Held, Held], order: Held | None, mesh: Mesh
) -> tuple[Params, Samples, Samples, Int[Array, "..."] | None]:
    """Puts the samples' rows on the devices of a mesh, everything else on each of them."""
    x, y = train
    x_val, y_val = val
    spread = functools.partial(meshes.spread, mesh=mesh)
    whole = functools.partial(meshes.replicate, mesh=mesh)
    return whole(params), (spread(x), spread(y)), (spread(x_val), spread(y_val)), whole(order)
