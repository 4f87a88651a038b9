"""The arrays of a run on a mesh: samples dealt out by rows, zeros filling the mesh, all else everywhere."""

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Int

from jaxnn import mesh as meshes
from jaxnn.arguments import Params, Samples
from jaxnn.mesh import Held

__all__ = ["placed", "without_filling"]


def placed(
    params: Params, train: tuple[Held, Held], val: tuple[Held, Held], order: Held | None, mesh: Mesh
) -> tuple[Params, Samples, Samples, Int[Array, "..."] | None]:
    """Puts the samples' rows on the devices of a mesh, everything else on each of them.

    Args:
        params: From `jaxnn.arguments.prepare`, like the next three.
        train: Inputs and labels.
        val: Inputs and labels.
        order: Indices, or None.
        mesh: Where to.

    Returns:
        The same four. Samples are filled up with rows of zeros to a multiple of the mesh's size.
    """
    x, y = train
    x_val, y_val = val
    return (
        meshes.replicate(params, mesh),
        (meshes.spread(x, mesh), meshes.spread(y, mesh)),
        (meshes.spread(x_val, mesh), meshes.spread(y_val, mesh)),
        meshes.replicate(order, mesh),
    )


def without_filling(
    train: Samples, val: Samples, num_rows: tuple[int, int], mesh: Mesh | None
) -> tuple[Samples, Samples]:
    """Takes away the rows of zeros inside a compiled program, and deals out what is left.

    Args:
        train: From `placed`.
        val: From `placed`.
        num_rows: Training and validation samples that were given.
        mesh: The mesh.

    Returns:
        The samples that were given.
    """
    num_train, num_val = num_rows
    own: tuple[Samples, Samples] = meshes.deal(
        (jax.tree.map(lambda a: a[:num_train], train), jax.tree.map(lambda a: a[:num_val], val)), mesh
    )
    return own
