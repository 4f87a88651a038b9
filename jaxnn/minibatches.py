"""The samples that every epoch trains on: put in order, split into batches and dealt out over a mesh.

Beside each sample lie the random numbers that the network takes for it, where it takes any.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Int, PyTree

from jaxnn import mesh as meshes
from jaxnn.arguments import Draws, Samples

__all__ = ["Batch", "Batches", "beside", "for_epochs", "split"]

Batch = tuple[Array, Array, Draws]
"""Inputs, labels and random numbers, one row per sample."""


class Batches(NamedTuple):
    """The samples of an epoch, in batches.

    Attributes:
        full: The full batches, stacked along a new first axis for `jax.lax.scan`.
        rest: The samples left over, fewer than a batch and maybe none.
    """

    full: PyTree
    rest: PyTree

    @property
    def num_left(self) -> int:
        """Number of samples left over."""
        return len(jax.tree.leaves(self.rest)[0])


def for_epochs(
    samples: Samples, order: Int[Array, "..."] | None, batch_size: int | None, mesh: Mesh | None
) -> tuple[Callable[[Int[Array, " used"] | None], Samples | Batches], Int[Array, "epochs used"] | None]:
    """Prepares the samples of every epoch inside a compiled program.

    Where all epochs have the same order, the samples are put in order and split here, once for all of them;
    otherwise in every epoch.

    Args:
        samples: All training samples.
        order: As in `jaxnn.fit`, checked.
        batch_size: Samples per batch; None for all in one, which is not split.
        mesh: Deals out the samples, and every batch; None for one device.

    Returns:
        ``(samples_of, rows)``: ``samples_of(row)`` gives an epoch its samples, `rows` holds the row of every
        epoch, or None.
    """

    def samples_of(row: Array | None) -> Samples | Batches:
        chosen: Samples = meshes.deal(_take(samples, row), mesh)
        return chosen if batch_size is None else split(chosen, batch_size, mesh)

    if order is not None and order.ndim == 2:
        return samples_of, order
    always = samples_of(order)
    return lambda _: always, None


def beside(samples: Samples | Batches, draws: Draws, batch_size: int | None, mesh: Mesh | None) -> PyTree:
    """Puts the random numbers of an epoch beside its samples, inside a compiled program.

    Args:
        samples: From what `for_epochs` returns.
        draws: One row per sample that the epoch uses, in the order of their use; none is {}.
        batch_size: As in `for_epochs`.
        mesh: As in `for_epochs`.

    Returns:
        A `Batch`, or with a batch size `Batches` of such.
    """
    dealt: Draws = meshes.deal(draws, mesh)
    if not isinstance(samples, Batches) or batch_size is None:
        return (*samples, dealt)
    own = split(dealt, batch_size, mesh) if dealt else Batches({}, {})
    return Batches((*samples.full, own.full), (*samples.rest, own.rest))


def split(samples: PyTree, size: int, mesh: Mesh | None = None) -> Batches:
    """Splits arrays of one row per sample into full batches and the rest.

    >>> batches = split((jnp.ones((11, 2)), jnp.ones(11)), 4)
    >>> batches.full[0].shape, batches.num_left
    ((2, 4, 2), 3)
    """
    num_batches = len(jax.tree.leaves(samples)[0]) // size
    used = num_batches * size
    full = jax.tree.map(lambda a: a[:used].reshape(num_batches, size, *a.shape[1:]), samples)
    rest = jax.tree.map(lambda a: a[used:], samples)
    return Batches(meshes.deal(full, mesh, axis=1), meshes.deal(rest, mesh))


def _take(samples: Samples, order: Array | None) -> Samples:
    """Returns samples in the given order, whose indices have been checked."""
    if order is None:
        return samples
    x, y = samples
    return jnp.take(x, order, axis=0, mode="clip"), jnp.take(y, order, axis=0, mode="clip")
