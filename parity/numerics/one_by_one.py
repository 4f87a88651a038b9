"""Named arrays that are computed when they are asked for, and not kept: of a large model one at a time."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import Arrays

Array = Shaped[np.ndarray, "..."]


class OneByOne(Mapping[str, Array]):
    """A function of each of some named arrays, computed again whenever a name is looked up.

    >>> doubled = OneByOne({"w": np.ones(2)}, lambda name, array: 2 * array)
    >>> doubled["w"].tolist()
    [2.0, 2.0]
    """

    def __init__(self, arrays: Arrays, function: Callable[[str, Array], Array]) -> None:
        """`function` of the name and the array, for each of `arrays`."""
        self._arrays, self._function = arrays, function

    def __getitem__(self, name: str) -> Array:
        """What the function makes of one array."""
        return self._function(name, self._arrays[name])

    def __contains__(self, name: object) -> bool:
        """Whether there is such a name; nothing is computed for that."""
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        """The names, in order."""
        return iter(self._arrays)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._arrays)
