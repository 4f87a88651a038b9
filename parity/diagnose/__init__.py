"""Why two programs differ: known traps tried at the place, the one that makes it match reported.

Each family of hypotheses is a generator of changes to the JAX side. A change is the cause when the faulty
value, or one that everything behind it goes through, then agrees with PyTorch's; where no change does,
nothing is said.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from parity.diagnose.activations import activations, likely_activations, plain_functions
from parity.diagnose.convolutions import convolutions, other_paddings
from parity.diagnose.dtypes import dtypes
from parity.diagnose.extra import extra_operations, missing_operations
from parity.diagnose.fault import Fault
from parity.diagnose.gradients import gradient_rules
from parity.diagnose.indices import chosen_entries, integers
from parity.diagnose.masks import masked_states, masks
from parity.diagnose.mutations import mutations
from parity.diagnose.norms import norms
from parity.diagnose.numbers_in_code import constants, pairs_of_constants
from parity.diagnose.operands import exchanged_parts, operands, pairs_of_operands
from parity.diagnose.order import order, shifted
from parity.diagnose.pooling import padding_modes, pools
from parity.diagnose.rearranging import opposite_operands, paired_operands, rearranged_operands
from parity.diagnose.reductions import reductions
from parity.diagnose.terms import terms
from parity.diagnose.trials import Change
from parity.localise.walk import Comparison, Region
from parity.report.results import Cause

CAUSES = (
    *("epsilon", "constant", "activation", "transposed kernel", "flipped kernel", "kernel layout"),
    *("swapped weights", "gate order", "packed order", "stale weights", "padding", "stride", "dilation"),
    *("groups", "pool count", "pool mode", "axis", "reduction", "variance correction", "statistics", "mask"),
    *("scale", "order", "repeat", "missing term", "extra term", "operands", "shift", "dtype"),
    *("gradient rule", "recurrence", "selection", "broadcast"),
)
"""What a cause can be called."""

Family = Callable[[Fault], Iterator[Change]]

FAMILIES: tuple[Family, ...] = (
    *(constants, activations, convolutions, pools, integers, dtypes, masks, exchanged_parts, order, shifted),
    *(padding_modes, masked_states, reductions, norms, mutations, opposite_operands, extra_operations, terms),
    *(plain_functions, operands, chosen_entries, rearranged_operands, paired_operands, likely_activations),
    *(other_paddings, pairs_of_constants, pairs_of_operands, missing_operations),
)
"""The families, simple explanations first."""

OF_GRADIENTS: tuple[Family, ...] = (dtypes, gradient_rules, *FAMILIES)
"""The same where the outputs agree and a gradient does not."""

SECONDS = 5.0
"""Time for one fault."""

DEPTHS = (0, 3)
"""How many operations before the fault are looked at, too: first none, then some."""


def diagnose(comparison: Comparison, region: Region) -> Cause | None:
    """The cause of a fault: the first change to the JAX side that makes it agree.

    Args:
        comparison: both traces, with what has been put in place so far.
        region: the fault.

    Returns:
        The cause with the relative difference that the change leaves; None if no hypothesis matches.
    """
    if not region.settled and region.value.shape != comparison.array(region.j).shape:
        return None
    with _in_64_bits(), np.errstate(all="ignore"):
        for depth in DEPTHS:
            fault = Fault(comparison, region, depth, SECONDS / len(DEPTHS))
            if not fault.differs or not (fault.target.wanted.any() or fault.gradient):
                return None  # zeros say nothing
            for family in OF_GRADIENTS if fault.gradient else FAMILIES:
                try:
                    found = fault.first(family(fault))
                except Exception:  # an unforeseen shape must not cost the other families
                    if os.environ.get("PARITY_DEBUG"):
                        raise
                    continue
                if found is not None:
                    return _cause(fault, *found)
    return None


def _in_64_bits() -> contextlib.AbstractContextManager[Any]:
    """Inside, JAX keeps 64 bits when it computes operations again; without JAX there is nothing to set."""
    jax = sys.modules.get("jax")
    return jax.enable_x64(True) if jax is not None else contextlib.nullcontext()


def _cause(fault: Fault, change: Change, residual: float) -> Cause:
    if fault.gradient and change.cause not in ("dtype", "gradient rule"):
        text = f"the outputs agree, the gradient does not: {change.text}"
        return Cause("gradient rule", text, residual)
    return Cause(change.cause, change.text, residual)
