"""Connectionist temporal classification: the likelihood of a label sequence, whatever its alignment in time.

A path is a class for every time step. Blanks between labels, and repetitions of one label, are left out in
reading it. S labels become 2 S + 1 states (blank, label 1, blank, ..., label S, blank), and a path moves on
by one state, by none, or by two where that skips a blank between different labels. With log-probabilities
y, alpha[t, s] is the logarithm of what all beginnings of paths weigh that are in state s at time t, and
beta[t, s] that of all their ends after t. T time steps, N sequences, C classes.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from jaxnn.losses.label_sequences import Lengths, pad_labels, read_lengths
from jaxnn.losses.preconditions import require_indices
from jaxnn.losses.reducing import Reduction, reduce

__all__ = ["ctc_loss"]


class States(NamedTuple):
    """The states of every sequence, and how paths move through them.

    Attributes:
        classes: (N, 2 S + 1), the class that each emits; a blank behind the end of the labels.
        skips: (N, 2 S + 1), whether a path can come from two states before.
        ends: (N, 2 S + 1), whether a path can end there.
    """

    classes: Int[Array, "N states"]
    skips: Bool[Array, "N states"]
    ends: Bool[Array, "N states"]


def ctc_loss(
    log_probs: Float[Array, "..."],
    targets: Shaped[Array, "..."],
    input_lengths: Lengths,
    target_lengths: Lengths,
    *,
    blank: int = 0,
    zero_infinity: bool = False,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes the negative log-likelihood of label sequences, summed over all alignments.

    Args:
        log_probs: Log-probabilities of shape (T, N, C), or (T, C) for a single sequence: the result of a
            log-softmax over the last axis.
        targets: Labels, integers of shape (N, S) with padding that is not read, or those of all sequences
            one after another, as many as all their lengths together; (S,) for a single sequence.
        input_lengths: How many time steps of each sequence count, integers in 0..T.
        target_lengths: How many labels each sequence has, integers in 0..S.
        blank: The class that is no label.
        zero_infinity: Whether a sequence that no path can read costs 0 and has a gradient of 0.
        reduction: "none"; "mean", of the losses divided by the number of their labels (at least 1); "sum".

    Returns:
        Losses of shape (N,), or () for a single sequence, or one number, in the dtype of `log_probs`. A
        sequence that no path can read costs infinity, and its gradient is NaN.

    Raises:
        TypeError: If `targets` or a length is not integer.
        ValueError: If a shape does not fit, `blank` is no class, `reduction` is unknown, or lengths that
            are numbers of Python's do not fit.

    Differs: The gradient is PyTorch's: ``exp(y) - posterior``, that of the logits, as a vector that the
    log-softmax behind `log_probs` leaves as it is. The derivative with respect to `log_probs` is
    ``-posterior``. Where a log-probability is -inf PyTorch's gradient is NaN even if the loss is finite;
    here it is 0. ``optax.ctc_loss`` takes logits, and -1e5 for the logarithm of 0: its losses of sequences
    that cannot be read are finite. PyTorch raises for a length that is out of range, and reads other
    memory for a label that is no class; here both give NaN. A blank among the labels, which PyTorch rules
    out and does not look for, is one more state; if it is the last, PyTorch's gradient is wrong.

    Source: torch.nn.CTCLoss; Graves et al. 2006, equations 6 to 16.

    >>> half = jnp.log(jnp.full((2, 1, 2), 0.5))  # of 4 paths, 3 read as one label
    >>> float(jnp.exp(-ctc_loss(half, jnp.array([[1]]), (2,), (1,))).round(4))
    0.75
    """
    if log_probs.ndim not in (2, 3):
        raise ValueError(
            f"`log_probs` has shape {log_probs.shape}: it must be (T, N, C), or (T, C) for a single "
            f"sequence; reshape it."
        )
    single = log_probs.ndim == 2
    if single:
        log_probs = log_probs[:, None, :]
    num_sequences, num_classes = log_probs.shape[1:]
    if not 0 <= blank < num_classes:
        raise ValueError(f"`blank` is {blank}: it must be one of the {num_classes} classes of `log_probs`.")
    require_indices("targets", targets)
    if targets.ndim not in (1, 2) or (targets.ndim == 2 and len(targets) != num_sequences):
        raise ValueError(
            f"`targets` has shape {targets.shape}, `log_probs` {num_sequences} sequences: it must be "
            f"({num_sequences}, S), or (S,) with the labels of all one after another; reshape it."
        )
    steps = read_lengths("input_lengths", input_lengths, num_sequences)
    sizes = read_lengths("target_lengths", target_lengths, num_sequences)
    if targets.ndim == 2:
        labels, complete = targets.astype(steps.dtype), jnp.array(True)
    elif single:
        labels, complete = targets.astype(steps.dtype)[None], jnp.array(True)
    else:
        labels, complete = pad_labels(targets.astype(steps.dtype), sizes, target_lengths)
    within = jnp.arange(labels.shape[1], dtype=jnp.int32)[None] < sizes[:, None]
    known = jnp.all(~within | ((labels >= 0) & (labels < num_classes)), axis=1)
    known &= complete & (steps >= 0) & (steps <= len(log_probs)) & (sizes >= 0) & (sizes <= labels.shape[1])
    states = _states(jnp.where(within & known[:, None], labels, blank), jnp.where(known, sizes, 0), blank)
    losses = _negative_log_likelihoods(log_probs, states, steps, zero_infinity)
    losses = losses * jnp.where(known, 1.0, jnp.nan).astype(losses.dtype)
    if reduction == "mean":
        losses = losses / jnp.maximum(sizes, 1).astype(losses.dtype)
    return reduce(losses[0] if single else losses, reduction)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _negative_log_likelihoods(
    log_probs: Float[Array, "T N C"], states: States, steps: Int[Array, " N"], zero_infinity: bool
) -> Float[Array, " N"]:
    """Computes one loss per sequence; 0 for one that cannot be read if `zero_infinity`."""
    losses = _loss(_forward(_emissions(log_probs, states), states, steps)[0], states)
    return _without_infinity(losses) if zero_infinity else losses


