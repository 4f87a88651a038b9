"""What is known of layers: one row a kind, which planning, layouts, pricing and splitting read.

A row says what the axes of a layer's weight mean, which of them its product sums over, how other code holds
the weight, what its other arrays do, and how it packs parts or gates. A new kind of layer is a new row.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

KEPT = 2.0
"""Cost of a weight that keeps the order of axes of a framework whose layout is not the usual one there."""

PERMUTED = 6.0
"""Cost of an order of axes that no known layer has."""

SPATIAL = "..."
"""Stands for one or more spatial axes."""

GROUPS = "groups"
"""Stands for the groups of a convolution, which one axis holds together with the axis named next."""


class Order(NamedTuple):
    """One order of axes in which other code holds a weight.

    Attributes:
        axes: the axes by meaning: "... in out". "groups out" is one axis of as many groups as the leaf's
            shape says, in which case the weight's own `in` axis is split into groups and the rest.
        cost: lower is more usual.
        backwards: whether the spatial axes run backwards.
    """

    axes: str
    cost: float = 0.0
    backwards: bool = False


class LayerKind(NamedTuple):
    """What is known of one kind of layer.

    Attributes:
        name: in words, for the reasons that a plan gives.
        pattern: regular expression that the whole name of the layer's class matches.
        axes: what the axes of its weight mean, in its own order: "out in ...". Empty if its weights can lie
            any way.
        summed: those of `axes` that its product sums over.
        orders: how other code holds the weight, the most usual first.
        operations: (role, operation) of arrays without such axes: vectors, or all if `axes` is empty. An
            empty operation means that implementations differ.
        packed: the axis along which the weight may pack several layers; vectors then pack theirs.
        parts: what such parts are called, in order, if the layer itself packs them.
        is_recurrent: whether it has a weight for its input and one for its state.
        gates: the gates of a recurrent layer, a letter each, in the order in which it packs them.
        is_last_apart: whether other code may add up the two biases of all gates but the last, whose second
            bias lies inside another gate's product.
    """

    name: str
    pattern: str
    axes: str = ""
    summed: str = ""
    orders: tuple[Order, ...] = ()
    operations: tuple[tuple[str, str], ...] = ()
    packed: str = ""
    parts: tuple[str, ...] = ()
    is_recurrent: bool = False
    gates: str = ""
    is_last_apart: bool = False

    def places(self, rank: int) -> dict[str, tuple[int, ...]]:
        """Where the axes of the kind's weight are.

        >>> KINDS[2].places(4)
        {'out': (0,), 'in': (1,), '...': (2, 3)}

        Args:
            rank: number of axes of an array of the layer.

        Returns:
            Meaning -> axes; empty if an array of this rank is no such weight.
        """
        names = self.axes.split()
        spatial = rank - len(names) + 1
        if not names or (spatial < 1 if SPATIAL in names else spatial != 1):
            return {}
        found, start = {}, 0
        for name in names:
            size = spatial if name == SPATIAL else 1
            found[name] = tuple(range(start, start + size))
            start += size
        return found

    def summed_axes(self, rank: int) -> tuple[int, ...] | None:
        """The axes of an array that the layer's product sums over, in ascending order; None if not known.

        Args:
            rank: number of axes of the array.

        Returns:
            The axes.
        """
        places = self.places(rank)
        found = sorted(axis for name in self.summed.split() for axis in places.get(name, ()))
        return tuple(found) if places else None

    def packed_axis(self, rank: int) -> int | None:
        """The axis along which an array of the layer may pack several layers; None if it packs none.

        Args:
            rank: number of axes of the array.

        Returns:
            The axis.
        """
        if not self.packed or not rank:
            return None
        return self.places(rank).get(self.packed, (0,))[0]


_BIAS = (("bias", "add"),)

KINDS: tuple[LayerKind, ...] = (
    LayerKind(
        "linear",
        "Linear",
        axes="out in",
        summed="in",
        orders=(Order("in out"), Order("out in", KEPT)),
        operations=_BIAS,
        packed="out",
    ),
    LayerKind(
        "attention",
        "MultiheadAttention",
        axes="out in",
        summed="in",
        orders=(Order("in out"), Order("out in", KEPT)),
        operations=_BIAS,
        packed="out",
        parts=("query", "key", "value"),
    ),
    LayerKind(
        "convolution",
        "Conv[123]d",
        axes="out in ...",
        summed="in ...",
        orders=(Order("... in out"), Order("out in ...", KEPT)),
        operations=_BIAS,
        packed="out",
    ),
    # PyTorch's (in, out / groups, ...) is the kernel of the convolution that this layer is the gradient of.
    # As a convolution of the spread-out input it runs backwards; lax's `transpose_kernel=True` turns it.
    LayerKind(
        "transposed convolution",
        "ConvTranspose[123]d",
        axes="in out ...",
        summed="in ...",
        orders=(
            Order("... in out", backwards=True),
            Order("... out in"),
            Order("out in ...", backwards=True),
            Order("groups out in ...", backwards=True),
            Order("... in groups out", backwards=True),
            Order("in out ...", KEPT),
            Order("... in out", KEPT),
            Order("out in ...", KEPT),
            Order("in out ...", 2 * KEPT, backwards=True),
            Order("... out in", 2 * KEPT, backwards=True),
        ),
        operations=_BIAS,
        packed="out",
    ),
    LayerKind(
        "embedding",
        "Embedding(Bag)?",
        axes="entry feature",
        orders=(Order("entry feature"), Order("feature entry", PERMUTED)),
    ),
    LayerKind(
        "norm",
        r".*Norm(\dd)?",
        operations=(("weight", "mul"), ("bias", "add"), ("mean", ""), ("variance", ""), ("", "")),
    ),
    LayerKind("LSTM", "LSTM(Cell)?", is_recurrent=True, gates="ifgo"),
    LayerKind("GRU", "GRU(Cell)?", is_recurrent=True, gates="rzn", is_last_apart=True),
    LayerKind("RNN", "RNN(Cell)?", is_recurrent=True),
)
"""Every kind of layer that is known. Weights of other layers lie as their shapes and uses say."""


def kind_of(layer: str) -> LayerKind | None:
    """The row of a layer.

    >>> kind_of("ConvTranspose2d").name, kind_of("SyncBatchNorm").name, kind_of("")
    ('transposed convolution', 'norm', None)

    Args:
        layer: name of its class, "" for a bare array.

    Returns:
        The row, or None if nothing is known of such a layer.
    """
    return _find(layer, KINDS) if layer else None


def kind_named(name: str) -> LayerKind | None:
    """The row with a name in words, None if there is none.

    Args:
        name: the name.

    Returns:
        The row.
    """
    return next((kind for kind in KINDS if kind.name == name), None)


@cache
def _find(layer: str, kinds: tuple[LayerKind, ...]) -> LayerKind | None:
    return next((kind for kind in kinds if re.fullmatch(kind.pattern, layer)), None)


def layer_name(class_names: Iterable[str]) -> str:
    """Which of a class and its bases, in order, says what kind of layer it is.

    Variants such as LazyLinear or NonDynamicallyQuantizableLinear are laid out like the layer that they
    inherit from.

    >>> layer_name(["LazyLinear", "LazyModuleMixin", "Linear", "Module"]), layer_name(["Bilinear", "Module"])
    ('Linear', 'Bilinear')

    Args:
        class_names: names of the classes, as in a method resolution order.

    Returns:
        The first name that a row knows, or else the first of all; "" if there is none.
    """
    names = list(class_names)
    return next((name for name in names if kind_of(name) is not None), names[0] if names else "")
