"""Why two programs differ: known traps tried at the place, the one that makes it match reported.

Each family of hypotheses is a generator of changes to the candidate. A change is the cause when the faulty
value, or one that everything behind it goes through, then agrees with the reference's; where no change does,
no cause is named. Which framework either side is written in, nothing here knows.
"""

import contextlib
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from parity.diagnose.activations import activations, likely_activations, plain_functions
from parity.diagnose.carried_through import CarriedThrough
from parity.diagnose.confirming import Confirmation, Elsewhere
from parity.diagnose.convolutions import convolutions, exchanged_settings, other_paddings
from parity.diagnose.divisors_of_data import counted_divisors
from parity.diagnose.dropout_scales import dropout_scales
from parity.diagnose.dtypes import dtypes
from parity.diagnose.everywhere import changes_everywhere, holds_everywhere
from parity.diagnose.exchanged_steps import exchanged_calls, exchanged_steps, exchanged_weights
from parity.diagnose.exchanged_values import exchanged_values
from parity.diagnose.extra import extra_operations, missing_operations, missing_step
from parity.diagnose.factors import exchanged_factors
from parity.diagnose.fault import DEPTHS, Fault
from parity.diagnose.fillers import filled_ends, fillers
from parity.diagnose.fourier import fourier_lengths
from parity.diagnose.gates import gates
from parity.diagnose.gradients import gradient_rules
from parity.diagnose.in_parts import bins, in_parts
from parity.diagnose.indices import chosen_entries, integers
from parity.diagnose.label_smoothing import label_smoothing
from parity.diagnose.loss_axes import other_axes
from parity.diagnose.loss_inputs import activated_inputs, exchanged_arguments, other_bounds
from parity.diagnose.loss_shapes import broadcast_pairs, loss_of_each, shifted_targets
from parity.diagnose.loss_weights import weighted_entries
from parity.diagnose.losses_of_differences import other_losses
from parity.diagnose.masks import masked_states, masks, masks_of_several
from parity.diagnose.missing_branches import missing_branch
from parity.diagnose.mutations import (
    compared_otherwise,
    compared_otherwise_in_all_runs,
    joined_otherwise,
    mutations,
    mutations_behind,
)
from parity.diagnose.norm_modes import norm_modes
from parity.diagnose.norms import norms, other_statistics
from parity.diagnose.numbers_in_code import constants, other_numbers, pairs_of_constants
from parity.diagnose.operands import (
    exchanged_parts,
    misread_operands,
    one_operand_off,
    operands,
    other_layers,
    other_values,
    pairs_of_operands,
    plain_inputs,
    skipped_steps,
)
from parity.diagnose.order import order, shifted
from parity.diagnose.picks import picked_entries
from parity.diagnose.plainly import written_plainly
from parity.diagnose.pooling import padding_modes, pools
from parity.diagnose.read_in_steps import read_in_steps
from parity.diagnose.rearranging import opposite_operands, paired_operands, rearranged_operands
from parity.diagnose.reductions import reductions
from parity.diagnose.repeated_runs import other_results, repeated_runs
from parity.diagnose.reshape_orders import reshaped_otherwise, reshaped_there_and_back
from parity.diagnose.resizing import resizings
from parity.diagnose.roundings import roundings
from parity.diagnose.scalar_terms import scalar_terms, scaled_terms
from parity.diagnose.sequences import sequences
from parity.diagnose.slices import sliced_operands
from parity.diagnose.stops import stopped, stopped_elsewhere
from parity.diagnose.sums_and_means import other_divisors, sums_and_means
from parity.diagnose.tables import tables
from parity.diagnose.terms import terms
from parity.diagnose.trials import Change
from parity.localise.comparison import Comparison, Region
from parity.report.kinds import GRADIENT_KINDS, CauseKind
from parity.report.results import Cause

Family = Callable[[Fault], Iterator[Change]]
"""A family of hypotheses: takes a fault and yields the changes to be tried there, the likeliest first."""

OF_LOSSES: tuple[Family, ...] = (
    counted_divisors,
    activated_inputs,
    exchanged_arguments,
    label_smoothing,
    broadcast_pairs,
    loss_of_each,
    shifted_targets,
    other_losses,
    weighted_entries,
    other_axes,
)
"""What is wrong with a loss as a whole: its own formula may have nothing in common with the other side's."""

FAMILIES: tuple[Family, ...] = (
    *OF_LOSSES,
    other_bounds,
    norm_modes,
    dropout_scales,
    *(tables, plain_inputs, fillers, written_plainly, roundings, sums_and_means),
    read_in_steps,
    repeated_runs,
    *(
        constants,
        activations,
        missing_step,
        convolutions,
        fourier_lengths,
        exchanged_settings,
        pools,
        compared_otherwise,
        integers,
        dtypes,
        sequences,
    ),
    *(masks, masks_of_several, compared_otherwise_in_all_runs, exchanged_parts),
    *(
        joined_otherwise,
        reshaped_otherwise,
        order,
        in_parts,
        bins,
        resizings,
        reshaped_there_and_back,
        exchanged_weights,
        exchanged_calls,
        exchanged_values,
    ),
    *(
        padding_modes,
        masked_states,
        gates,
        reductions,
        norms,
        mutations,
        other_statistics,
        changes_everywhere,
        mutations_behind,
        shifted,
        filled_ends,
        sliced_operands,
        other_divisors,
        opposite_operands,
        extra_operations,
        picked_entries,
        other_layers,
        misread_operands,
        other_values,
        other_numbers,
        one_operand_off,
        skipped_steps,
        terms,
        scalar_terms,
        scaled_terms,
    ),
    *(plain_functions, other_results, operands, chosen_entries, rearranged_operands, paired_operands),
    *(likely_activations,),
    *(
        other_paddings,
        exchanged_steps,
        pairs_of_constants,
        pairs_of_operands,
        missing_operations,
        missing_branch,
    ),
)
"""The families: what a programmer would have written first, a number that merely fits last."""