@_negative_log_likelihoods.defjvp
def _likelihood_jvp(
    zero_infinity: bool, primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    log_probs, states, steps = primals
    emissions = _emissions(log_probs, states)
    last, alpha = _forward(emissions, states, steps)
    losses = _loss(last, states)
    beta = _backward(emissions, states, steps)
    posterior = jnp.exp(alpha + beta + losses[None, :, None])
    sequences = jnp.arange(len(steps))[:, None]
    posteriors = jnp.zeros_like(log_probs).at[:, sequences, states.classes].add(posterior)
    slopes = jnp.exp(log_probs) - posteriors
    unread = jnp.isinf(losses)[None, :, None]
    slopes = jnp.where(unread, jnp.zeros_like(slopes) if zero_infinity else jnp.nan, slopes)
    counted = _times(log_probs)[:, None, None] < steps[None, :, None]
    slopes = jnp.where(counted, slopes, jnp.zeros_like(slopes))
    value = _without_infinity(losses) if zero_infinity else losses
    return value, jnp.sum(slopes * tangents[0], axis=(0, 2))


def _forward(
    emissions: Float[Array, "T N states"], states: States, steps: Int[Array, " N"]
) -> tuple[Float[Array, "N states"], Float[Array, "T N states"]]:
    """Computes alpha at the end of every sequence, and at every time step."""

    def step(
        alpha: Float[Array, "N states"], now: tuple[Int[Array, ""], Float[Array, "N states"]]
    ) -> tuple[Float[Array, "N states"], Float[Array, "N states"]]:
        t, emission = now
        two = jnp.where(states.skips, _shifted(alpha, 2), -jnp.inf)
        moved = _log_sum(alpha, _shifted(alpha, 1), two) + emission
        alpha = jnp.where((t < steps)[:, None], moved, alpha)
        return alpha, alpha

    # Before the first step all weight lies on the first state: from there a path reaches the first two.
    start = jnp.full_like(emissions, -jnp.inf, shape=emissions.shape[1:]).at[:, 0].set(0)
    return jax.lax.scan(step, start, (_times(emissions), emissions))


def _backward(
    emissions: Float[Array, "T N states"], states: States, steps: Int[Array, " N"]
) -> Float[Array, "T N states"]:
    """Computes beta at every time step."""
    skipped = _shifted(states.skips, -2, fill=False)

    def step(
        beta: Float[Array, "N states"], now: tuple[Int[Array, ""], Float[Array, "N states"]]
    ) -> tuple[Float[Array, "N states"], Float[Array, "N states"]]:
        t, emission = now
        entered = beta + emission
        two = jnp.where(skipped, _shifted(entered, -2), -jnp.inf)
        before = _log_sum(entered, _shifted(entered, -1), two)
        return jnp.where((t < steps)[:, None], before, beta), beta

    end = jnp.where(states.ends, jnp.zeros_like(emissions, shape=states.ends.shape), -jnp.inf)
    return jax.lax.scan(step, end, (_times(emissions), emissions), reverse=True)[1]


def _emissions(log_probs: Float[Array, "T N C"], states: States) -> Float[Array, "T N states"]:
    """Picks the log-probability of each state's class."""
    return jnp.take_along_axis(log_probs, states.classes[None], axis=2)


def _times(steps: Float[Array, "T ..."]) -> Int[Array, " T"]:
    """Numbers the time steps, in the dtype of the lengths."""
    return jnp.arange(len(steps), dtype=jnp.int32)


def _loss(last: Float[Array, "N states"], states: States) -> Float[Array, " N"]:
    """Sums over the states in which a path can end."""
    ending = jnp.where(states.ends, last, -jnp.inf)
    return -jax.scipy.special.logsumexp(ending, axis=1)


def _states(labels: Int[Array, "N S"], sizes: Int[Array, " N"], blank: int) -> States:
    """Puts blanks around the labels."""
    num_sequences, num_labels = labels.shape
    classes = jnp.full((num_sequences, 2 * num_labels + 1), blank, labels.dtype).at[:, 1::2].set(labels)
    # Blanks are two apart, too: that their classes are equal forbids a path to skip from one to the next.
    skips = classes != _shifted(classes, 2, fill=blank)
    positions = jnp.arange(classes.shape[1], dtype=sizes.dtype)[None]
    last = 2 * sizes[:, None]
    return States(classes, skips & (positions >= 2), (positions == last) | (positions == last - 1))


def _shifted(
    x: Shaped[Array, "N states"], by: int, fill: float | int = -jnp.inf
) -> Shaped[Array, "N states"]:
    """Moves each row `by` states to the right, or to the left if negative."""
    row = jnp.full_like(x, fill, shape=(x.shape[0], abs(by)))
    parts = [row, x] if by > 0 else [x, row]
    start = 0 if by > 0 else -by
    return jnp.concatenate(parts, axis=1)[:, start : start + x.shape[1]]


def _log_sum(*terms: Float[Array, "N states"]) -> Float[Array, "N states"]:
    """Computes the logarithm of a sum of exponentials, -inf if all of them are 0."""
    return jax.scipy.special.logsumexp(jnp.stack(terms), axis=0)


def _without_infinity(losses: Float[Array, " N"]) -> Float[Array, " N"]:
    """Puts 0 in place of an infinite loss."""
    return jnp.where(losses == jnp.inf, jnp.zeros_like(losses), losses)
