"""Training as plain loops, with the histories that the notebook records, when it records them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from torchref.early_stopping import EarlyStopping, Watch
from torchref.optimizers import Optimizer, Schedule
from torchref.parallel import Ranks
from torchref.progress import progress_bar

Metric = Callable[[Tensor, Tensor], Tensor]
Samples = tuple[Tensor, Tensor]  # inputs and labels of equal length
Draws = dict[str, Tensor]  # random numbers by the name of the argument that takes them; often none
ALONE = Ranks()


def fit(
    forward: Callable[..., Tensor],
    parameters: Mapping[str, Tensor],
    train: Samples,
    val: Samples,
    *,
    loss: Metric,
    metrics: Mapping[str, Metric],
    optimizer: Callable[[Mapping[str, Tensor], float], Optimizer],
    learning_rate: float,
    epochs: int,
    batch_size: int | None = None,
    order: npt.ArrayLike | Tensor | None = None,
    draws: Mapping[str, Tensor] | None = None,
    schedule: Callable[[Any], Schedule] | None = None,
    penalty: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
    early_stopping: EarlyStopping | None = None,
    ranks: Ranks = ALONE,
    progress: bool = False,
) -> dict[str, Tensor]:
    """Train `parameters` in place and return what was measured on the way.

    Without `batch_size`, an epoch is one step on all its samples, and its metrics are those BEFORE the
    update, from the forward pass that gives the gradients. With `batch_size`, an epoch is one step for
    each batch, and its metrics are those AFTER the last update, on the whole training and validation
    sets. A loss that is not finite is recorded like any other.

    The mode of a module (train or eval) is left alone, the gradients are `None` afterwards.

    Args:
        forward: maps a batch of inputs to outputs: a module, or a closure over `parameters`.
        parameters: the leaf tensors that `forward` uses, such as `dict(module.named_parameters())`.
        train: inputs and labels, tensors of equal length on the device of the parameters.
        val: the same of the validation set.
        loss: `loss(outputs, labels) -> scalar`, which is differentiated.
        metrics: `metric(outputs, labels) -> tensor` by name; all are recorded.
        optimizer: `optimizer(parameters, learning_rate)` makes the object that does the updates.
        learning_rate: handed to `optimizer`.
        epochs: number of epochs, >= 1.
        batch_size: samples per step, >= 1; the last batch of an epoch may be short. `None`: all.
        order: which samples an epoch visits, in which order: integers of shape (samples_used,), the same
            in every epoch, or (epochs, samples_used). `None`: all, as they lie.
        draws: random numbers for training, such as dropout's, by the name of the argument of `forward` that
            takes them: shape (epochs, samples_used, ...), in the order of use. Each step calls
            `forward(x, **its rows)`; whatever is recorded comes from `forward(x)`.
        schedule: `schedule(optimizer)` makes what sets the learning rate, one of
            `torch.optim.lr_scheduler`; its `step()` is called after each epoch. `None`: the same rate
            throughout.
        penalty: `penalty(parameters) -> scalar`, added to the loss of every batch; metrics are without it.
        early_stopping: when to stop before the last epoch, by `val_loss`; `parameters` end as the best ones.
            `None`: all epochs, and the last ones.
        ranks: the processes that train together, from `torchref.parallel.start`, each called with the same
            arguments: every one takes its share of each batch, and all return the same. `loss` must be a
            mean over samples then; metrics may be anything.
        progress: whether to show a bar with elapsed time and metrics (train/val) on standard error.

    Returns:
        Tensors on the CPU: `train_<metric>` and `val_<metric>` of shape (epochs, *metric shape), and
        `step_loss` of shape (epochs, steps per epoch), the loss of each batch before its update, penalty
        included. With early stopping there are as many epochs as ran, and `best_epoch`, a number: the epoch
        counted from 1 in which `parameters` were measured, 0 if they are those from before training.

    Raises:
        ValueError: if an argument does not fit; the message lists everything that does not.

    Differs:
        `jaxnn.fit` returns new parameters; here the given ones change. Over several processes, a loss there
        is that of the whole batch, whatever its formula; here each process has the loss of its share, and
        gradients are averaged. `jaxnn.fit` takes the schedule as a function of the epoch.

    Source:
        Notebook, sections 3.1.5 and 4.4.1 (full batch), 4.4.3 (minibatches) and 4.5.
    """
    indices = None if order is None else _as_numpy(order)
    drawn = dict(draws or {})
    faults = list(_faults(parameters, train, val, epochs, batch_size, indices))
    faults = faults or list(_faults_of_draws(drawn, epochs, _num_used(train, indices)))
    if early_stopping is not None and "loss" not in metrics:
        faults.append("`metrics` must have one called 'loss', whose validation `early_stopping` watches.")
    if faults:
        raise ValueError("\n".join(faults))

    network = ranks.network(forward, parameters)
    descent = optimizer(parameters, learning_rate)
    descent.zero_grad()  # of whatever the caller did before
    rates = schedule(descent) if schedule is not None else None
    watch = Watch(early_stopping, parameters) if early_stopping is not None else None
    history: dict[str, list[Tensor]] = defaultdict(list)

    def evaluate(x: Tensor) -> Tensor:
        return ranks.whole(forward(ranks.own(x)), len(x))

    def record(epoch: int, outputs: Tensor, labels: Tensor) -> None:
        for part, o, y in (("train", outputs, labels), ("val", evaluate(val[0]), val[1])):
            for name, metric in metrics.items():
                history[f"{part}_{name}"].append(metric(o, y))
        if watch is not None:
            watch.see(parameters, history["val_loss"][-1], epoch)

    with progress_bar(epochs, show=progress and ranks.rank == 0) as update_bar:
        for epoch, samples in enumerate(_epochs(train, indices, drawn, epochs), start=1):
            step_losses = []
            for x, y, numbers in _batches(*samples, batch_size):
                x_own, y_own = ranks.own(x), ranks.own(y)
                outputs = network(x_own, **{name: ranks.own(rows) for name, rows in numbers.items()})
                value = loss(outputs, y_own) if len(x_own) else outputs.sum()  # of no rows: 0
                value = value if penalty is None else value + penalty(parameters)
                value = ranks.weighted(value, len(x_own), len(x))
                value.backward()
                step_losses.append(ranks.mean(value.detach()))

                if batch_size is None:  # before the update
                    with torch.no_grad():
                        record(epoch, evaluate(x) if numbers else ranks.whole(outputs.detach(), len(x)), y)

                descent.step()
                descent.zero_grad()

            if batch_size is not None:  # after all updates of the epoch
                with torch.no_grad():
                    record(epoch, evaluate(train[0]), train[1])
            history["step_loss"].append(torch.stack(step_losses))
            update_bar(epoch, history)
            if rates is not None:
                rates.step()
            if watch is not None and watch.stops:
                break

    # One transfer each at the end: reading a number in the loop would make an accelerator wait.
    recorded = {name: torch.stack(values).cpu() for name, values in history.items()}
    if watch is not None:
        watch.restore(parameters)
        recorded["best_epoch"] = torch.tensor(watch.best_epoch)
    return recorded


def _epochs(
    train: Samples, order: np.ndarray | None, draws: Draws, epochs: int
) -> Iterator[tuple[Tensor, Tensor, Draws]]:
    """The training samples of each epoch, in order, with its random numbers."""
    for epoch, (x, y) in enumerate(_in_order(train, order, epochs)):
        yield x, y, {name: rows[epoch] for name, rows in draws.items()}


def _in_order(train: Samples, order: np.ndarray | None, epochs: int) -> Iterable[Samples]:
    """The training samples of each epoch; gathered only once if all epochs are alike."""
    x, y = train
    if order is None:
        return repeat(train, epochs)
    indices = torch.tensor(order, dtype=torch.int64, device=x.device)
    if indices.ndim == 1:
        return repeat((x[indices], y[indices]), epochs)
    return ((x[rows], y[rows]) for rows in indices)


def _batches(
    x: Tensor, y: Tensor, draws: Draws, batch_size: int | None
) -> Iterator[tuple[Tensor, Tensor, Draws]]:
    size = batch_size or len(x)
    split = {name: torch.split(rows, size) for name, rows in draws.items()}
    for k, (x_batch, y_batch) in enumerate(zip(torch.split(x, size), torch.split(y, size), strict=True)):
        yield x_batch, y_batch, {name: batches[k] for name, batches in split.items()}


def _as_numpy(order: npt.ArrayLike | Tensor) -> np.ndarray:
    return order.cpu().numpy() if isinstance(order, Tensor) else np.asarray(order)


def _faults(
    parameters: Mapping[str, Tensor],
    train: Samples,
    val: Samples,
    epochs: int,
    batch_size: int | None,
    order: np.ndarray | None,
) -> Iterator[str]:
    """What is wrong with the arguments of `fit`, one sentence each."""
    if not any(p.requires_grad for p in parameters.values()):
        yield "`parameters` must hold a tensor that requires gradients; call `requires_grad_()`."
    for name, (x, y) in (("train", train), ("val", val)):
        if len(x) != len(y) or len(x) == 0:
            yield f"`{name}` must hold as many labels as inputs, at least one, got {len(x)} and {len(y)}."
    if epochs < 1:
        yield f"`epochs` must be at least 1, got {epochs}."
    if batch_size is not None and batch_size < 1:
        yield f"`batch_size` must be at least 1, or None for full batch, got {batch_size}."
    if order is not None:
        yield from _faults_of_order(order, num_samples=len(train[0]), epochs=epochs)


def _num_used(train: Samples, order: np.ndarray | None) -> int:
    return len(train[0]) if order is None else int(order.shape[-1])


def _faults_of_draws(draws: Draws, epochs: int, num_used: int) -> Iterator[str]:
    for name, rows in draws.items():
        if rows.shape[:2] != (epochs, num_used):
            yield (
                f"`draws` must hold a row per epoch and sample used, ({epochs}, {num_used}, ...), "
                f"got {name!r} of shape {tuple(rows.shape)}."
            )


def _faults_of_order(order: np.ndarray, num_samples: int, epochs: int) -> Iterator[str]:
    if not np.issubdtype(order.dtype, np.integer):
        yield f"`order` must hold integers, got {order.dtype} of shape {order.shape}."
    elif order.ndim not in (1, 2) or (order.ndim == 2 and len(order) != epochs):
        yield f"`order` must have shape (samples_used,) or ({epochs}, samples_used), got {order.shape}."
    elif order.size == 0:
        yield f"`order` must name at least one sample, got shape {order.shape}."
    elif order.min() < 0 or order.max() >= num_samples:
        yield (
            f"`order` must lie in [0, {num_samples}), the samples of `train`, "
            f"got {order.min()} to {order.max()}."
        )
