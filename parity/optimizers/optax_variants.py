"""Optimisers of optax that PyTorch has not, or not so, as variants of one of PyTorch's."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import optax

from parity.optimizers.history import Options
from parity.optimizers.rules import Rule, Scalar, Slots, Tensor
from parity.optimizers.variants import Variant

HINTS = {
    "lion": "",
    "adabelief": "",
    "nadam": ", which has no momentum_decay",
    "radam": ", which adds epsilon behind the correction of the second moment",
    "amsgrad": ", which takes the largest of the corrected moments",
    "sign_sgd": "",
    "yogi": "",
}
"""Names in optax, and what sets each apart from PyTorch's of that name. All act entry by entry."""


def optax_variants(kind: str, options: Options) -> Iterator[Variant]:
    """What the other side computes if it has one of these, with the reference's hyperparameters or its own.

    Args:
        kind: the name of the class of the reference's optimiser.
        options: of one of its groups.
    """
    first, second = options.get("betas", (0.9, 0.999))[:2]
    given = {
        "b1": first,
        "b2": second,
        "eps": options.get("eps"),
        "weight_decay": options.get("weight_decay"),
    }
    for name, hint in HINTS.items():
        make = getattr(optax, name)
        takes = inspect.signature(make).parameters
        own = {key: value for key, value in given.items() if key in takes and value is not None}
        decay = {key: value for key, value in own.items() if key == "weight_decay"}
        for chosen in [one for n, one in enumerate(({}, decay, own)) if one or not n]:
            words = f"the optimiser is {kind} in <reference> and `optax.{name}` in <candidate>{hint}"
            yield Variant(words, _rule_of(make, chosen))


def _rule_of(make: Callable[..., optax.GradientTransformation], chosen: Options) -> Rule:
    """A transformation of one tensor as a rule; the rate of each step multiplies what it adds."""
    transformation = make(learning_rate=1.0, **chosen)

    def structure(param: Tensor) -> Any:
        return jax.tree.structure(jax.eval_shape(transformation.init, param))

    def slots(param: Tensor, options: Options) -> Slots:
        del options
        leaves = jax.tree.leaves(transformation.init(param))
        return {str(number): leaf for number, leaf in enumerate(leaves)}

    def change(
        grad: Tensor, held: Slots, param: Tensor, options: Options, step: Scalar
    ) -> tuple[Tensor, Slots]:
        del step
        state = jax.tree.unflatten(structure(param), [held[str(n)] for n in range(len(held))])
        added, after = transformation.update(grad, state, param)
        return options["lr"] * added, {str(n): leaf for n, leaf in enumerate(jax.tree.leaves(after))}

    return Rule(slots, change)
