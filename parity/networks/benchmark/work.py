"""What an epoch needs at least: bytes to be read and operations to be done, whatever program does it."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jax import Array

    from jaxnn.arguments import Apply, Measure, Params


class Work(NamedTuple):
    """The least that one epoch with its metrics takes.

    Attributes:
        num_bytes: every sample read once for each pass that must be made, params read and written per step.
        operations: of the network's own formulas, as XLA counts them before it optimises.
    """

    num_bytes: float
    operations: float


def of_epoch(
    apply: "Apply",
    params: "Params",
    arrays: Mapping[str, np.ndarray],
    loss: "Measure",
    batch_size: int | None,
    runs: int = 1,
) -> Work:
    """The work of one epoch of `jaxnn.fit`; of many runs at once, that of one of them.

    With full batches one pass over the training samples gives loss, metrics and gradients, and one over the
    validation samples their metrics. With minibatches the metrics are those after the epoch's updates: one
    more pass over the training samples, forward only. Runs that train at once can share the samples that
    they read.

    Args:
        apply: ``apply(params, x) -> logits``.
        params: the params, float32.
        arrays: `x_train`, `y_train`, `x_val` and `y_val` as the JAX model takes them.
        loss: ``loss(logits, y) -> scalar``.
        batch_size: samples per step; None for all.
        runs: how many train at once.
    """
    import jax

    x, y, x_val = arrays["x_train"], arrays["y_train"], arrays["x_val"]

    def objective(params: "Params", x: "Array", y: "Array") -> "Array":
        return loss(apply(params, x), y)

    gradient = _operations(jax.value_and_grad(objective), params, x, y)
    forward, forward_val = _operations(apply, params, x), _operations(apply, params, x_val)
    size_of_params = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    steps = 1 if batch_size is None else -(-len(x) // batch_size)
    passes = 1 if batch_size is None else 2
    num_bytes = passes * (x.nbytes + y.nbytes) + x_val.nbytes + arrays["y_val"].nbytes
    operations = gradient + forward_val + (forward if batch_size is not None else 0.0)
    return Work(num_bytes / runs + 2.0 * steps * size_of_params, operations)


def _operations(function: Callable[..., object], *args: object) -> float:
    import jax

    analysis = jax.jit(function).lower(*args).cost_analysis() or {}
    return float(analysis["flops"])
