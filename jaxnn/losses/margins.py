"""Losses that are 0 once a margin is kept: of two scores, of a distance, of one right class or several.

Arguments have PyTorch's names. Where the margin is kept exactly, the gradient is PyTorch's too: that of the
far side in `margin_ranking_loss` and `hinge_embedding_loss`, which clamp, and 0 in the two losses over
classes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jaxnn.losses.kinks import hinge
from jaxnn.losses.preconditions import (
    Number,
    read_indices,
    read_targets,
    require_equal_shapes,
    require_indices,
)
from jaxnn.losses.reducing import Reduction, reduce

__all__ = ["hinge_embedding_loss", "margin_ranking_loss", "multi_label_margin_loss", "multi_margin_loss"]


def margin_ranking_loss(
    input1: Float[Array, "..."],
    input2: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    margin: Number = 0.0,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes how far two scores are from the right order, ``max(0, m - y (a - b))``.

    Args:
        input1: a, any shape.
        input2: b, same shape.
        target: y, same shape: 1 if a is to be greater, -1 if b is.
        margin: m, any sign.
        reduction: "none", "mean" or "sum".

    Returns:
        Losses of the shape of `input1`, or one number, in its dtype.

    Raises:
        ValueError: If shapes differ or `reduction` is unknown.

    Differs: ``optax.hinge_loss`` halves the gradient at the kink; PyTorch has the whole. PyTorch broadcasts
    shapes of one rank.

    Source: torch.nn.MarginRankingLoss.

    >>> float(margin_ranking_loss(jnp.array([1.0]), jnp.array([3.0]), jnp.array([1]), margin=0.5))
    2.5
    """
    require_equal_shapes(input1=input1, input2=input2, target=target)
    y = read_targets(target, input1)
    return reduce(hinge(margin - y * (input1 - input2)), reduction)


def hinge_embedding_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    margin: Number = 1.0,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes a distance x where the target is 1, and ``max(0, m - x)`` where it is -1.

    Args:
        input: x, distances of pairs, any shape.
        target: 1 for a similar pair, -1 for a dissimilar one; same shape.
        margin: m, any sign.
        reduction: "none", "mean" or "sum".

    Returns:
        Losses of the shape of `input`, or one number, in the dtype of `input`.

    Raises:
        ValueError: If shapes differ or `reduction` is unknown.

    Differs: ``optax.hinge_loss`` is another loss. A target that is neither gives the sum of both parts, as
    in PyTorch.

    Source: torch.nn.HingeEmbeddingLoss.

    >>> hinge_embedding_loss(jnp.array([0.25, 0.25]), jnp.array([1, -1]), reduction="none").tolist()
    [0.25, 0.75]
    """
    require_equal_shapes(input=input, target=target)
    zero = jnp.zeros_like(input)
    apart = jnp.where(target == 1, zero, hinge(margin - input))
    return reduce(apart + jnp.where(target == -1, zero, input), reduction)


def multi_margin_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    p: int = 1,
    margin: Number = 1.0,
    weight: Shaped[Array, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes how far the right class is from leading by a margin over every other class.

        w_y / C  sum_{c != y} max(0, m - x_y + x_c)^p

    Args:
        input: Scores x of shape (N, C), or (C,) for a single sample.
        target: Class indices y, integers of shape (N,) or ().
        p: 1 or 2.
        margin: m, any sign.
        weight: w, one per class; 1 by default.
        reduction: "none", "mean" (over samples, whatever their weights) or "sum".

    Returns:
        Losses of the shape of `target`, or one number, in the dtype of `input`.

    Raises:
        TypeError: If `target` is not integer.
        ValueError: If a shape does not fit, `p` is neither 1 nor 2 or `reduction` is unknown.

    Differs: ``optax.multiclass_hinge_loss`` counts the strongest rival alone. The gradient is 0 where a
    margin is kept exactly. PyTorch raises for an index that is no class; here it gives NaN. PyTorch has no
    gradient with respect to `weight`.

    Source: torch.nn.MultiMarginLoss; Weston and Watkins 1999.

    >>> float(multi_margin_loss(jnp.array([0.5, 1.0, -2.0]), jnp.array(0)))
    0.5
    """
    if p not in (1, 2):
        raise ValueError(f"`p` is {p}: it must be 1 or 2; choose one of them.")
    _require_rows(input)
    if target.shape != input.shape[:-1]:
        raise ValueError(
            f"`target` has shape {target.shape}, `input` {input.shape}: it must have one class per sample, "
            f"shape {input.shape[:-1]}; reshape it."
        )
    require_indices("target", target)
    num_classes = input.shape[-1]
    if weight is not None and weight.shape != (num_classes,):
        raise ValueError(
            f"`weight` has shape {weight.shape}, `input` {input.shape}: it must have one weight per class, "
            f"shape ({num_classes},)."
        )
    safe, valid = read_indices(target, num_classes)
    right = jnp.take_along_axis(input, safe[..., None], axis=-1)
    rivals = jax.nn.one_hot(safe, num_classes, dtype=input.dtype) == 0
    lead = margin - right + input
    terms = jnp.where(rivals, jax.nn.relu(lead), jnp.zeros_like(input))
    losses = jnp.sum(terms if p == 1 else jnp.square(terms), axis=-1) / num_classes
    if weight is not None:
        losses = losses * weight.astype(input.dtype)[safe]
    return reduce(losses * _nan_unless(valid, input), reduction)


