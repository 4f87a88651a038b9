"""Many devices as one: a mesh, arrays spread over it by rows, and the processes that share it.

The training program stays the one for a single device. Its batches are spread over the mesh, its params are
everywhere, and XLA puts in what has to be exchanged: the sums of the gradients, most of all. So a loss or a
metric over a batch is that of the whole batch, whatever its formula, and a batch may be any number of rows.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree, Shaped

__all__ = ["deal", "everywhere", "make", "on_host", "replicate", "spread", "start"]

ROWS = "rows"
"""Name of the mesh's only axis, along which samples (or the runs of a sweep) are dealt out."""

Held = Shaped[Array, "..."] | Shaped[np.ndarray, "..."]
"""An array on a device, or on the host until it is placed on a mesh."""

HEARTBEAT_S = 10
"""Seconds without a sign of life after which a process counts as dead and all others end, too."""


def start(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_s: int = HEARTBEAT_S,
    local_device_ids: Sequence[int] | None = None,
) -> None:
    """Joins this process to the others of a run, before anything else is done with JAX.

    Under Slurm and Open MPI JAX finds the arguments itself: call it without any. If a process dies, all
    others end within seconds and say so, where JAX alone would wait for 100.

    Args:
        coordinator: ``host:port`` of process 0.
        num_processes: How many there are.
        process_id: Which one this is, from 0.
        heartbeat_s: Seconds of silence after which a process counts as dead.
        local_device_ids: The devices of this process; None for all that it sees.

    Raises:
        RuntimeError: If JAX is in use already, or the others cannot be reached.

    Differs: ``torch.distributed.init_process_group`` reads the variables that torchrun sets; this does not.
    """
    jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        local_device_ids,
        heartbeat_timeout_seconds=heartbeat_s,
    )


def make(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Makes a mesh of all devices of all processes, in a row.

    Args:
        devices: Others than all; the same on every process.

    Returns:
        A mesh of one axis.

    >>> make().size == jax.device_count()
    True
    """
    return Mesh(np.array(jax.devices() if devices is None else devices), (ROWS,), axis_types=(AxisType.Auto,))


def on_host(array: ArrayLike) -> Held:
    """Converts to NumPy in the dtype that JAX would give it; an array of several processes stays as it is."""
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        return array
    held = np.asarray(array)
    return held.astype(jax.dtypes.canonicalize_dtype(held.dtype), copy=False)


def spread(array: Shaped[np.ndarray, "N ..."] | Array, mesh: Mesh) -> Array:
    """Deals the rows of an array out over a mesh, each device getting as many.

    Args:
        array: The same on every process, each of which places only the rows of its own devices; or an array
            of several processes that is spread already, such as
            ``jax.make_array_from_process_local_data`` makes where no process holds all samples.
        mesh: The mesh.

    Returns:
        Shape (M, ...): the rows, and zeros up to the next multiple M of the mesh's size.
    """
    held = on_host(array)
    if isinstance(held, jax.Array):
        return held
    num_rows = -(-len(held) // mesh.size) * mesh.size

    def part(index: tuple[slice, ...] | None) -> Shaped[np.ndarray, "..."]:
        rows = slice(None) if index is None else index[0]
        own = held[rows]
        missing = len(range(*rows.indices(num_rows))) - len(own)
        return np.pad(own, [(0, missing)] + [(0, 0)] * (own.ndim - 1))

    return jax.make_array_from_callback((num_rows, *held.shape[1:]), _sharding(mesh, ROWS), part)


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Puts a whole pytree of arrays, the same on every process, on every device of a mesh."""
    whole = _sharding(mesh)

    def put(leaf: ArrayLike) -> Array:
        held = on_host(leaf)
        if isinstance(held, jax.Array):  # of several processes, from an earlier run
            moved: Array = jax.device_put(held, whole)
            return moved
        return jax.make_array_from_callback(held.shape, whole, lambda index: held[index])

    return jax.tree.map(put, tree)


def deal(tree: PyTree, mesh: Mesh | None, axis: int = 0) -> PyTree:
    """Inside a compiled program: deals pytrees of arrays out along an axis of any length.

    Args:
        tree: Arrays.
        mesh: The mesh; None leaves everything as it is.
        axis: The axis that is dealt out.

    Returns:
        The same values.
    """
    return tree if mesh is None else _constrained(tree, _sharding(mesh, *[None] * axis, ROWS))


def everywhere(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """Inside a compiled program: makes every device, so every process, hold whole arrays."""
    return tree if mesh is None else _constrained(tree, _sharding(mesh))


def _sharding(mesh: Mesh, *axes: str | None) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*axes))  # type: ignore[no-untyped-call]


def _constrained(tree: PyTree, sharding: NamedSharding) -> PyTree:
    return jax.lax.with_sharding_constraint(tree, sharding)  # type: ignore[no-untyped-call]
