"""Losses that teach distances: of pairs by their angle, and of an anchor to a positive and a negative.

Arguments have PyTorch's names. Vectors lie on the last axis, D long. Where a margin is kept exactly, the
gradient is that of the far side, as PyTorch's `clamp_min` has it.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from jaxnn.losses.kinks import hinge, p_norm
from jaxnn.losses.preconditions import Number, require_equal_shapes, require_range
from jaxnn.losses.reducing import Reduction, reduce, require_reduction

__all__ = [
    "Distance",
    "cosine_embedding_loss",
    "pairwise_distance",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]

Distance = Callable[[Float[Array, "..."], Float[Array, "..."]], Float[Array, "..."]]
"""A function of two arrays of vectors; returns one distance per pair."""

SQUARED_NORM_OFFSET = float(np.float32(1e-12))
"""A float32 constant of PyTorch's, in float64 as well."""


def cosine_embedding_loss(
    input1: Float[Array, "..."],
    input2: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    margin: Number = 0.0,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes ``1 - cos(a, b)`` where the target is 1, and ``max(0, cos(a, b) - m)`` where it is -1.

    Args:
        input1: Vectors a of shape (N, D), or (D,).
        input2: b, same shape.
        target: 1 for a similar pair, -1 for a dissimilar one, of shape (N,), or ().
        margin: m, usually in [0, 0.5], never checked.
        reduction: "none", "mean" or "sum".

    Returns:
        Losses of the shape of `target`, or one number, in the dtype of `input1`.

    Raises:
        ValueError: If a shape does not fit or `reduction` is unknown.

    Differs: ``optax.cosine_distance`` divides by norms as they are, NaN for a vector of zeros, or raised to
    a least one. PyTorch adds 1e-12 to each squared norm in this loss (elsewhere it has a least norm of
    1e-8). A target that is neither costs 0, in PyTorch as well.

    Source: torch.nn.CosineEmbeddingLoss.

    >>> a, b = jnp.array([[3.0, 0.0], [0.0, 2.0]]), jnp.array([[0.0, 1.0], [0.0, 5.0]])
    >>> cosine_embedding_loss(a, b, jnp.array([1, -1]), reduction="none").tolist()
    [1.0, 1.0]
    """
    require_equal_shapes(input1=input1, input2=input2)
    if input1.ndim not in (1, 2) or target.shape != input1.shape[:-1]:
        raise ValueError(
            f"`target` has shape {target.shape}, `input1` {input1.shape}: they must be (N,) and (N, D), or "
            f"() and (D,); reshape them."
        )
    square1, square2 = (jnp.sum(jnp.square(x), axis=-1) + SQUARED_NORM_OFFSET for x in (input1, input2))
    cosine = jnp.sum(input1 * input2, axis=-1) / jnp.sqrt(square1 * square2)
    zero = jnp.zeros_like(cosine)
    losses = jnp.where(target == 1, 1 - cosine, zero) + jnp.where(target == -1, hinge(cosine - margin), zero)
    return reduce(losses, reduction)


def triplet_margin_loss(
    anchor: Float[Array, "..."],
    positive: Float[Array, "..."],
    negative: Float[Array, "..."],
    *,
    margin: Number = 1.0,
    p: Number = 2.0,
    eps: Number = 1e-6,
    swap: bool = False,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes how far the negative is from being farther away than the positive by a margin.

        max(0, m + d(anchor, positive) - d(anchor, negative))    with d of `pairwise_distance`

    Args:
        anchor: Vectors of shape (N, D), or (D,); further axes may stand in front.
        positive: Same shape.
        negative: Same shape.
        margin: m, greater than 0.
        p: Order of the norm, at least 0.
        eps: Added to every difference of coordinates.
        swap: Whether the negative's distance is its lesser one to anchor and positive.
        reduction: "none", "mean" or "sum".

    Returns:
        Losses of the shape of `anchor` without its last axis, or one number, in its dtype.

    Raises:
        ValueError: If shapes differ, `margin` is not positive, `p` is negative or `reduction` is unknown.

    Differs: ``optax.losses.triplet_margin_loss`` has no swap, takes no magnitudes (odd p), adds `eps` to the
    sum of the powers, and halves the gradient at the kink. PyTorch takes a negative `p`, and broadcasts.

    Source: torch.nn.TripletMarginLoss; Balntas et al. 2016, Learning shallow convolutional feature
    descriptors with triplet losses.

    >>> float(triplet_margin_loss(jnp.zeros(2), jnp.array([0.0, 2.0]), jnp.array([0.0, 2.5])).round(4))
    0.5
    """
    require_reduction(reduction)
    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=lambda a, b: pairwise_distance(a, b, p=p, eps=eps),
        margin=margin,
        swap=swap,
        reduction=reduction,
    )


def triplet_margin_with_distance_loss(
    anchor: Float[Array, "..."],
    positive: Float[Array, "..."],
    negative: Float[Array, "..."],
    *,
    distance_function: Distance | None = None,
    margin: Number = 1.0,
    swap: bool = False,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes `triplet_margin_loss` with a distance of one's own.

    Args:
        anchor: Any shape that the distance takes.
        positive: Same shape.
        negative: Same shape.
        distance_function: Takes two such arrays, returns one distance per pair; `pairwise_distance` by
            default.
        margin: Greater than 0.
        swap: Whether the negative's distance is its lesser one to anchor and positive; where both are
            equal, each has half of the gradient.
        reduction: "none", "mean" or "sum".

    Returns:
        Losses of the shape of the distances, or one number.

    Raises:
        ValueError: If shapes differ, `margin` is not positive or `reduction` is unknown.

    Differs: optax has none with a distance of one's own.

    Source: torch.nn.TripletMarginWithDistanceLoss; Balntas et al. 2016.
    """
    require_range("margin", margin, above=0)
    require_equal_shapes(anchor=anchor, positive=positive, negative=negative)
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = jnp.minimum(far, distance(positive, negative))
    return reduce(hinge(margin + near - far), reduction)


def pairwise_distance(
    x1: Float[Array, "..."], x2: Float[Array, "..."], *, p: Number = 2.0, eps: Number = 1e-6
) -> Float[Array, "..."]:
    """Computes the p-norm of ``x1 - x2 + eps`` over the last axis.

    Args:
        x1: Vectors of shape (..., D).
        x2: Same shape.
        p: Order of the norm, at least 0.
        eps: Added to every coordinate, with its sign: the distance of x2 to x1 is another one.

    Returns:
        One distance per pair, in their dtype.

    Raises:
        ValueError: If shapes differ, are () or `p` is negative.

    Differs: PyTorch takes a negative `p`, and broadcasts. The gradient of a distance of 0 is 0 in both.

    Source: torch.nn.PairwiseDistance.

    >>> float(pairwise_distance(jnp.array([3.0, 4.0]), jnp.zeros(2), eps=0.0))
    5.0
    """
    require_equal_shapes(x1=x1, x2=x2)
    require_range("p", p, least=0)
    if x1.ndim == 0:
        raise ValueError(
            "`x1` has shape (): its last axis must be that of the coordinates; reshape it to (1,)."
        )
    return p_norm(x1 - x2 + eps, p)