def multi_label_margin_loss(
    input: Float[Array, "..."], target: Shaped[Array, "..."], *, reduction: Reduction = "mean"
) -> Float[Array, "..."]:
    """Computes how far several right classes are from leading by 1 over every other class.

        1 / C  sum_{k right} sum_{c not right} max(0, 1 - (x_k - x_c))

    Args:
        input: Scores x of shape (N, C), or (C,) for a single sample.
        target: Indices of the right classes, integers of the shape of `input`: each row has some, then a
            -1, after which the rest is not read. A class that stands there twice counts twice.
        reduction: "none", "mean" or "sum", over samples.

    Returns:
        Losses of the shape of `input` without its classes, or one number, in the dtype of `input`.

    Raises:
        TypeError: If `target` is not integer.
        ValueError: If shapes differ, have no axis of classes or more than two axes, or `reduction` is
            unknown.

    Differs: optax has none. The gradient is 0 where a margin is kept exactly. PyTorch raises for an index
    that is neither a class nor -1, behind the first -1 as well; here the sample gives NaN.

    Source: torch.nn.MultiLabelMarginLoss.

    >>> round(float(multi_label_margin_loss(jnp.array([0.1, 0.2, 0.4, 0.8]), jnp.array([3, 0, -1, 1]))), 4)
    0.85
    """
    _require_rows(input)
    require_equal_shapes(input=input, target=target)
    require_indices("target", target)
    num_classes = input.shape[-1]
    safe, valid = read_indices(target, num_classes)
    ended = target < 0
    first = jnp.where(jnp.any(ended, axis=-1), jnp.argmax(ended, axis=-1), num_classes)
    positions = jnp.broadcast_to(jnp.arange(num_classes, dtype=first.dtype), target.shape)
    listed = positions < first[..., None]
    marks = jax.nn.one_hot(safe, num_classes, dtype=bool) & listed[..., None]
    is_right = jnp.any(marks, axis=-2)
    right = jnp.take_along_axis(input, safe, axis=-1)
    counted = listed[..., :, None] & ~is_right[..., None, :]
    gaps = jax.nn.relu(1 - right[..., :, None] + input[..., None, :])
    losses = jnp.sum(jnp.where(counted, gaps, jnp.zeros_like(gaps)), axis=(-2, -1)) / num_classes
    known = jnp.all(valid | (target == -1), axis=-1)
    return reduce(losses * _nan_unless(known, input), reduction)


def _require_rows(input: Float[Array, "..."]) -> None:
    """Raises unless scores are one row of classes or several."""
    if input.ndim not in (1, 2):
        raise ValueError(
            f"`input` has shape {input.shape}: it must be (N, C), or (C,) for a single sample; reshape it."
        )


def _nan_unless(valid: Shaped[Array, "*shape"], input: Float[Array, "..."]) -> Float[Array, "*shape"]:
    """Returns a factor of 1, or of NaN where a sample is not valid: for its gradient as for its loss."""
    return jnp.where(valid, 1.0, jnp.nan).astype(input.dtype)
