"""One hyperparameter of an optimiser, found from what another side's updates are."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from parity.frameworks.jax.compiling import compiled_soon
from parity.numerics.arrays import Arrays
from parity.numerics.precision import running
from parity.optimizers.history import History, Options
from parity.optimizers.known import RULES
from parity.optimizers.moment_rules import ADAM
from parity.optimizers.rules import Rule
from parity.optimizers.variant_rules import adam_with
from parity.optimizers.variants import Variant, differs, laid_out, recorded

POINTS = 48
"""Values that are tried at once."""

ROUNDS = 12
"""How often the range around the best one is narrowed, by a factor of POINTS / 4 each time."""

FIRST = 8
"""Steps that are looked at."""


class Searched(NamedTuple):
    """A hyperparameter that is a number.

    Attributes:
        what: what a sentence calls it.
        name: PyTorch's.
        low, high: the powers of ten to look between.
        which: of several, in a pair; None where it is no pair.
    """

    what: str
    name: str
    low: float
    high: float
    which: int | None = None

    def of(self, options: Options) -> float | None:
        """Its value, None where the optimiser has none; of a beta the distance from 1.

        Args:
            options: of a parameter group.
        """
        value = options.get(self.name)
        if self.which is not None:
            return None if value is None else 1 - value[self.which]
        return float(value) if isinstance(value, float | int) else None

    def put(self, options: Options, value: object) -> Options:
        """The options with another value of it.

        Args:
            options: of a parameter group.
            value: a number, which may be traced; of a beta the distance from 1.
        """
        if self.which is None:
            return {**options, self.name: value}
        pair = list(options[self.name])
        pair[self.which] = 1 - value  # type: ignore[operator]
        return {**options, self.name: tuple(pair)}


SEARCHED = (
    Searched("weight decay", "weight_decay", -6.0, 1.0),
    Searched("momentum", "momentum", -3.0, 0.0),
    Searched("1 - the first beta", "betas", -5.0, 0.0, 0),
    Searched("1 - the second beta", "betas", -5.0, 0.0, 1),
    Searched("epsilon", "eps", -16.0, 0.0),
    Searched("alpha (the decay)", "alpha", -1.0, 0.0),
    Searched("rho (the decay)", "rho", -1.0, 0.0),
    Searched("dampening", "dampening", -3.0, 0.0),
    Searched("the momentum decay", "momentum_decay", -6.0, 0.0),
)
"""What may have been given another number, the likeliest first."""

UNDER_ROOT, OF_THE_ROOT = adam_with("both"), Searched("epsilon inside of the root", "eps_root", -16.0, 0.0)
"""Adam with a second epsilon, which PyTorch has not: optax's `eps_root`."""


def fitted(history: History, names: list[str], candidate: Arrays, step: int) -> Iterator[Variant]:
    """The optimiser with one number set to what fits the candidate's updates best; to be confirmed.

    Args:
        history: of the reference.
        names: tensors of one parameter group whose updates differ.
        candidate: its updates, by tensor.
        step: the first in which they differ.
    """
    rule = RULES[history.kind]
    rules = [(rule, one) for one in SEARCHED] + ([(UNDER_ROOT, OF_THE_ROOT)] if rule is ADAM else [])
    for tried, one in rules:
        options = {**history.options[names[0]], **({one.name: 0.0} if one is OF_THE_ROOT else {})}
        own = one.of(options)
        if own is None or (own == 0 and one.name == "momentum"):  # a buffer that is not there
            continue
        value = _best(history, names, candidate, step, (tried, options, one))
        for digits in (1, 2, 3, 6, 12):  # as a programmer would have written it, and as it is
            other = float(f"{value:.{digits}g}")
            if other != own:
                yield Variant(differs(one.what, own, other), tried, _with(one, other))


def _with(one: Searched, value: float) -> Callable[[Options], Options]:
    return lambda options: one.put(options, value)


def _best(
    history: History,
    names: list[str],
    candidate: Arrays,
    step: int,
    searched: tuple[Rule, Options, Searched],
) -> float:
    """The value whose updates are nearest to the candidate's."""
    rule, options, one = searched
    count = min(len(history.rates[names[0]]), step + FIRST)
    grads, weights, wanted = (laid_out(a, names, count) for a in (history.used, history.weights, candidate))
    rates = np.asarray(history.rates[names[0]][:count], np.float64)

    def gap(value: jax.Array) -> jax.Array:
        rows = recorded(rule, one.put(options, value), rates, grads, weights, begun=options)
        return jnp.max(jnp.abs(rows - wanted)[step:])

    best, low, high = 0.0, one.low, one.high
    with running("float64"):
        gaps = compiled_soon(jax.vmap(gap))
        for _ in range(ROUNDS):
            grid = np.linspace(low, high, POINTS)
            found = np.nan_to_num(np.asarray(gaps(jnp.asarray(10.0**grid))), nan=np.inf)
            best = float(grid[int(np.argmin(found))])
            width = 2 * (high - low) / POINTS
            low, high = best - width, best + width
    return float(10.0**best)
