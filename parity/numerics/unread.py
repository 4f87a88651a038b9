"""Arrays that are read when their numbers are needed, and not kept: of weights that do not fit into memory.

What is done to each number (a cast, noise) is noted and done as the array is read, whole or a row of it.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import Arrays

Array = Shaped[np.ndarray, "..."]

Change = Callable[[str, Array], Array]
"""`change(name, array) -> array`, entry by entry: what becomes of a row is the row of what becomes of all."""


class Unread(NamedTuple):
    """An array that is not in memory.

    Attributes:
        shape: of the array.
        dtype: in which `read` gives it.
        read: all of it.
        row: one entry of its first axis.
    """

    shape: tuple[int, ...]
    dtype: "np.dtype[np.generic]"
    read: Callable[[], Array]
    row: Callable[[int], Array]

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return len(self.shape)

    def changed(self, change: Callable[[Array], Array], dtype: "np.dtype[np.generic]") -> "Unread":
        """The array with every entry changed as it is read.

        Args:
            change: from entries to entries, one by one.
            dtype: in which it gives them.
        """
        return Unread(self.shape, dtype, lambda: change(self.read()), lambda index: change(self.row(index)))

    def at(self, index: int) -> "Unread":
        """One entry of the first axis, as unread as the whole.

        Args:
            index: which, from 0.
        """
        return Unread(
            self.shape[1:], self.dtype, lambda: self.row(index), lambda inner: self.row(index)[inner]
        )


def held(array: Array) -> Unread:
    """An array that is in memory, or mapped into it, as an unread one.

    Args:
        array: of NumPy.
    """
    return Unread(tuple(array.shape), array.dtype, lambda: array, lambda index: np.asarray(array[index]))


class OneByOne(Mapping[str, Array]):
    """Named arrays that are computed when they are asked for, and not kept: of a large model one at a time.

    >>> doubled = OneByOne(["w"], lambda name: np.full(2, 2.0))
    >>> doubled["w"].tolist()
    [2.0, 2.0]
    """

    def __init__(self, names: Iterable[str], compute: Callable[[str], Array]) -> None:
        """Arrays of these names, each as `compute` gives it."""
        self._names, self._compute = dict.fromkeys(names), compute

    def __getitem__(self, name: str) -> Array:
        """Compute one array."""
        if name not in self._names:
            raise KeyError(name)
        return self._compute(name)

    def __iter__(self) -> Iterator[str]:
        """The names, in order."""
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        """Whether there is an array of this name; nothing is computed."""
        return name in self._names

    def __len__(self) -> int:
        """How many there are."""
        return len(self._names)

    def __reduce__(self) -> tuple[type, tuple[dict[str, Array]]]:
        """To another process go the arrays themselves."""
        return dict, (dict(self),)


class UnreadArrays(OneByOne):
    """Named arrays of which each is read anew whenever it is asked for.

    >>> arrays = UnreadArrays({"kernel": held(np.ones((2, 3)))})
    >>> arrays.each(lambda name, array: array * 2)["kernel"].sum()
    np.float64(12.0)
    """

    def __init__(self, unread: Mapping[str, Unread]) -> None:
        """Arrays by name.

        Args:
            unread: by name.
        """
        self.unread = dict(unread)
        super().__init__(self.unread, lambda name: self.unread[name].read())

    def each(self, change: Change) -> "UnreadArrays":
        """The arrays with every entry changed as it is read.

        Args:
            change: of an array or a row of it, entry by entry.
        """
        return UnreadArrays(
            {
                name: array.changed(functools.partial(change, name), array.dtype)
                for name, array in self.unread.items()
            }
        )


def each(arrays: Arrays, change: Change) -> Arrays:
    """Change every entry of named arrays as they are asked for.

    Args:
        arrays: by name.
        change: of an array or a row of it, entry by entry.
    """
    if isinstance(arrays, UnreadArrays):
        return arrays.each(change)
    return OneByOne(arrays, lambda name: change(name, arrays[name]))


def overlaid(below: Arrays, above: Arrays) -> Arrays:
    """The arrays of both, those of `above` where both have one; what is computed later stays so.

    Args:
        below: by name.
        above: by name.
    """
    if isinstance(below, UnreadArrays) or isinstance(above, UnreadArrays):
        return UnreadArrays({**_unread(below), **_unread(above)})
    if isinstance(below, OneByOne) or isinstance(above, OneByOne):
        return OneByOne([*below, *above], lambda name: above[name] if name in above else below[name])
    return {**below, **above}


def _unread(arrays: Arrays) -> Mapping[str, Unread]:
    if isinstance(arrays, UnreadArrays):
        return arrays.unread
    return {name: held(array) for name, array in arrays.items()}


def shapes_only(arrays: Arrays) -> Arrays:
    """Arrays of which shapes and dtypes are wanted: zeros that take no memory in place of unread ones.

    Args:
        arrays: by name.
    """
    if not isinstance(arrays, UnreadArrays):
        return arrays
    return {
        name: np.broadcast_to(np.zeros((), array.dtype), array.shape) for name, array in arrays.unread.items()
    }
