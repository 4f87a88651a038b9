"""Other clippings of gradients than the one given: what a port may have become by mistake."""

from collections.abc import Callable, Iterator

import numpy as np

from parity.numerics.arrays import Arrays
from parity.optimizers.clipping import OFFSET
from parity.optimizers.history import History
from parity.optimizers.known import RULES
from parity.optimizers.variants import Variant, differs

LIMITS = (1.0, 0.5, 0.1, 0.2, 0.25, 2.0, 5.0, 10.0)
"""Norms in use."""


def clippings(history: History) -> Iterator[Variant]:
    """The same optimiser behind another clipping.

    Args:
        history: of the reference.
    """
    rule, limit = RULES[history.kind], history.limit
    if history.clips:
        told = "<reference> clips the gradients, <candidate> does not"
        hint = "in `optax.chain` the clipping stands before the optimiser: behind it, it sees updates"
        yield Variant(f"{told} ({hint})", rule, grads=dict)
    if limit is not None:
        told = f"<reference> clips by {limit:g} / (norm + 1e-6), <candidate> by {limit:g} / norm"
        hint = "`parity.optimizers.clip_grad_norm` is PyTorch's"
        yield Variant(f"{told}: {hint}", rule, grads=_by_norm(limit, 0.0))
        told = f"<reference> clips all gradients together to a norm of {limit:g}, <candidate> each tensor's"
        yield Variant(told, rule, grads=_each(_by_norm(limit, OFFSET)))
        yield Variant(told, rule, grads=_each(_by_norm(limit, 0.0)))
    if limit is not None and history.parts:
        told = (
            f"<reference> clips the gradients of a step to a norm of {limit:g}, <candidate> those of each "
            "batch before it gathers them: the clipping stands in front of `optax.MultiSteps`, not inside it"
        )
        for offset in (OFFSET, 0.0):
            yield Variant(told, rule, grads=_each_batch(history, _by_norm(limit, offset)))
    own = "by the function that is given" if history.clips else "none"
    own = own if limit is None else f"a norm of {limit:g}"
    for other in dict.fromkeys((*([] if limit is None else [limit]), *LIMITS)):
        if other != limit:
            told = differs("the clipping of gradients", own, f"a norm of {other:g}")
            yield from _biting(history, Variant(told, rule, grads=_by_norm(other, 0.0)))
        told = differs("the clipping of gradients", own, f"values of at most {other:g}")
        yield from _biting(history, Variant(told, rule, grads=_by_value(other)))


def _biting(history: History, variant: Variant) -> Iterator[Variant]:
    """A clipping that changes a gradient of the run; none that is too wide for all of them."""
    assert variant.grads is not None
    clipped = variant.grads(history.raw)
    if any(not np.array_equal(clipped[name], raw) for name, raw in history.raw.items()):
        yield variant


def _by_norm(limit: float, offset: float) -> Callable[[Arrays], Arrays]:
    def clipped(raw: Arrays) -> Arrays:
        squares = [np.square(g).reshape(len(g), -1).sum(axis=1) for g in raw.values()]
        scale = np.minimum(1.0, limit / np.maximum(np.sqrt(np.sum(squares, axis=0)) + offset, 1e-300))
        return {name: g * scale.reshape(-1, *[1] * (g.ndim - 1)) for name, g in raw.items()}

    return clipped


def _each(clip: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
    return lambda raw: {name: clip({name: g})[name] for name, g in raw.items()}


def _each_batch(history: History, clip: Callable[[Arrays], Arrays]) -> Callable[[Arrays], Arrays]:
    """The mean of the gradients of a step's batches, each of them clipped."""

    def clipped(raw: Arrays) -> Arrays:
        count = next(iter(history.parts.values())).shape[1]
        batches = [clip({name: rows[:, k] for name, rows in history.parts.items()}) for k in range(count)]
        return {name: np.mean([batch[name] for batch in batches], axis=0) for name in raw}

    return clipped


def _by_value(limit: float) -> Callable[[Arrays], Arrays]:
    return lambda raw: {name: np.clip(g, -limit, limit) for name, g in raw.items()}
