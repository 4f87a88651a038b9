"""The random numbers of training, drawn beforehand: arrays that every framework reads byte for byte.

Both functions return arrays by the names that the networks know, with an epoch per row: what `jaxnn.fit` and
`torchref.fit` take as ``draws``. A longer run begins with the epochs of a shorter one.
"""

import numpy as np
from jaxtyping import Bool, Shaped

from data.errors import require_at_least

Draws = dict[str, Shaped[np.ndarray, "epochs N *rest"]]
"""Arrays by name, one row per epoch and sample."""


def keep(num_samples: int, num_units: int, rate: float, *, epochs: int = 1, seed: int = 0) -> Draws:
    """Draws which hidden units dropout keeps: each with probability 1 - rate, by itself.

    Args:
        num_samples: Samples that an epoch uses, at least one.
        num_units: Hidden units (of convolutions channels) of all layers together, at least one.
        rate: Share of the units that is left out, in [0, 1).
        epochs: How many epochs, at least one.
        seed: Where the numbers start (PCG64), not negative.

    Returns:
        ``keep``, booleans of shape (epochs, num_samples, num_units): a byte each.

    Raises:
        ValueError: If a number is out of its range.
        TypeError: If a number that counts is no integer.

    Example:
        >>> keep(2, 3, 0.5)["keep"].shape
        (1, 2, 3)

    Source: Section 4.5 of the notebook.
    """
    require_at_least(1, num_samples=num_samples, num_units=num_units, epochs=epochs)
    require_at_least(0, seed=seed)
    if not 0 <= rate < 1:
        raise ValueError(f"`rate` must be at least 0 and below 1, got {rate}")
    generator = np.random.Generator(np.random.PCG64(seed))
    kept: Bool[np.ndarray, "epochs N units"] = np.empty((epochs, num_samples, num_units), np.bool_)
    for row in kept:  # one epoch at a time: the numbers behind it are eight times as large
        row[...] = generator.random(row.shape) >= rate
    return {"keep": kept}


def augmentation(
    num_samples: int,
    *,
    epochs: int = 1,
    seed: int = 0,
    angle: float = np.pi / 12,
    scale: float = 1.1,
    shift: float = 4.0,
    flip: float = 0.5,
    brightness: float = 0.2,
) -> Draws:
    """Draws how each image is rotated, scaled, shifted, flipped and brightened, in every epoch anew.

    Args:
        num_samples: Images that an epoch uses, at least one.
        epochs: How many epochs, at least one.
        seed: Where the numbers start (PCG64), not negative.
        angle: Largest rotation to either side, in radians.
        scale: Largest magnification; the smallest is 1 / scale, and its logarithm is uniform.
        shift: Largest shift in each direction, in pixels.
        flip: Probability of exchanging left and right.
        brightness: Largest change of the brightness, at most 1.

    Returns:
        ``angle``, ``scale`` and ``brightness`` of shape (epochs, num_samples), ``shift`` of shape
        (epochs, num_samples, 2), down and to the right, all float32; ``flip``, booleans.

    Raises:
        ValueError: If a number is out of its range.
        TypeError: If a number that counts is no integer.

    Example:
        >>> {name: array.shape for name, array in augmentation(3, epochs=2).items()}["shift"]
        (2, 3, 2)

    Source: Section 4.5 of the notebook, which names rotations and scalings.
    """
    require_at_least(1, num_samples=num_samples, epochs=epochs)
    require_at_least(0, seed=seed)
    ranges = {
        "angle": (0, np.inf, angle),
        "scale": (1, np.inf, scale),
        "shift": (0, np.inf, shift),
        "flip": (0, 1, flip),
        "brightness": (0, 1, brightness),
    }
    faults = [
        f"`{name}` must be between {low} and {high}, got {value}"
        for name, (low, high, value) in ranges.items()
        if not (np.isfinite(value) and low <= value <= high)
    ]
    if faults:
        raise ValueError("\n".join(faults))
    uniform = np.random.Generator(np.random.PCG64(seed)).random((epochs, num_samples, 6))
    either = 2 * uniform - 1  # in [-1, 1)
    return {
        "angle": (angle * either[..., 0]).astype(np.float32),
        "scale": (scale ** either[..., 1]).astype(np.float32),
        "shift": (shift * either[..., 2:4]).astype(np.float32),
        "flip": uniform[..., 4] < flip,
        "brightness": (1 + brightness * either[..., 5]).astype(np.float32),
    }