OF_GRADIENTS: tuple[Family, ...] = (
    dtypes,
    stopped,
    exchanged_factors,
    gradient_rules,
    stopped_elsewhere,
    *FAMILIES,
)
"""The same where the outputs agree and a gradient does not."""

OF_SEVERAL: tuple[Family, ...] = (exchanged_steps, pairs_of_constants)
"""Those by which what looks like several faults may be one: an operation too few here and one too many
there, a number that is written twice."""

SECONDS = 12.0
"""CPU time for one fault, in seconds."""


class Diagnosis(NamedTuple):
    """A cause, with the change that it was found by, which may say more of the place."""

    cause: Cause
    change: Change


def diagnose(
    comparison: Comparison,
    region: Region,
    problems: list[str] | None = None,
    elsewhere: Elsewhere | None = None,
    families: Sequence[Family] | None = None,
) -> Diagnosis | None:
    """The cause of a fault: the first change to the candidate that makes it agree, here and on another draw.

    An error inside a family of hypotheses, which is a bug of this package, costs that family alone. With
    `PARITY_DEBUG` in the environment it is raised.

    Args:
        comparison: both traces, with what has been put in place so far.
        region: the fault.
        problems: takes a sentence for every family that failed with an error.
        elsewhere: gives the same place on another draw of inputs and weights.
        families: hypotheses to try; None: all of them.

    Returns:
        The cause with the relative difference that the change leaves; None if no hypothesis matches.
    """
    if not region.settled and region.value.shape != comparison.array(region.j).shape:
        return None
    confirmation, carried = Confirmation(_as_set(elsewhere), region), CarriedThrough(comparison, region)
    with _in_64_bits(), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        end = time.process_time() + SECONDS
        for depth in DEPTHS:  # half of the time for the first; what one leaves is for the others
            begun = time.process_time()
            seconds = (end - begun) / (1 if depth == DEPTHS[-1] else 2)
            fault = Fault(comparison, region, depth, seconds)
            if not fault.differs or not (fault.target.wanted.any() or fault.gradient):
                return None  # zeros say nothing
            for family in families or (OF_GRADIENTS if fault.gradient else FAMILIES):
                try:
                    found = next(
                        (
                            (change, left)
                            for change, left in fault.agreeing(family(fault))
                            if holds_everywhere(fault, change)
                            and carried.holds(change, fault)
                            and confirmation.holds(family, depth, change, fault)
                        ),
                        None,
                    )
                except Exception as error:
                    if _of_real_numbers(comparison, error):
                        continue
                    if os.environ.get("PARITY_DEBUG"):
                        raise
                    if problems is not None:
                        problems.append(_problem(family, fault, error))
                    continue
                if found is not None:
                    return Diagnosis(_cause(fault, *found, carried.mends(found[0], fault)), found[0])
            end += fault.deadline - begun - seconds  # confirming a cause has its own time
    return None


def _of_real_numbers(comparison: Comparison, error: Exception) -> bool:
    """Whether an error says no more than that a family knows real numbers alone, and these are complex."""
    is_complex = any("complex" in str(node.value.dtype) for node in comparison.candidate.nodes)
    return is_complex and isinstance(error, TypeError | np.exceptions.ComplexWarning)


def _in_64_bits() -> contextlib.AbstractContextManager[object]:
    """Inside, JAX keeps 64 bits when it computes operations again; without JAX there is nothing to set."""
    jax = sys.modules.get("jax")
    return jax.enable_x64(True) if jax is not None else contextlib.nullcontext()


def _as_set(elsewhere: Elsewhere | None) -> Elsewhere | None:
    """Another draw, traced with JAX's 64 bits as the user has set them: else its integers are other ones."""
    jax = sys.modules.get("jax")
    if elsewhere is None or jax is None:
        return elsewhere
    wide, at = bool(jax.config.jax_enable_x64), elsewhere

    def as_set(region: Region) -> tuple[Comparison, Region] | None:
        with jax.enable_x64(wide):
            return at(region)

    return as_set


def _problem(family: Family, fault: Fault, error: Exception) -> str:
    """What failed, at which operation, and where in the code."""
    frames = traceback.extract_tb(error.__traceback__)
    line = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    name = getattr(family, "__name__", str(family))
    operation = fault.node(fault.region.j).operation
    return f"the hypotheses `{name}` failed at {operation}: {type(error).__name__}: {error}{line}"


def _cause(fault: Fault, change: Change, residual: float, whole: bool) -> Cause:
    if fault.gradient and change.cause not in GRADIENT_KINDS:
        text = f"the outputs agree, the gradient does not: {change.text}"
        return Cause(CauseKind.GRADIENT_RULE, text, residual, whole)
    return Cause(change.cause, change.text, residual, whole)
