"""Other clippings of gradients than the one given: what a port may have become by mistake."""

from collections.abc import Callable, Iterator

import numpy as np

from parity.numerics.arrays import Arrays
from parity.optimizers.clipping import OFFSET
from parity.optimizers.known import RULES
from parity.optimizers.variants import Variant, differs

LIMITS = (1.0, 0.5, 0.1, 0.2, 0.25, 2.0, 5.0, 10.0)
"""Norms in use."""


def clippings(kind: str, limit: float | None) -> Iterator[Variant]:
    """The same optimiser behind another clipping.

    Args:
        kind: the name of the class of the reference's optimiser.
        limit: the norm to which it clips all gradients; None where it clips otherwise, or not at all.
    """
    rule = RULES[kind]
    if limit is not None:
        told = "<reference> clips the gradients, <candidate> does not"
        hint = "in `optax.chain` the clipping stands before the optimiser: behind it, it sees updates"
        yield Variant(f"{told} ({hint})", rule, grads=dict)
        told = f"<reference> clips by {limit:g} / (norm + 1e-6), <candidate> by {limit:g} / norm"
        hint = "`parity.optimizers.clip_grad_norm` is PyTorch's"
        yield Variant(f"{told}: {hint}", rule, grads=_by_norm(limit, 0.0))
        told = f"<reference> clips all gradients together to a norm of {limit:g}, <candidate> each tensor's"
        yield Variant(told, rule, grads=_each(_by_norm(limit, OFFSET)))
        yield Variant(told, rule, grads=_each(_by_norm(limit, 0.0)))
    for other in dict.fromkeys((*([] if limit is None else [limit]), *LIMITS)):
        own = "none" if limit is None else f"a norm of {limit:g}"
        if other != limit:
            told = differs("the clipping of gradients", own, f"a norm of {other:g}")
            yield Variant(told, rule, grads=_by_norm(other, 0.0))
        told = differs("the clipping of gradients", own, f"values of at most {other:g}")
        yield Variant(told, rule, grads=_by_value(other))


def _by_norm(limit: float, offset: float) -> Callable[[Arrays], Arrays]:
    def clipped(raw: Arrays) -> Arrays:
        squares = [np.square(g).reshape(len(g), -1).sum(axis=1) for g in raw.values()]
        scale = np.minimum(1.0, limit / np.maximum(np.sqrt(np.sum(squares, axis=0)) + offset, 1e-300))
        return {name: g * scale.reshape(-1, *[1] * (g.ndim - 1)) for name, g in raw.items()}

    return clipped


def _each(clip: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
    return lambda raw: {name: clip({name: g})[name] for name, g in raw.items()}


def _by_value(limit: float) -> Callable[[Arrays], Arrays]:
    return lambda raw: {name: np.clip(g, -limit, limit) for name, g in raw.items()}
