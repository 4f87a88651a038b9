"""The only module that knows scikit-learn: the data sets it ships, and its random split."""

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from data.images import resize_unit

DIGIT_LEVELS = 16
"""Greatest grey value in scikit-learn's handwritten digits."""


def digits() -> tuple[Float32[np.ndarray, "N 64 64"], UInt8[np.ndarray, " N"]]:
    """Reads scikit-learn's 1797 handwritten digits and enlarges them from 8 x 8 to 64 x 64.

    The enlargement is cubic; its overshoot beyond [0, 1] is clipped, see `data.images.resize_unit`.

    Returns:
        Images, float32 in [0, 1], and the digit that each one shows.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = (bunch.images / DIGIT_LEVELS).astype(np.float32)
    return np.stack([resize_unit(image) for image in small]), bunch.target.astype(np.uint8)


def diabetes() -> tuple[Float64[np.ndarray, "N 10"], Float64[np.ndarray, " N"]]:
    """Reads scikit-learn's diabetes study: ten measurements of 442 patients and how the disease went on.

    Returns:
        Features, centred and scaled to length one per column by scikit-learn, and the target as measured
        (25 to 346, no unit).
    """
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes()
    return bunch.data, bunch.target


def split_indices(num_samples: int) -> tuple[Int64[np.ndarray, " T"], Int64[np.ndarray, " V"]]:
    """Splits the samples at random into four fifths for training and one fifth for validation.

    It is `train_test_split(test_size=0.2, random_state=42, shuffle=True)`, applied to the indices.

    Args:
        num_samples: How many samples there are.

    Returns:
        Indices of the training samples and of the validation samples, each in shuffled order.

    Source: Section 2 of the notebook.
    """
    from sklearn.model_selection import train_test_split

    train, val = train_test_split(np.arange(num_samples), test_size=0.2, random_state=42, shuffle=True)
    return train, val
