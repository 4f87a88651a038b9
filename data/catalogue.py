"""What every data set is called, which classes it has and how one gets it."""

from typing import NamedTuple

from data.errors import DataError

SIDE = 64
"""Height and width of every prepared image in pixels, as in the notebook."""


class Entry(NamedTuple):
    """What is known of a data set before it is read.

    Attributes:
        classes: Name of each class, in the order of the label columns; empty for a regression set.
        shape: Shape of one sample before flattening.
        bundled: True when it comes with scikit-learn, so that nothing has to be prepared.
        zero_one: The columns that stand for the digits zero and one, or None when there are no digits.
        source: What `prepare` takes, in words.
    """

    classes: tuple[str, ...]
    shape: tuple[int, ...]
    bundled: bool
    zero_one: tuple[int, int] | None
    source: str


CATALOGUE: dict[str, Entry] = {
    "embedded": Entry(tuple("0123456789"), (SIDE, SIDE), True, (0, 1), "comes with scikit-learn"),
    # The published arrays number their classes like this; the notebook's "columns 1 and 4" rest on it.
    "sign-digits": Entry(
        tuple("9076184325"),
        (SIDE, SIDE),
        False,
        (1, 4),
        "folder or zip of Dataset/<digit>/*.JPG, or a folder with X.npy and Y.npy",
    ),
    "dogs-cats": Entry(
        ("cat", "dog"), (SIDE, SIDE), False, None, "folder or zip of cat.N.jpg and dog.N.jpg, or npz"
    ),
    "diabetes": Entry((), (10,), True, None, "comes with scikit-learn"),
}

NAMES: tuple[str, ...] = tuple(CATALOGUE)
"""The names that `load` knows."""


def entry(name: str) -> Entry:
    """Looks a data set up by its name.

    Args:
        name: One of `NAMES`.

    Returns:
        Its entry in the catalogue.

    Raises:
        DataError: If there is no data set of that name.
    """
    if name not in CATALOGUE:
        raise DataError(f"unknown data set {name!r}: `name` must be one of {', '.join(NAMES)}")
    return CATALOGUE[name]


def photographs(name: str) -> Entry:
    """Looks up a data set that has to be prepared from photographs.

    Args:
        name: One of `NAMES`, but no bundled one.

    Returns:
        Its entry in the catalogue.

    Raises:
        DataError: If the name is unknown, or the set comes with scikit-learn.
    """
    found = entry(name)
    if found.bundled:
        raise DataError(
            f"{name!r} comes with scikit-learn and needs no preparation: call data.load({name!r})"
        )
    return found
