"""How a pair is given to `parity.check`: the one place of the tests that knows its arguments."""

from typing import Any

import parity
from tests.kit.pairs import Pair


def check(pair: Pair, **changes: Any) -> parity.Report:
    """Check a pair; `changes` are arguments of `parity.check` to add or to replace."""
    return parity.check(**(arguments(pair) | changes))


def arguments(pair: Pair) -> dict[str, Any]:
    """The arguments of `parity.check` that say what a pair is; what a pair leaves open is left out."""
    given = {
        "torch_model": pair.reference,
        "jax_model": pair.candidate,
        "inputs": pair.inputs,
        "targets": pair.targets,
        "loss": pair.loss,
        "template": pair.template,
        "params": pair.params,
        "pins": pair.pins,
        "layout": pair.layout,
        "outputs": pair.outputs,
    }
    return {name: value for name, value in given.items() if value is not None}


def settings(**given: Any) -> dict[str, Any]:
    """The arguments of `parity.check` that say how to check: `dtypes`, `finite_differences`, `moved_weights`.

    Also `localise`, `reproduce`, `seed` and `device`.
    """
    names = {"finite_differences": "differences", "moved_weights": "jitter"}
    return {names.get(name, name): value for name, value in given.items()}
