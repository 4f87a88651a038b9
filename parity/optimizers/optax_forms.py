"""PyTorch's optimisers as optax's own transformations, where these are equal to rounding."""

from collections.abc import Callable, Mapping

import optax
from jaxtyping import Array

from parity.optimizers.history import Options

Rate = float | Callable[[Array], Array]
"""A learning rate, or a schedule: updates so far -> rate."""


def _before(options: Options) -> list[optax.GradientTransformation]:
    """What happens to a gradient before the rule: the ascent, and weight decay as a penalty."""
    steps = [optax.scale(-1.0)] if options.get("maximize") else []
    if options["weight_decay"] and not options.get("decoupled_weight_decay"):
        steps.append(optax.add_decayed_weights(options["weight_decay"]))
    return steps


def _after(options: Options, rate: Rate) -> list[optax.GradientTransformation]:
    """What happens behind the rule: decoupled weight decay, and the rate."""
    steps = []
    if options["weight_decay"] and options.get("decoupled_weight_decay"):
        steps.append(optax.add_decayed_weights(options["weight_decay"]))
    return [*steps, optax.scale_by_learning_rate(rate)]


def _sgd(options: Options) -> list[optax.GradientTransformation] | None:
    if not options["momentum"]:
        return []
    if options["dampening"]:
        return None
    return [optax.trace(options["momentum"], nesterov=options["nesterov"])]


def _adam(options: Options) -> list[optax.GradientTransformation] | None:
    if options["amsgrad"]:
        return None
    first, second = options["betas"]
    return [optax.scale_by_adam(first, second, options["eps"])]


def _adamax(options: Options) -> list[optax.GradientTransformation] | None:
    return [optax.scale_by_adamax(*options["betas"], options["eps"])]


def _adadelta(options: Options) -> list[optax.GradientTransformation] | None:
    return [optax.scale_by_adadelta(options["rho"], options["eps"])]


def _rmsprop(options: Options) -> list[optax.GradientTransformation] | None:
    scale = optax.scale_by_stddev if options["centered"] else optax.scale_by_rms
    steps = [scale(options["alpha"], options["eps"], eps_in_sqrt=False)]
    return [*steps, *([optax.trace(options["momentum"])] if options["momentum"] else [])]


_Form = Callable[[Options], list[optax.GradientTransformation] | None]

_FORMS: Mapping[str, _Form] = {
    "SGD": _sgd,
    "Adam": _adam,
    "AdamW": _adam,
    "Adamax": _adamax,
    "Adadelta": _adadelta,
    "RMSprop": _rmsprop,
}


def optax_form(kind: str, options: Options, rate: Rate) -> optax.GradientTransformation | None:
    """An optimiser of PyTorch as a chain of optax's transformations.

    Args:
        kind: the name of the optimiser's class.
        options: of one parameter group.
        rate: its learning rate; a constant, or a schedule of the count of updates.

    Returns:
        The chain, or None where optax has nothing that is equal to rounding.
    """
    core = _FORMS[kind](options) if kind in _FORMS else None
    return None if core is None else optax.chain(*_before(options), *core, *_after(options, rate))
