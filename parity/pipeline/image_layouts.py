"""Images and sequences that lie channels first in PyTorch and channels last in JAX: recognised, or said."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from parity.numerics.arrays import Arrays, is_float

Layout = Mapping[str, tuple[int, ...]]
"""Name of an input or output -> permutation from PyTorch's axes to JAX's, e.g. {"x": (0, 2, 3, 1)}."""


def channels_last(rank: int) -> tuple[int, ...]:
    """The permutation from (N, C, spatial ...) to (N, spatial ..., C).

    >>> channels_last(4)
    (0, 2, 3, 1)
    """
    return (0, *range(2, rank), 1)


def candidates(inputs: Arrays, said: Layout) -> Iterator[dict[str, tuple[int, ...]]]:
    """Layouts to be tried, the plainest first: all inputs as they are, then images with channels last."""
    open_ = [
        name
        for name, array in inputs.items()
        if name not in said and 3 <= array.ndim <= 5 and is_float(array)
    ]
    yield dict(said)
    for chosen in sorted(
        (c for n in range(1, len(open_[:4]) + 1) for c in itertools.combinations(open_[:4], n)),
        key=len,
        reverse=True,
    ):
        yield {**said, **{name: channels_last(inputs[name].ndim) for name in chosen}}


def of_outputs(torch_shapes: Mapping[str, Any], jax_shapes: Mapping[str, Any], said: Layout) -> Layout:
    """Per output the permutation from PyTorch's axes to JAX's, where the shapes leave no doubt.

    >>> of_outputs({"y": (2, 3, 8, 9)}, {"y": (2, 8, 9, 3)}, {})
    {'y': (0, 2, 3, 1)}
    """
    layout = {name: axes for name, axes in said.items() if name in torch_shapes}
    for name, shape in torch_shapes.items():
        other = tuple(jax_shapes.get(name, shape))
        if name not in layout and tuple(shape) != other and len(shape) == len(other) >= 3:
            axes = channels_last(len(shape))
            if tuple(shape[axis] for axis in axes) == other:
                layout[name] = axes
    return layout


def in_words(layout: Layout) -> tuple[str, ...]:
    """What was recognised, for the report."""
    return tuple(f"{name}: axes {axes} of PyTorch's on the JAX side" for name, axes in layout.items())
