"""The label sequences of a batch: their lengths in every form PyTorch takes, and rows out of one list."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Shaped

from jaxnn.losses.preconditions import require_indices

__all__ = ["Lengths", "pad_labels", "read_lengths"]

Lengths = Shaped[Array, "..."] | Sequence[int] | int
"""One length per sequence."""


def read_lengths(name: str, lengths: Lengths, num_sequences: int) -> Int[Array, " N"]:
    """Returns lengths as an array, one per sequence.

    Args:
        name: What the caller knows them by.
        lengths: Integers, in any of the forms.
        num_sequences: N.

    Returns:
        Lengths of shape (N,).

    Raises:
        TypeError: If they are not integers.
        ValueError: If there is not one for each sequence.
    """
    array = jnp.asarray(lengths)
    require_indices(name, array)
    if array.size != num_sequences or array.ndim > 1:
        raise ValueError(
            f"`{name}` has shape {array.shape}, `log_probs` {num_sequences} sequences: it must have one "
            f"length for each, shape ({num_sequences},)."
        )
    return array.reshape(num_sequences).astype(jnp.int32)


def pad_labels(
    targets: Int[Array, " total"], sizes: Int[Array, " N"], lengths: Lengths
) -> tuple[Int[Array, "N S"], Bool[Array, ""]]:
    """Gives each sequence its row of labels; also returns whether the lengths take up all labels.

    A row is as long as the longest sequence if the lengths are Python's numbers, as all together if not.

    Args:
        targets: The labels of all sequences, one after another.
        sizes: How many of them each sequence has.
        lengths: The same as the caller gave them.

    Returns:
        The rows, with -1 or labels of other sequences behind the end, and the answer.

    Raises:
        ValueError: If the lengths are Python's numbers and do not take up all labels.
    """
    width = targets.shape[0]
    if isinstance(lengths, Sequence):
        if sum(lengths) != width:
            raise ValueError(
                f"`target_lengths` adds up to {sum(lengths)}, `targets` has shape {targets.shape}: labels "
                f"one after another must be as many as all lengths together."
            )
        width = max(lengths, default=0)
    start = jnp.cumsum(sizes, dtype=sizes.dtype) - sizes
    index = start[:, None] + jnp.arange(width, dtype=sizes.dtype)[None]
    labels = targets.at[index].get(mode="fill", fill_value=-1)
    return labels, jnp.sum(sizes) == targets.shape[0]
