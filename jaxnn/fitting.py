"""`fit`: checks its arguments, places them, and trains one network in one compiled program."""

from collections.abc import Callable, Mapping

import jax
import optax
from jax.sharding import Mesh
from jax.typing import ArrayLike
from jaxtyping import Array, Int

from jaxnn import mesh as meshes
from jaxnn import placement
from jaxnn import progress as progress_bar
from jaxnn.arguments import Apply, Measure, Params, prepare, prepare_draws
from jaxnn.early_stopping import EarlyStopping
from jaxnn.training import Fit, Plan, run

__all__ = ["fit"]

_compiled_run = jax.jit(run, static_argnums=0)


def fit(
    apply: Apply,
    params: Params,
    train: tuple[ArrayLike, ArrayLike],
    val: tuple[ArrayLike, ArrayLike],
    *,
    loss: Measure,
    metrics: Mapping[str, Measure],
    optimizer: Callable[..., optax.GradientTransformation],
    learning_rate: float,
    epochs: int,
    batch_size: int | None = None,
    order: ArrayLike | None = None,
    draws: Mapping[str, ArrayLike] | None = None,
    schedule: Callable[[Int[Array, ""]], Array] | None = None,
    penalty: Callable[[Params], Array] | None = None,
    early_stopping: EarlyStopping | None = None,
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
        draws: Random numbers for training, such as dropout's, by the name of the argument of `apply` that
            takes them: shape (epochs, samples used, ...), in the order of use. Each step calls
            ``apply(params, x, **its rows)``; whatever is recorded comes from ``apply(params, x)``.
        schedule: ``schedule(epoch) -> factor`` of the learning rate, epochs counted from 0, such as
            ``optax.exponential_decay(1.0, 1, 0.95)``. None: the same rate throughout.
        penalty: ``penalty(params) -> scalar``, added to the loss of every batch; metrics are without it.
        early_stopping: When to stop before the last epoch, by ``val_loss``; the params that are returned are
            the best ones. None: all epochs, and the last params.
        mesh: `jaxnn.mesh.make()` deals the samples, and every batch, out over all devices of all processes;
            any number of samples will do. With an order for every epoch, each device holds all samples for
            a moment in every epoch; with one order, only its part. None: one device.
        progress: Show a bar with epoch, elapsed time and current metrics on standard error.

    Returns:
        The trained params, the optimiser's state and the history, as jax arrays; with a mesh whole on every
        device, so that every process can read them.

    Raises:
        ValueError: If shapes, dtypes, indices or numbers do not fit; the message names all of them.

    Differs: a loss that becomes infinite or NaN is recorded and not raised, in both packages. A schedule of
    optax is usually part of the optimiser and counts updates; here, as in PyTorch's loops, it counts epochs.

    Source: notebook, sections 3.1.5, 3.2.5, 3.3.3 (full batch), 4.4.3 (minibatches) and 4.5.

    >>> import jax.numpy as jnp
    >>> square = lambda p, y: jnp.mean((p - y) ** 2)
    >>> x, y = jnp.ones((4, 1)), jnp.ones(4)
    >>> run = fit(lambda w, x: x @ w, jnp.zeros(1), (x, y), (x, y), loss=square, metrics={"loss": square},
    ...           optimizer=optax.sgd, learning_rate=0.25, epochs=3)
    >>> run.history["train_loss"].tolist()
    [1.0, 0.25, 0.0625]
    """
    if early_stopping is not None and "loss" not in metrics:
        raise ValueError(
            f"`metrics` has {', '.join(map(repr, metrics)) or 'none'}: `early_stopping` watches the "
            f"validation loss and needs one called 'loss'."
        )
    plan = Plan(apply, loss, tuple(metrics.items()), optimizer, epochs, batch_size)
    plan = plan._replace(schedule=schedule, penalty=penalty, early_stopping=early_stopping)
    arrays = prepare(params, train, val, order, epochs=epochs, batch_size=batch_size, mesh=mesh)
    num_used = len(arrays[1][0]) if arrays[3] is None else arrays[3].shape[-1]
    drawn = prepare_draws(draws, arrays[0], epochs, num_used, mesh)
    if mesh is not None:
        _, (x, _), (x_val, _), _ = arrays
        plan = plan._replace(mesh=mesh, num_rows=(len(x), len(x_val)))
        arrays, drawn = placement.placed(*arrays, mesh), meshes.replicate(drawn, mesh)
    rate = float(learning_rate)  # weakly typed when traced: takes the dtype of the params
    if not progress:
        return _as_run(_compiled_run(plan, *arrays, rate, draws=drawn))
    with progress_bar.bar(epochs) as bar_number:
        trained: Fit = _compiled_run(plan, *arrays, rate, bar_number, draws=drawn)
        jax.tree.map(lambda leaf: leaf.block_until_ready(), trained)
    return _as_run(trained)


def _as_run(trained: Fit) -> Fit:
    """Leaves out the epochs that early stopping has saved."""
    history = dict(trained.history)
    if "num_epochs" not in history:
        return trained
    num_epochs = int(history.pop("num_epochs"))
    return trained._replace(
        history={name: rows if name == "best_epoch" else rows[:num_epochs] for name, rows in history.items()}
    )
