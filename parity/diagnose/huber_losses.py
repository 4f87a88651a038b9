"""Huber's loss and smooth L1: the same function but for a factor, the number where it becomes linear."""

from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.phrases import number
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind

LOSSES = {"smooth_l1_loss": "smooth L1", "huber_loss": "Huber's loss"}
"""What the two are called, by the reference's operation."""


def huber_losses(fault: Fault) -> Iterator[Change]:
    """One of the two where the reference computes the other."""
    for index in fault.reference_scope:
        node = fault.reference.nodes[index]
        name = LOSSES.get(node.operation)
        for bend in (
            {float(v) for v in node.params.values() if isinstance(v, float) and v > 0} if name else ()
        ):
            smooth = node.operation == "smooth_l1_loss"
            other = LOSSES["huber_loss" if smooth else "smooth_l1_loss"]
            factor = 1 / bend if smooth else bend
            text = f"<reference> computes {name}, <candidate> {other}: smooth L1 is Huber's loss divided by "
            text += f"its beta, {number(bend)}: {'divide' if smooth else 'multiply'} by {number(bend)}"
            for target in fault.targets:
                if target.wanted.dtype.kind == "f" and np.any(target.actual):
                    yield Change(CauseKind.SCALE, text, {target.node: target.actual * factor})
