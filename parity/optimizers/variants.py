"""Other optimisers than the one given: what a port may have become by mistake.

Each variant is a rule with options, computed over the gradients and weights of a run that was recorded. One
whose updates are those of the other side, in every step, is the cause.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from parity.frameworks.jax.compiling import compiled_soon
from parity.numerics.arrays import Arrays
from parity.numerics.precision import running
from parity.optimizers.history import History, Options
from parity.optimizers.known import RULES
from parity.optimizers.matrix_rules import MUON
from parity.optimizers.moment_rules import ADAM, NADAM, RADAM
from parity.optimizers.root_rules import ADAFACTOR
from parity.optimizers.rules import Rule, Slots, Tensor, moving
from parity.optimizers.variant_rules import (
    CONSTANT_MOMENTUM,
    RATE_INSIDE,
    adam_with,
    decay_behind,
    under_root,
)

EPSILONS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-10, 1e-12, 1e-16, 0.0)
DECAYS = (0.0, 1e-4, 1e-2, 1e-3, 1e-1, 5e-4, 0.05)
BETAS = ((0.9, 0.999), (0.9, 0.99), (0.9, 0.95), (0.9, 0.98), (0.95, 0.999), (0.5, 0.999), (0.0, 0.99))
MOMENTA = (0.0, 0.9, 0.95, 0.99, 0.5)
"""Numbers in use."""

ELEMENTWISE = [kind for kind, rule in RULES.items() if rule not in (ADAFACTOR, MUON)]
"""Optimisers that treat every number by itself: tensors may be laid one behind another."""


Rows = Float[np.ndarray, "steps ..."]


@dataclasses.dataclass(frozen=True)
class Variant:
    """An optimiser that differs in one thing.

    Attributes:
        words: what differs, "<reference>" and "<candidate>" standing for the sides.
        rule: its rule.
        change: hyperparameters of the reference -> its own.
        grads: gradients before clipping -> those that it is given; None: those that the reference was given.
    """

    words: str
    rule: Rule
    change: Callable[[Options], Options] = dict
    grads: Callable[[Arrays], Arrays] | None = None


def changes(history: History, variant: Variant, names: list[str]) -> dict[str, np.ndarray]:
    """What a variant adds to the weights in each step.

    Args:
        history: of the reference.
        variant: an optimiser.
        names: the tensors to compute.

    Returns:
        By tensor, the first axis is time.
    """
    grads = history.used if variant.grads is None else variant.grads(history.raw)
    found: dict[str, np.ndarray] = {}
    left = [name for name in names if name in grads]
    while left:
        alike = [name for name in left if _alike(history, name, left[0])] or left[:1]
        rates = np.asarray(history.rates[alike[0]], np.float64)
        together = history.kind in ELEMENTWISE
        given, weights = (
            laid_out(a, alike, len(rates)) if together else np.asarray(a[alike[0]], np.float64)
            for a in (grads, history.weights)
        )
        options = variant.change(history.options[alike[0]])
        rows = _computed(variant.rule, options, rates, given, weights)
        at = 0
        for name in alike:
            shape = history.weights[name].shape
            size = int(np.prod(shape[1:]))
            found[name] = rows.reshape(len(rates), -1)[:, at : at + size].reshape(shape)
            at += size
        left = [name for name in left if name not in alike]
    return found


def _computed(
    rule: Rule, options: Options, rates: Rows, grads: Rows, weights: Rows
) -> Float[np.ndarray, "steps ..."]:
    """`recorded`, compiled, in float64."""
    with running("float64"):
        return np.asarray(compiled_soon(lambda: recorded(rule, options, rates, grads, weights))())


def _alike(history: History, name: str, other: str) -> bool:
    """Whether two tensors can be computed at once."""
    same = history.options[name] == history.options[other]
    return history.kind in ELEMENTWISE and same and np.array_equal(history.rates[name], history.rates[other])


def laid_out(arrays: Arrays, names: list[str], count: int) -> Float[np.ndarray, "steps values"]:
    """The numbers of several tensors one behind another, a row for each step.

    Args:
        arrays: by tensor; the first axis is time.
        names: the tensors.
        count: how many steps.
    """
    return np.concatenate(
        [np.reshape(arrays[n][:count], (count, -1)).astype(np.float64) for n in names], axis=1
    )


def recorded(
    rule: Rule,
    options: Options,
    rates: Float[np.ndarray, " steps"],
    grads: Float[np.ndarray, "steps ..."],
    weights: Float[np.ndarray, "steps ..."],
    begun: Options | None = None,
) -> Float[Array, "steps ..."]:
    """What a rule adds in each step of a run that was recorded.

    Args:
        rule: of an optimiser.
        options: its hyperparameters; they may be traced.
        rates: the learning rate of each step.
        grads: the gradients.
        weights: before each step.
        begun: hyperparameters that say which slots there are; None: `options`.
    """

    def step(slots: Slots, row: tuple[Array, ...]) -> tuple[Slots, Tensor]:
        number, rate, grad, weight = row
        change, after = rule.change(grad, slots, weight, {**options, "lr": rate}, number)
        return {name: jnp.asarray(value) for name, value in after.items()}, change

    slots = rule.slots(jnp.asarray(weights[0]), {**(begun or options), "lr": float(rates[0])})
    numbers = jnp.arange(1, len(rates) + 1, dtype=jnp.float64)
    rows = (numbers, jnp.asarray(rates), jnp.asarray(grads), jnp.asarray(weights))
    return jax.lax.scan(step, slots, rows)[1]


def variants(history: History, options: Options) -> Iterator[Variant]:
    """What the other side may compute instead, the likeliest first.

    Args:
        history: of the reference.
        options: of one of its groups.
    """
    kind = history.kind
    rule = RULES[kind]
    yield from _decays(rule, options)
    if rule in (ADAM, NADAM, RADAM):
        yield from _moments(rule, options)
    if kind == "SGD":
        yield from _momenta(rule, options)
    if kind == "RMSprop":
        yield from _root_mean_squares(rule, options)
    if kind == "Adagrad":
        yield from _sums_of_squares(rule, options)
    yield from _others(rule, options, "epsilon", "eps", EPSILONS)
    for other, own in RULES.items():
        if own is not rule and other in ELEMENTWISE and other in history.defaults:
            yield Variant(differs("the optimiser", kind, other), own, _as(history.defaults[other]))
    yield Variant(
        "<candidate> climbs: its gradient has the other sign",
        rule,
        _with(maximize=not options.get("maximize")),
    )


def _with(**changed: Any) -> Callable[[Options], Options]:
    return lambda options: {**options, **changed}


def _as(defaults: Options) -> Callable[[Options], Options]:
    """The hyperparameters of another optimiser: those that are given, and its defaults."""
    return lambda given: {**defaults, **{name: value for name, value in given.items() if name in defaults}}


def differs(what: str, reference: object, candidate: object) -> str:
    """A sentence on what one side has and the other has otherwise.

    Args:
        what: it is.
        reference: its value there.
        candidate: its value here.
    """
    own, other = (f"{value:g}" if isinstance(value, float) else value for value in (reference, candidate))
    return f"{what} is {own} in <reference> and {other} in <candidate>"


def _others(rule: Rule, options: Options, what: str, name: str, values: Iterable[Any]) -> Iterator[Variant]:
    """The rule with other values of one hyperparameter."""
    own = options.get(name)
    if own is None:
        return
    for value in values:
        if value != own:
            yield Variant(differs(what, own, value), rule, _with(**{name: value}))


def _decays(rule: Rule, options: Options) -> Iterator[Variant]:
    """Weight decay: in another place, or another number."""
    decay = options.get("weight_decay")
    if decay and "decoupled_weight_decay" in options:
        own = bool(options["decoupled_weight_decay"])
        names = ("a penalty in the gradient (Adam)", "decoupled (AdamW)")
        yield Variant(
            differs("weight decay", names[own], names[not own]), rule, _with(decoupled_weight_decay=not own)
        )
    if decay and not options.get("decoupled_weight_decay"):
        yield Variant(
            differs("weight decay", "added to the gradient", "added behind the moments"),
            decay_behind(rule, scaled="now"),
        )
    if decay:
        yield Variant(
            differs("weight decay", "multiplied by the learning rate", "not"),
            decay_behind(rule, scaled="never"),
        )
        yield Variant(
            "weight decay of <candidate> has the other sign: weights grow",
            rule,
            _with(weight_decay=-decay),
        )
    if decay and options.get("initial_lr"):  # there is a scheduler
        yield Variant(
            "weight decay of <candidate> is multiplied by the first rate, that of <reference> by the rate of "
            "the step: it does not follow the schedule",
            decay_behind(rule, scaled="first"),
        )
    yield from _others(rule, options, "weight decay", "weight_decay", DECAYS)


def _moments(rule: Rule, options: Options) -> Iterator[Variant]:
    """What may differ between two Adams."""
    eps = f"epsilon, {options['eps']:g},"
    yield Variant(differs(eps, "outside of the root", "inside of it"), adam_with("inside"))
    yield Variant(differs(eps, "added behind the bias correction", "added before it"), adam_with("hat"))
    for words, which in (
        ("corrects the bias of no moment", "none"),
        ("corrects the bias of the second moment alone", "second"),
        ("corrects the bias of the first moment alone", "first"),
        ("counts from 0 in the bias correction", "late"),
        ("counts from 2 in the bias correction", "early"),
        ("counts from 0 in the bias correction, with 1 for the 0", "clamped"),
    ):
        told = f"<candidate> {words}, <reference> corrects both and counts from 1"
        yield Variant(told, adam_with("outside", which))
    if rule is NADAM:
        yield Variant(differs("the first beta", "warmed up (momentum_decay)", "constant"), CONSTANT_MOMENTUM)
    if "amsgrad" in options:
        yield from _others(rule, options, "amsgrad", "amsgrad", (False, True))
    swapped = tuple(options["betas"])[::-1]
    yield from _others(rule, options, "the pair of betas", "betas", (*BETAS, swapped))


def _momenta(rule: Rule, options: Options) -> Iterator[Variant]:
    """What may differ between two SGDs."""
    momentum = options["momentum"]
    if momentum:
        own = ("off", "on")[bool(options["nesterov"])]
        other = {"off": "on", "on": "off"}[own]
        yield Variant(differs("Nesterov's momentum", own, other), rule, _with(nesterov=own == "off"))
        yield from _others(rule, options, "dampening", "dampening", (0.0, momentum))
        yield Variant(
            differs("the learning rate", "outside of the momentum buffer", "inside of it"), RATE_INSIDE
        )
    yield from _others(rule, options, "momentum", "momentum", MOMENTA)


def _root_mean_squares(rule: Rule, options: Options) -> Iterator[Variant]:
    """What may differ between two RMSprops."""
    inside = under_root("square_avg", lambda held, grad, o: moving(held, grad**2, 1 - o["alpha"]))
    told = differs(f"epsilon, {options['eps']:g},", "outside of the root", "inside of it (eps_in_sqrt)")
    yield Variant(told, inside)
    yield from _others(rule, options, "alpha (the decay)", "alpha", (0.9, 0.99, 0.95, 0.999))
    yield from _others(rule, options, "centred", "centered", (False, True))
    yield from _others(rule, options, "momentum", "momentum", MOMENTA)
    yield Variant(f"{told}, and alpha is {options['alpha']:g} and 0.9", inside, _with(alpha=0.9))


def _sums_of_squares(rule: Rule, options: Options) -> Iterator[Variant]:
    """What may differ between two Adagrads."""
    inside = {start: under_root("sum", lambda held, grad, o: held + grad**2, start) for start in (0.0, 0.1)}
    own = f"{options['initial_accumulator_value']:g}, epsilon ({options['eps']:g}) outside of the root,"
    for start in (0.1, 0.0):
        for eps in (1e-7, 1e-10):
            told = differs("the sum of squares at the start", own, f"{start:g}, epsilon ({eps:g}) inside,")
            yield Variant(told, inside[start], _with(eps=eps))
            changed = _with(initial_accumulator_value=start, eps=eps)
            if (start, eps) != (options["initial_accumulator_value"], options["eps"]):
                told = differs(
                    "the sum of squares at the start", own, f"{start:g}, epsilon ({eps:g}) outside,"
                )
                yield Variant(told, rule, changed)
