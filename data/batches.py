"""The order in which samples are seen, as an explicit array that every framework reads."""

import numpy as np
from jaxtyping import Int32, Integer

from data.errors import require_at_least


def order(
    num_samples: int,
    *,
    epochs: int = 1,
    batch_size: int | None = None,
    shuffle: bool = False,
    seed: int = 0,
    drop_last: bool = False,
) -> Int32[np.ndarray, "epochs used"]:
    """Lists the samples in the order in which each epoch sees them.

    Batch k of an epoch is `order[epoch, k * batch_size : (k + 1) * batch_size]`; the last one is short unless
    `drop_last`.

    Args:
        num_samples: How many samples there are, at least one.
        epochs: How many epochs, at least one.
        batch_size: Samples in a batch; only `drop_last` needs it.
        shuffle: Whether each epoch gets a permutation of its own.
        seed: Where the permutations start (PCG64), not negative. A longer run begins with the epochs of a
            shorter one.
        drop_last: Whether to leave out what does not fill a last batch: other samples in each shuffled epoch.

    Returns:
        Indices. Shuffled, each row is the beginning of a permutation; otherwise every row is 0, 1, 2, ... and
        the array is a read-only view of one row.

    Raises:
        ValueError: If a number is out of its range, or `drop_last` leaves no batch at all.
        TypeError: If a number is no integer.

    Example:
        >>> order(5, epochs=2, batch_size=2, drop_last=True)
        array([[0, 1, 2, 3],
               [0, 1, 2, 3]], dtype=int32)

    Source: Section 4.4.3 of the notebook has batches of 64 in fixed order, the last one short.
    """
    require_at_least(1, num_samples=num_samples, epochs=epochs)
    require_at_least(0, seed=seed)
    if num_samples > np.iinfo(np.int32).max:
        raise ValueError(f"`num_samples` must fit 32 bits, got {num_samples}: split the data set")
    if batch_size is not None:
        require_at_least(1, batch_size=batch_size)
    used = num_samples
    if drop_last:
        if batch_size is None or batch_size > num_samples:
            raise ValueError(
                "`drop_last` needs a `batch_size` of at most `num_samples`, "
                f"got {batch_size} and {num_samples}: there would be no batch"
            )
        used -= num_samples % batch_size
    rows = np.arange(num_samples, dtype=np.int32)
    if not shuffle:
        return np.broadcast_to(rows[:used], (epochs, used))
    generator = np.random.Generator(np.random.PCG64(seed))
    return np.stack([generator.permutation(rows)[:used] for _ in range(epochs)])


def split(row: Integer[np.ndarray, " used"], batch_size: int) -> list[np.ndarray]:
    """Cuts one epoch's order into batches; the last one may be short.

    Args:
        row: Indices, as in one row of `order`.
        batch_size: Samples in a batch, at least one.

    Returns:
        The batches, views of `row`.

    Raises:
        ValueError: If `batch_size` is below one.
        TypeError: If it is no integer.

    Example:
        >>> split(np.arange(5), 2)
        [array([0, 1]), array([2, 3]), array([4])]
    """
    require_at_least(1, batch_size=batch_size)
    return [row[start : start + batch_size] for start in range(0, len(row), batch_size)]
