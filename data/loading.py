"""The notebook's preparation: selection of classes, scaling, split."""

import os
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Num, UInt8

from data import store
from data.bundled import diabetes, digits, split_indices
from data.catalogue import Entry, entry
from data.errors import DataError


class Dataset(NamedTuple):
    """A data set, split.

    Attributes:
        x_train: Inputs to train on, (T, D), or images (T, 64, 64).
        x_val: Inputs to validate on, (V, D) or (V, 64, 64).
        y_train: One-hot labels (T, K), binary labels (T,) in {0, 1}, or targets (T,) of a regression.
        y_val: The same for validation.
    """

    x_train: Float32[np.ndarray, "T *sample"]
    x_val: Float32[np.ndarray, "V *sample"]
    y_train: Float32[np.ndarray, "T *label"]
    y_val: Float32[np.ndarray, "V *label"]


def load(
    name: str = "embedded",
    force_binary: bool = False,
    flatten: bool = True,
    scale: bool = True,
    *,
    fit_on: Literal["all", "train"] = "all",
    directory: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Loads a data set as the notebook prepares it: scaled, shuffled, split 80/20 with seed 42.

    Each pixel (or feature) x with least value l and greatest value h becomes (x - l) / (h - l) - 1/2,
    computed in float64 and rounded to float32. One that never varies carries nothing and becomes -1/2.

    Args:
        name: "embedded" (scikit-learn's handwritten digits, enlarged to 64 x 64 by cubic interpolation
            whose overshoot is clipped to [0, 1]), "sign-digits", "dogs-cats", or "diabetes" (regression).
        force_binary: Keep the digits zero (label 0) and one (label 1) alone, stacked in this order before the
            split. Nothing changes for "dogs-cats", which is binary.
        flatten: Give (N, 4096) rather than (N, 64, 64). Nothing changes for "diabetes".
        scale: Scale to [-0.5, 0.5]; otherwise grey values as they are in [0, 1], for the convolutional
            networks, and scikit-learn's own features for "diabetes".
        fit_on: Where l and h (and the mean and deviation of the regression's target) come from: "all"
            data, as in the notebook, where validation leaks into the scaling; or "train", which has no
            leak, and validation may leave [-0.5, 0.5].
        directory: The folder of prepared sets; None for `$PARITY_DATA_DIR` or the platform's cache folder.

    Returns:
        Float32 arrays. The target of "diabetes" has mean 0 and variance 1 over what `fit_on` says.

    Raises:
        DataError: If the name is unknown, the set is not prepared or corrupt, or `force_binary` is asked of a
            regression.
        ValueError: If `fit_on` is neither "all" nor "train".

    Example:
        >>> x_train, x_val, y_train, y_val = load("embedded", force_binary=True)
        >>> x_train.shape, float(x_train.min()), float(x_train.max())
        ((288, 4096), -0.5, 0.5)

    Source: Section 2 of the notebook; Section 4.6 for `scale=False`.
    """
    known = entry(name)
    if fit_on not in ("all", "train"):
        raise ValueError(f"`fit_on` must be 'all' or 'train', got {fit_on!r}")
    x: np.ndarray
    if known.classes:
        x, columns = digits() if known.bundled else store.read(name, store.path(name, directory))[:2]
        x, y = _labelled(known, x, columns, force_binary)
    elif force_binary:
        raise DataError(f"{name!r} is a regression and has no classes: leave `force_binary` False")
    else:
        x, y = diabetes()

    train, val = split_indices(len(x))
    fitted = slice(None) if fit_on == "all" else train
    if not known.classes:
        y = ((y - y[fitted].mean()) / y[fitted].std()).astype(np.float32)
    low, high = x[fitted].min(axis=0), x[fitted].max(axis=0)

    def inputs(rows: np.ndarray) -> np.ndarray:
        chosen = _min_max(x[rows], low, high) if scale else _unit(x[rows])
        return chosen.reshape(len(rows), -1) if flatten else chosen

    return Dataset(inputs(train), inputs(val), y[train], y[val])


def _labelled(
    known: Entry, images: Num[np.ndarray, "N 64 64"], columns: UInt8[np.ndarray, " N"], force_binary: bool
) -> tuple[np.ndarray, Float32[np.ndarray, "M *K"]]:
    """Selects the images and writes their labels as the losses want them."""
    if force_binary and known.zero_one:
        zeros, ones = (images[columns == column] for column in known.zero_one)
        return np.concatenate([zeros, ones]), np.repeat(np.array([0, 1], np.float32), [len(zeros), len(ones)])
    if len(known.classes) == 2:
        return images, columns.astype(np.float32)
    return images, np.eye(len(known.classes), dtype=np.float32)[columns]


def _min_max(
    x: Num[np.ndarray, "N *sample"], low: Num[np.ndarray, "*sample"], high: Num[np.ndarray, "*sample"]
) -> Float32[np.ndarray, "N *sample"]:
    """Scales in place, for 25000 photographs in float64 are 800 MB."""
    span = high.astype(np.float64) - low
    constant = span == 0
    scaled = x.astype(np.float64)
    scaled -= low
    scaled /= np.where(constant, 1.0, span)
    scaled -= 0.5
    scaled[:, constant] = -0.5
    return scaled.astype(np.float32)


def _unit(x: Num[np.ndarray, "N *sample"]) -> Float32[np.ndarray, "N *sample"]:
    unscaled = x.astype(np.float32)
    return unscaled / np.float32(255) if x.dtype == np.uint8 else unscaled
