"""The adaptive softmax: frequent classes by themselves, rare ones in clusters behind narrower layers."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jaxnn.losses.preconditions import read_indices, require_indices

__all__ = ["AdaptiveLogSoftmaxOutput", "adaptive_log_softmax_loss"]


class AdaptiveLogSoftmaxOutput(NamedTuple):
    """What the adaptive softmax computes.

    Attributes:
        output: Log-probabilities of the right classes, of shape (N,), or () for a single sample.
        loss: The mean of their negatives.
    """

    output: Float[Array, "..."]
    loss: Float[Array, ""]


def adaptive_log_softmax_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    head_weight: Float[Array, "..."],
    tail: Sequence[tuple[Float[Array, "..."], Float[Array, "..."]]],
    *,
    head_bias: Float[Array, "..."] | None = None,
) -> AdaptiveLogSoftmaxOutput:
    """Computes log-probabilities of classes that are sorted by frequency, rare ones in clusters.

    The head scores the most frequent classes and every cluster. A class of cluster i has the probability
    of the cluster times its own within it, from two layers: ``tail[i][1] tail[i][0] x``.

    Args:
        input: Features x of shape (N, F), or (F,) for a single sample.
        target: Class indices, integers of shape (N,), or ().
        head_weight: One row per frequent class, then one per cluster, in PyTorch's order (outputs first).
        tail: Two weights per cluster, of shapes (D, F) and (K, D), PyTorch's `tail[i][0].weight` and
            `tail[i][1].weight`. The sizes of the second say which classes the cluster has: PyTorch's cutoffs.
        head_bias: One number per row of `head_weight`; none by default.

    Returns:
        The log-probabilities and the loss, in the dtype of `input`.

    Raises:
        TypeError: If `target` is not integer.
        ValueError: If a shape does not fit.

    Differs: PyTorch passes through a cluster those samples alone that need it; compiled code passes all,
    and picks. PyTorch raises for an index that is no class; here it gives NaN. optax has none.

    Source: torch.nn.AdaptiveLogSoftmaxWithLoss; Grave et al. 2016, arXiv:1609.04309.
    """
    if input.ndim not in (1, 2) or target.shape != input.shape[:-1]:
        raise ValueError(
            f"`target` has shape {target.shape}, `input` {input.shape}: they must be (N,) and (N, F), or () "
            f"and (F,); reshape them."
        )
    require_indices("target", target)
    num_frequent = head_weight.shape[0] - len(tail)
    if num_frequent < 1:
        raise ValueError(
            f"`head_weight` has shape {head_weight.shape}, `tail` {len(tail)} clusters: it must have a row "
            f"for each cluster behind those of the frequent classes; check which weight is which."
        )
    _require_chain(input, head_weight, tail)
    head = _linear(input, head_weight)
    if head_bias is not None:
        if head_bias.shape != head_weight.shape[:1]:
            raise ValueError(
                f"`head_bias` has shape {head_bias.shape}, `head_weight` {head_weight.shape}: it must have "
                f"one number per row, shape {head_weight.shape[:1]}."
            )
        head = head + jnp.broadcast_to(head_bias, head.shape)
    log_head = jax.nn.log_softmax(head, axis=-1)
    output, right = _pick(log_head[..., :num_frequent], target)
    low = num_frequent
    for i, (projection, weight) in enumerate(tail):
        log_cluster = jax.nn.log_softmax(_linear(_linear(input, projection), weight), axis=-1)
        own, inside = _pick(log_cluster, target - low)
        output = jnp.where(inside, log_head[..., num_frequent + i] + own, output)
        right |= inside
        low += weight.shape[0]
    output = output * jnp.where(right, 1.0, jnp.nan).astype(output.dtype)
    return AdaptiveLogSoftmaxOutput(output, -jnp.mean(output))


def _linear(x: Float[Array, "... F"], weight: Float[Array, "H F"]) -> Float[Array, "... H"]:
    """Computes ``W x``."""
    return jnp.matmul(x, weight.T, precision=jax.lax.Precision.HIGHEST)


def _pick(
    log_q: Float[Array, "*batch K"], index: Shaped[Array, "*batch"]
) -> tuple[Float[Array, "*batch"], Shaped[Array, "*batch"]]:
    """Picks one log-probability per sample, that of class 0 if the index is none; also says which are one."""
    safe, valid = read_indices(index, log_q.shape[-1])
    return jnp.take_along_axis(log_q, safe[..., None], axis=-1)[..., 0], valid


def _require_chain(
    input: Float[Array, "..."],
    head_weight: Float[Array, "..."],
    tail: Sequence[tuple[Float[Array, "..."], Float[Array, "..."]]],
) -> None:
    """Raises unless every weight takes what the layer before it gives."""
    layers = [("head_weight", head_weight, input.shape[-1])]
    for i, (projection, weight) in enumerate(tail):
        layers += [
            (f"tail[{i}][0]", projection, input.shape[-1]),
            (f"tail[{i}][1]", weight, projection.shape[0]),
        ]
    wrong = [
        f"`{name}` has shape {weight.shape}, but must take {size} features, shape (outputs, {size})"
        for name, weight, size in layers
        if weight.ndim != 2 or weight.shape[1] != size
    ]
    if wrong:
        raise ValueError("; ".join(wrong) + ". Transpose a weight whose outputs stand last.")
