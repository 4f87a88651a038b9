"""Images and sequences that lie channels first on one side and channels last on the other."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from parity.numerics.arrays import Arrays, is_float
from parity.report.sides import TORCH_AND_JAX, Sides

Layout = Mapping[str, tuple[int, ...]]
"""Name of an input or output -> permutation from the reference's axes to the candidate's."""

Way = Callable[[int], tuple[int, ...]]
"""From a rank to a permutation."""


def channels_last(rank: int) -> tuple[int, ...]:
    """The permutation from (N, C, spatial ...) to (N, spatial ..., C).

    >>> channels_last(4)
    (0, 2, 3, 1)
    """
    return (0, *range(2, rank), 1)


def channels_first(rank: int) -> tuple[int, ...]:
    """The permutation from (N, spatial ..., C) to (N, C, spatial ...).

    >>> channels_first(4)
    (0, 3, 1, 2)
    """
    return (0, rank - 1, *range(1, rank - 1))


def frames_last(rank: int) -> tuple[int, ...]:
    """The permutation of videos from (N, T, C, H, W) to (N, T, H, W, C); of anything else `channels_last`.

    >>> frames_last(5)
    (0, 1, 3, 4, 2)
    """
    return (0, 1, 3, 4, 2) if rank == 5 else channels_last(rank)


def frames_first(rank: int) -> tuple[int, ...]:
    """The permutation of videos from (N, T, H, W, C) to (N, T, C, H, W); of anything else `channels_first`.

    >>> frames_first(5)
    (0, 1, 4, 2, 3)
    """
    return (0, 1, 4, 2, 3) if rank == 5 else channels_first(rank)


def ways_between(reference: str, candidate: str) -> tuple[Way, ...]:
    """The permutations that images may need between two frameworks, the usual one first.

    Args:
        reference: the reference's framework.
        candidate: the candidate's framework.
    """
    if reference == candidate:
        return channels_last, channels_first, frames_last, frames_first
    return (channels_last, frames_last) if reference == "PyTorch" else (channels_first, frames_first)


def candidates(
    inputs: Arrays, given: Layout, ways: Sequence[Way] = (channels_last,)
) -> Iterator[dict[str, tuple[int, ...]]]:
    """Layouts to be tried, the plainest first: all inputs as they are, then images with channels moved.

    Args:
        inputs: in the reference's layout.
        given: what the user says of some of them.
        ways: from `ways_between`.
    """
    unknown = [
        name
        for name, array in inputs.items()
        if name not in given and 3 <= array.ndim <= 5 and is_float(array)
    ]
    tried = [dict(given)]
    yield dict(given)
    chosen_sets = [c for n in range(1, len(unknown[:4]) + 1) for c in itertools.combinations(unknown[:4], n)]
    for chosen, way in itertools.product(sorted(chosen_sets, key=len, reverse=True), ways):
        layout = {**given, **{name: way(inputs[name].ndim) for name in chosen}}
        if layout not in tried:
            tried.append(layout)
            yield layout


def of_outputs(
    reference_shapes: Mapping[str, Sequence[int]],
    candidate_shapes: Mapping[str, Sequence[int]],
    given: Layout,
    ways: Sequence[Way] = (channels_last,),
    of_inputs: Layout = MappingProxyType({}),
) -> Layout:
    """Per output the permutation from the reference's axes to the candidate's, where shapes leave no doubt.

    >>> of_outputs({"y": (2, 3, 8, 9)}, {"y": (2, 8, 9, 3)}, {})
    {'y': (0, 2, 3, 1)}

    Args:
        reference_shapes: shapes by output.
        candidate_shapes: shapes by output.
        given: what the user says of inputs and outputs.
        ways: the permutations that images may need, the usual one first.
        of_inputs: the permutations of the inputs, recognised or given: an output most likely lies as they do.
    """
    layout = {name: axes for name, axes in given.items() if name in reference_shapes}
    for name, shape in reference_shapes.items():
        other = tuple(candidate_shapes.get(name, shape))
        if name in layout or tuple(shape) == other or not len(shape) == len(other) >= 3:
            continue
        likely = [axes for axes in of_inputs.values() if len(axes) == len(shape)]
        for axes in (*likely, *(way(len(shape)) for way in ways)):
            if tuple(shape[axis] for axis in axes) == other:
                layout[name] = axes
                break
    return layout


def in_words(layout: Layout, sides: Sides = TORCH_AND_JAX) -> tuple[str, ...]:
    """What was recognised, for the report.

    Args:
        layout: permutations by name of input or output.
        sides: what the two sides are called.
    """
    text = sides.named("axes {} of <reference>'s on <candidate side>")
    return tuple(f"{name}: {text.format(axes)}" for name, axes in layout.items())
