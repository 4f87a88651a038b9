"""How a pair is given to `parity.check`: the one place of the tests that knows its arguments."""

from typing import Any

import parity
from parity.pipeline.arguments import sorted_arguments
from tests.kit.pairs import Pair


def check(pair: Pair, **changes: Any) -> parity.Report:
    """Check a pair; `changes` are arguments of `parity.check`, flat, to add or to replace."""
    return parity.check(**sorted_arguments(arguments(pair) | changes))


def arguments(pair: Pair) -> dict[str, Any]:
    """The arguments of `parity.check`, flat, that say what a pair is; what it leaves open is left out."""
    given = {
        "reference": pair.reference,
        "candidate": pair.candidate,
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
