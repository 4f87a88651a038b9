"""Rounding that is put together: the floor of x + 0.5, where halves go up, against a rounding to even."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.neighbours import halves_away
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind

ROUNDED: Mapping[str, Callable[[Array], Array]] = {
    "rounds halves to even": np.round,
    "rounds halves away from zero": halves_away,
    "rounds down": np.floor,
    "rounds up": np.ceil,
    "cuts off": np.trunc,
}
"""Ways to round, in words."""


def roundings(fault: Fault) -> Iterator[Change]:
    """A floor or ceiling of a value half a step away, exchanged for a rounding of the value itself."""
    for index in fault.computed():
        node = fault.node(index)
        if node.operation not in ("floor", "ceil"):
            continue
        shifted = fault.node(node.inputs[0])
        if shifted.operation not in ("add", "sub"):
            continue
        for half, x in (shifted.inputs, shifted.inputs[::-1]):
            if half in fault.pure and bool(np.all(np.abs(fault.value(half)) == 0.5)):
                sign = "+" if shifted.operation == "add" else "-"
                for way, function in ROUNDED.items():
                    text = f"<reference> {way}, <candidate> takes the {node.operation} of x {sign} 0.5"
                    yield Change(CauseKind.SELECTION, text, {index: function(fault.value(x))})
