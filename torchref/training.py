"""Training as plain loops, with the histories that the notebook records, when it records them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from torchref.optimizers import Optimizer
from torchref.parallel import Ranks
from torchref.progress import progress_bar

Metric = Callable[[Tensor, Tensor], Tensor]
Samples = tuple[Tensor, Tensor]  # inputs and labels of equal length
ALONE = Ranks()


def fit(
    forward: Callable[[Tensor], Tensor],
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
        ranks: the processes that train together, from `torchref.parallel.start`, each called with the same
            arguments: every one takes its share of each batch, and all return the same. `loss` must be a
            mean over samples then; metrics may be anything.
        progress: whether to show a bar with elapsed time and metrics (train/val) on standard error.

    Returns:
        Tensors on the CPU: `train_<metric>` and `val_<metric>` of shape (epochs, *metric shape), and
        `step_loss` of shape (epochs, steps per epoch), the loss of each batch before its update.

    Raises:
        ValueError: if an argument does not fit; the message lists everything that does not.

    Differs:
        `jaxnn.fit` returns new parameters; here the given ones change. Over several processes, a loss there
        is that of the whole batch, whatever its formula; here each process has the loss of its share, and
        gradients are averaged.

    Source:
        Notebook, sections 3.1.5 and 4.4.1 (full batch) and 4.4.3 (minibatches).
    """
    indices = None if order is None else _as_numpy(order)
    faults = list(_faults(parameters, train, val, epochs, batch_size, indices))
    if faults:
        raise ValueError("\n".join(faults))

    network = ranks.network(forward, parameters)
    descent = optimizer(parameters, learning_rate)
    descent.zero_grad()  # of whatever the caller did before
    history: dict[str, list[Tensor]] = defaultdict(list)

    def record(part: str, outputs: Tensor, labels: Tensor) -> None:
        for name, metric in metrics.items():
            history[f"{part}_{name}"].append(metric(outputs, labels))

    def evaluate(x: Tensor) -> Tensor:
        return ranks.whole(forward(ranks.own(x)), len(x))

    with progress_bar(epochs, show=progress and ranks.rank == 0) as update_bar:
        for epoch, (x, y) in enumerate(_epochs(train, indices, epochs), start=1):
            step_losses = []
            for x_batch, y_batch in _batches(x, y, batch_size):
                x_own, y_own = ranks.own(x_batch), ranks.own(y_batch)
                outputs = network(x_own)
                value = loss(outputs, y_own) if len(x_own) else outputs.sum()  # of no rows: 0
                value = ranks.weighted(value, len(x_own), len(x_batch))
                value.backward()
                step_losses.append(ranks.mean(value.detach()))

                if batch_size is None:  # before the update
                    with torch.no_grad():
                        record("train", ranks.whole(outputs.detach(), len(x_batch)), y_batch)
                        record("val", evaluate(val[0]), val[1])

                descent.step()
                descent.zero_grad()

            if batch_size is not None:  # after all updates of the epoch
                with torch.no_grad():
                    record("train", evaluate(train[0]), train[1])
                    record("val", evaluate(val[0]), val[1])
            history["step_loss"].append(torch.stack(step_losses))
            update_bar(epoch, history)

    # One transfer each at the end: reading a number in the loop would make an accelerator wait.
    return {name: torch.stack(values).cpu() for name, values in history.items()}


def _epochs(train: Samples, order: np.ndarray | None, epochs: int) -> Iterable[Samples]:
    """The training samples of each epoch, in order; gathered only once if all epochs are alike."""
    x, y = train
    if order is None:
        return repeat(train, epochs)
    indices = torch.tensor(order, dtype=torch.int64, device=x.device)
    if indices.ndim == 1:
        return repeat((x[indices], y[indices]), epochs)
    return ((x[rows], y[rows]) for rows in indices)


def _batches(x: Tensor, y: Tensor, batch_size: int | None) -> Iterator[Samples]:
    size = batch_size or len(x)
    return zip(torch.split(x, size), torch.split(y, size), strict=True)


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
