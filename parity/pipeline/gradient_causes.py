"""What an optimiser is given, read off its state: gradients scaled, clipped or changed on the way."""

from collections.abc import Mapping, Sequence

import numpy as np

from parity.numerics.arrays import Arrays
from parity.numerics.noise import Side
from parity.optimizers.history import History
from parity.pipeline.step_multiples import ALIKE, Steps, names_in_words, ratios_of, rows_of, same
from parity.report.partings import Parting, Phase


def given_gradients(side: Side, history: History, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    """The gradients that an optimiser was given, weight decay as a penalty among them.

    Of a mean ``m' = b m + (1 - b) g`` and of a buffer ``m' = b m + g`` the gradient is what is new in it;
    without a state it is the update by the reference's rate.

    Args:
        side: values from equal weights.
        history: of the reference: the hyperparameters are taken to be the same.
        names: tensors.

    Returns:
        By tensor, the first axis is time; None where the state does not tell.
    """
    slots, found = side.base.get("slots", {}), {}
    for name in names:
        options = history.options.get(name, {})
        rates = np.asarray(history.rates[name], np.float64)
        mean, buffer = slots.get(f"{name}.exp_avg"), slots.get(f"{name}.momentum_buffer")
        if mean is not None and "betas" in options:
            beta = float(options["betas"][0])
            found[name] = (mean - beta * _before(mean)) / (1 - beta)
        elif buffer is not None and options.get("momentum") and not options.get("dampening"):
            found[name] = buffer - float(options["momentum"]) * _before(buffer)
        elif not keeps_state(history, [name]) and rates.all():
            update = side.base["update"][name]
            found[name] = -update / rates.reshape(-1, *[1] * (update.ndim - 1))
        else:
            return None
    return found


def _begun_anew(side: Side, history: History, names: Sequence[str], step: int) -> str:
    """A state that is, in a later step, that of a first step, in words."""
    slots = side.base.get("slots", {})
    if not step or any(name not in history.used for name in names):
        return ""
    for slot, share in (("exp_avg", lambda o: 1 - o["betas"][0]), ("momentum_buffer", lambda o: 1.0)):
        held = {name: slots.get(f"{name}.{slot}") for name in names}
        if any(rows is None for rows in held.values()):
            continue
        firsts = {n: np.asarray(share(history.options[n]) * history.used[n][step])[None] for n in names}
        if same(ratios_of(firsts, {n: np.asarray(held[n])[step][None] for n in names}), 1.0):
            return (
                f"the state of <candidate>'s optimiser begins anew at step {step}: it is made again there "
                "(`init` in the loop), or lost when the run is continued"
            )
    return ""


def keeps_momentum(history: History, names: Sequence[str]) -> bool:
    """Whether the reference's optimiser is another than gradient descent without momentum.

    Args:
        history: of the reference.
        names: tensors.
    """
    options = [history.options.get(name, {}) for name in names]
    return any(one.get("momentum") or "momentum" not in one for one in options)


def keeps_state(history: History, names: Sequence[str]) -> bool:
    """Whether the updates of the reference's optimiser are more than multiples of gradients.

    Args:
        history: of the reference.
        names: tensors.
    """
    decays = any(history.options.get(name, {}).get("weight_decay") for name in names)
    return decays or keeps_momentum(history, names)


def _before(slot: np.ndarray) -> np.ndarray:
    """A slot before each step."""
    return np.concatenate([np.zeros_like(slot[:1]), slot[:-1]])


def given_cause(
    sides: tuple[Side, Side], history: History, names: Sequence[str], step: int
) -> Parting | None:
    """Why an optimiser is given other gradients; None where it is given the same, or nothing is known.

    Args:
        sides: values from equal weights.
        history: of the reference.
        names: tensors that move.
        step: the first that differs.
    """
    if told := _begun_anew(sides[1], history, names, step):
        detail = "the state of the optimiser is what one gradient makes of none"
        return Parting(step, Phase.SLOTS, detail, told)
    given = _given_to_both(sides, history, names, step)
    if given is None:
        return None
    return scaled_cause(*given, history, step, by_updates=not keeps_state(history, names))


def _penalised(own: Arrays, other: Arrays, history: History, step: int) -> Parting | None:
    """Gradients with a multiple of the weights added to them."""
    weights = {name: history.weights[name] for name in other if name in history.weights}
    if len(weights) < len(other):
        return None
    ratios = ratios_of(weights, {name: other[name] - own[name] for name in other})
    if np.isnan(ratios).any() or not same(ratios, ratios[0]) or ratios[0] == 0:
        return None
    told = (
        f"the optimiser of <candidate> is given the gradient and {ratios[0]:.6g} x the weights besides: a "
        "penalty in the loss (L2, its gradient is 2 x its factor), or weight decay before the optimiser"
    )
    return Parting(step, Phase.CLIPPING, _away(own, other, step), told)


def _given_to_both(
    sides: tuple[Side, Side], history: History, names: Sequence[str], step: int
) -> tuple[Arrays, Arrays] | None:
    """What both optimisers are given; None where it is not told, or a penalty is among it."""
    options = [history.options.get(name, {}) for name in names]
    if any(one.get("weight_decay") and not one.get("decoupled_weight_decay") for one in options):
        return None  # it is tried by itself
    own, other = (given_gradients(side, history, names) for side in sides)
    if own is None or other is None or step >= len(next(iter(own.values()), ())):
        return None
    return own, other


def scaled_cause(
    own: Arrays, other: Arrays, history: History, step: int, *, by_updates: bool
) -> Parting | None:
    """Gradients that are multiples of the other side's, all by one number or each tensor by its own.

    Args:
        own: what the reference's optimiser is given, by tensor.
        other: what the candidate's is given.
        history: of the reference.
        step: the first that differs.
        by_updates: whether these are read off the updates: then a factor may be one of the rate.
    """
    ratios = ratios_of(own, other)
    if np.isfinite(ratios).all():
        if same(ratios, 1.0):
            return None
        told = by_norm(ratios, own, history, step)
        return told if told or by_updates else _by_steps(ratios, history, step)
    factors = {name: ratios_of({name: history.raw[name]}, other) for name in other if name in history.raw}
    multiples = len(factors) == len(other) and all(np.isfinite(f).all() for f in factors.values())
    words = (_by_group(factors, history) if multiples else "") or _changed(other, history)
    return Parting(step, Phase.CLIPPING, _away(own, other, step), words) if words else None


def by_norm(ratios: Steps, own: Arrays, history: History, step: int) -> Parting | None:
    """Gradients of all tensors, scaled by a number that follows from their norm: clipped, or normalised.

    Args:
        ratios: what the candidate's optimiser is given, as multiples of what the reference's is.
        own: what the reference's optimiser is given, by tensor.
        history: of the reference.
        step: the first that differs.
    """
    names = [name for name in own if name in history.raw]
    if np.isnan(ratios).any() or not names or len(names) < len(own):
        return None
    # Their norm is of all gradients, those of weights that no one moves among them.
    norms = np.linalg.norm(rows_of(history.raw, list(history.raw)), axis=1)
    used = np.linalg.norm(rows_of(history.used, list(history.used)), axis=1) if history.used else norms
    if not norms.all() or same(norms, norms[0]):
        return None
    others = ratios * used
    smaller = others < norms * (1 - 10 * ALIKE)
    words = ""
    if same(others, norms):
        words = "<candidate> does not clip the gradients"
    elif same(others, others[0]):
        words = (
            f"<candidate> scales the gradients to a norm of {others[0]:.4g} in every step: it normalises, "
            "and does not clip (a minimum with 1)"
        )
    elif smaller.sum() > 1 and same(others[~smaller], norms[~smaller]):
        for power, how in ((0, "clips the gradients to a norm of {:.4g}"), (1, _SQUARED), (0.5, _ROOT)):
            limit = (others * norms**power)[smaller]
            if same(limit, limit[0]) and not same(norms[smaller], norms[smaller][0]):
                words = f"<candidate> {how.format(limit[0])}"
                break
    elif same((others * norms), others[0] * norms[0]):
        words = f"<candidate> {_SQUARED.format(others[0] * norms[0])}, in every step"
    if not words:
        return None
    if history.limit is not None and "does not clip" not in words:
        words += f"; <reference> clips to {history.limit:.4g}"
    detail = (
        f"the norm of the gradients, {norms[step]:.4g}, is scaled to {used[step]:.4g} in <reference> and "
        f"{others[step]:.4g} in <candidate>"
    )
    return Parting(step, Phase.CLIPPING, detail, words)


_SQUARED = "divides the gradients by their squared norm (limit {:.4g}): the root is missing"
_ROOT = "divides the gradients by the root of their norm (limit {:.4g})"


def _by_steps(ratios: Steps, history: History, step: int) -> Parting | None:
    """Gradients scaled by one number, from the first step on or from a later one."""
    if same(ratios, ratios[0]):
        told = f"the optimiser of <candidate> is given {ratios[0]:.6g} x the gradients of <reference>"
        if history.accumulate > 1 and same(ratios[:1], float(history.accumulate)):
            told += (
                ", as many times as batches make a step: it adds up their gradients (`use_grad_mean=False`), "
                "<reference> averages them"
            )
        else:
            told += ": a sum in the place of a mean (`psum` for `pmean`), or a scale that is not taken out"
        return Parting(step, Phase.CLIPPING, f"the gradients are {ratios[0]:.6g} times as large", told)
    if step and same(ratios[:step], 1.0) and same(ratios[step:], ratios[step]):
        told = f"from step {step} on the optimiser of <candidate> is given {ratios[step]:.6g} x the gradients"
        return Parting(step, Phase.CLIPPING, f"the gradients are {ratios[step]:.6g} times as large", told)
    zero = np.abs(ratios) <= ALIKE
    if zero.any() and same(ratios[~zero], 1.0):
        at = int(np.argmax(zero))
        more = f" and {int(zero.sum()) - 1} more" if zero.sum() > 1 else ""
        told = f"the optimiser of <candidate> is given no gradient in step {at}{more}: a guard skips it"
        return Parting(step, Phase.CLIPPING, f"the gradients are zero in step {at} of <candidate>", told)
    return None


def _by_group(factors: Mapping[str, Steps], history: History) -> str:
    """Tensors that are clipped in groups, each group to the same norm, in words."""
    groups: list[list[str]] = []
    for name, factor in factors.items():
        group = next((g for g in groups if same(factors[g[0]], factor)), None)
        if group is None:
            groups.append([name])
        else:
            group.append(name)
    limits = []
    for group in groups:
        norms = np.linalg.norm(rows_of(history.raw, group), axis=1)
        small = factors[group[0]] < 1 - 10 * ALIKE
        limits.append((factors[group[0]] * norms)[small])
        if not same(factors[group[0]][~small], 1.0):
            return ""
    together = np.concatenate(limits)
    if len(together) < 2 or not same(together, together[0]):
        return ""
    named = "; ".join(names_in_words(group) for group in groups)
    how = "each tensor" if len(groups) == len(factors) else f"each of these groups ({named})"
    also = f", <reference> all together to {history.limit:.4g}" if history.limit is not None else ""
    return f"<candidate> clips the gradients of {how} by itself to a norm of {together[0]:.4g}{also}"


def _changed(other: Arrays, history: History) -> str:
    """Gradients that are changed entry by entry, in words."""
    raw = {name: history.raw[name] for name in other if name in history.raw}
    if len(raw) < len(other):
        return ""
    centred = {
        name: g - g.mean(axis=tuple(range(2, g.ndim)), keepdims=True) if g.ndim > 2 else g
        for name, g in raw.items()
    }
    across = {name: g - g.mean(axis=1, keepdims=True) if g.ndim > 2 else g for name, g in raw.items()}
    for told, changed in (("of each row", centred), ("of each column", across)):
        if same(ratios_of(changed, other), 1.0):
            return f"<candidate> subtracts the mean {told} from the gradients (centralisation)"
    if same(ratios_of({n: np.sign(g) for n, g in raw.items()}, other), 1.0):
        return "<candidate> takes the sign of the gradients"
    return ""


def given_apart(
    sides: tuple[Side, Side], history: History, names: Sequence[str], step: int
) -> Parting | None:
    """That an optimiser is given other gradients than the other side's, where no other rule explains it.

    Args:
        sides: values from equal weights.
        history: of the reference.
        names: tensors that move.
        step: the first that differs.
    """
    if not keeps_state(history, names) and history.limit is None:
        return None
    given = _given_to_both(sides, history, names, step)
    if given is None or same(ratios_of(*given)[step : step + 1], 1.0):
        return None
    own, other = given
    if told := _penalised(own, other, history, step):
        return told
    detail = f"{_away(own, other, step)}: clipped, scaled or changed between backward pass and optimiser"
    return Parting(step, Phase.CLIPPING, detail)


def _away(own: Arrays, other: Arrays, step: int) -> str:
    """How far what an optimiser is given differs in a step, in words."""
    shares = {
        name: float(np.abs(other[name][step] - own[name][step]).max(initial=0.0))
        / max(float(np.abs(own[name][step]).max(initial=0.0)), 1e-300)
        for name in other
    }
    worst = max(shares, key=lambda name: shares[name])
    return f"the gradient of {worst} that the optimiser is given differs by {shares[worst]:.2g} of its size"
