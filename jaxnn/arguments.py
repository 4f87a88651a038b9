"""The arguments of a training run: what they must be, and their conversion to jax arrays."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree, Shaped

from jaxnn.mesh import Held, on_host

__all__ = ["Apply", "Draws", "Measure", "Params", "Samples", "prepare", "prepare_draws"]

Params: TypeAlias = PyTree
"""A pytree of arrays."""

Apply = Callable[..., Array]
"""A network, ``apply(params, x) -> logits``; in training also ``apply(params, x, **draws)``."""

Draws = dict[str, Array]
"""The random numbers that a network takes in training, by the name of its argument; often none."""

Measure = Callable[[Array, Array], Array]
"""A loss or a metric, ``measure(logits, labels) -> array``; of a loss and of most metrics a scalar."""

Samples = tuple[Array, Array]
"""Inputs and labels, one row per sample."""


def prepare(
    params: Params,
    train: tuple[ArrayLike, ArrayLike],
    val: tuple[ArrayLike, ArrayLike],
    order: ArrayLike | None,
    *,
    epochs: int,
    batch_size: int | None,
    mesh: Mesh | None = None,
) -> tuple[Params, tuple[Held, Held], tuple[Held, Held], Held | None]:
    """Checks the arguments of a run and returns its arrays as jax arrays, for a mesh as NumPy arrays.

    Args:
        params: As in `jaxnn.fit`.
        train: As in `jaxnn.fit`.
        val: As in `jaxnn.fit`.
        order: As in `jaxnn.fit`.
        epochs: As in `jaxnn.fit`.
        batch_size: As in `jaxnn.fit`.
        mesh: As in `jaxnn.fit`; where each array goes is decided later, so that no device gets all of it.

    Returns:
        ``(params, train, val, order)``.

    Raises:
        ValueError: If something does not fit, with all faults in one message.
    """
    as_array = jnp.asarray if mesh is None else on_host
    params = jax.tree.map(as_array, params)
    x, y = (as_array(a) for a in train)
    x_val, y_val = (as_array(a) for a in val)
    faults = []
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value is not None and (not isinstance(value, int) or value < 1):
            faults.append(f"`{name}` is {value!r}: it must be an integer of at least 1.")
    for name, (inputs, labels) in (("train", (x, y)), ("val", (x_val, y_val))):
        if inputs.ndim == 0 or labels.shape[:1] != inputs.shape[:1] or inputs.shape[0] == 0:
            faults.append(
                f"`{name}` has inputs of shape {inputs.shape} and labels of shape {labels.shape}: both must "
                f"have one row per sample, and at least one."
            )
    for name, ours, theirs in (("inputs", x, x_val), ("labels", y, y_val)):
        if ours.shape[1:] != theirs.shape[1:]:
            faults.append(
                f"`train` has {name} of shape {ours.shape}, `val` {theirs.shape}: they must agree in all "
                f"but the first axis."
            )
    faults += _faults_of_dtypes(params, x, x_val)
    indices = None if order is None else np.asarray(order)
    if indices is not None:
        faults += _faults_of_order(indices, epochs, x.shape[0] if x.ndim else 0)
    if faults:
        raise ValueError("\n".join(faults))
    return params, (x, y), (x_val, y_val), None if indices is None else as_array(indices.astype(np.int32))


def prepare_draws(
    draws: Mapping[str, ArrayLike] | None, params: Params, epochs: int, num_used: int, mesh: Mesh | None
) -> dict[str, Held]:
    """Checks the random numbers of a run and returns them as jax arrays, for a mesh as NumPy arrays.

    Args:
        draws: As in `jaxnn.fit`.
        params: From `prepare`.
        epochs: As in `jaxnn.fit`.
        num_used: How many samples an epoch uses.
        mesh: As in `jaxnn.fit`.

    Returns:
        The arrays by name; none if `draws` is None.

    Raises:
        ValueError: If a shape or a dtype does not fit, with all faults in one message.
    """
    as_array = jnp.asarray if mesh is None else on_host
    arrays = {name: as_array(array) for name, array in (draws or {}).items()}
    dtype = jax.tree.leaves(params)[0].dtype
    faults = []
    for name, array in arrays.items():
        if array.shape[:2] != (epochs, num_used):
            faults.append(
                f"`draws` has {name!r} of shape {array.shape}: it must be ({epochs}, {num_used}, ...), a row "
                f"per epoch and sample used."
            )
        if jnp.issubdtype(array.dtype, jnp.floating) and array.dtype != dtype:
            faults.append(
                f"`draws` has {name!r} of dtype {array.dtype}, `params` {dtype}: convert one of them."
            )
    if faults:
        raise ValueError("\n".join(faults))
    return arrays


def _faults_of_dtypes(params: Params, x: Held, x_val: Held) -> list[str]:
    """Returns what is wrong with the dtypes: a mixture would make the run drift to another precision."""
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(params)}
    if len(dtypes) != 1 or not jnp.issubdtype(next(iter(dtypes)), jnp.floating):
        return [f"`params` has leaves of dtypes {sorted(dtypes)}: it must have one floating dtype."]
    (dtype,) = dtypes
    return [
        f"`{name}` has inputs of dtype {inputs.dtype}, `params` {dtype}: convert one of them."
        for name, inputs in (("train", x), ("val", x_val))
        if jnp.issubdtype(inputs.dtype, jnp.floating) and inputs.dtype != dtype
    ]


def _faults_of_order(order: Shaped[np.ndarray, "..."], epochs: int, num_samples: int) -> list[str]:
    """Returns what is wrong with the order of samples; a wrong index would go unnoticed when compiled."""
    if not np.issubdtype(order.dtype, np.integer):
        return [f"`order` has dtype {order.dtype}: it must hold indices, integers."]
    if order.ndim not in (1, 2) or order.size == 0 or (order.ndim == 2 and order.shape[0] != epochs):
        return [
            f"`order` has shape {order.shape}: it must be (samples used,) or ({epochs}, samples used), and "
            f"not empty."
        ]
    if order.min() < 0 or order.max() >= num_samples:
        return [
            f"`order` has indices from {order.min()} to {order.max()}: they must lie in "
            f"0..{num_samples - 1}, the samples of `train`."
        ]
    return []
