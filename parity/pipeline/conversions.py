"""A user's own conversion that no plan explains: used as given, judged leaf by leaf where a plan explains.

A norm folded into a kernel, a padded vocabulary, a quantised matrix: such a leaf is compared through what
the model computes. Its numbers were rounded to float32 by somebody, which noise in float64 has to cover.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from parity.frameworks.model import Program
from parity.numerics.arrays import EPS, Arrays, eps_of
from parity.numerics.noise import Values, current_noise_run
from parity.numerics.perturbing import perturb
from parity.pipeline.planning import wrong_weights
from parity.report.results import AS_STORED, Quantity, Stage, Verdict
from parity.weights import Plan, Signature
from parity.weights.partial_plans import Misfit, misfits
from parity.weights.transfer import Transfer

LISTED = 4
"""How many pairs of other shapes a remark lists."""


class Conversion(NamedTuple):
    """What is known of converted weights that no whole plan explains.

    Attributes:
        plan: of what is planned; all else is unused or missing in it.
        computed: the candidate's weights that are compared by what is computed alone.
        misfits: tensors and leaves of other shapes that were meant for each other.
    """

    plan: Plan
    computed: tuple[str, ...]
    misfits: tuple[Misfit, ...]


def explained_part(
    plan: Plan,
    weights: Arrays,
    own: Arrays,
    tensors: Mapping[str, Signature],
    leaves: Mapping[str, Signature],
) -> Conversion:
    """The part of a partial plan that the numbers of a conversion bear out, or whose faults have a name.

    Args:
        plan: the plan, in part.
        weights: the reference's.
        own: the candidate's, as converted.
        tensors: the plan's tensors by name.
        leaves: the plan's leaves by path.
    """
    wrong = {name for name, (_, why) in wrong_weights(plan, weights, own).items() if why.cause is None}
    kept = tuple(t for t in plan.transfers if (t.tensor_name if plan.reversed else t.leaf_path) not in wrong)
    used, filled = {t.tensor_name for t in kept}, {t.leaf_path for t in kept}
    part = plan._replace(
        transfers=tuple(kept),
        unused=tuple(name for name in tensors if name not in used),
        missing=tuple(path for path in leaves if path not in filled),
    )
    computed = part.unused if part.reversed else part.missing
    return Conversion(part, computed, tuple(misfits(part, tensors, leaves)))


def turned_as_converted(plan: Plan, weights: Arrays, own: Arrays) -> Plan:
    """The plan with every square matrix lying as the user's conversion holds it.

    Which way a square matrix lies, its use alone tells; where the code is wrong, that misleads.

    Args:
        plan: the plan.
        weights: the reference's.
        own: the candidate's, as converted.
    """
    tensors, leaves = (own, weights) if plan.reversed else (weights, own)

    def turned(transfer: Transfer) -> Transfer:
        shape = transfer.tensor_shape
        if not transfer.is_whole or transfer.view is not None or len(shape) != 2 or shape[0] != shape[1]:
            return transfer
        other = transfer._replace(
            axes=() if transfer.axes == (1, 0) else (1, 0), reason="as the converted params hold it"
        )
        tensor, leaf = tensors[transfer.tensor_name], leaves[transfer.leaf_path]
        is_other = np.allclose(other.to_leaf(tensor), leaf, rtol=EPS["float32"], atol=0)
        return other if is_other and not np.allclose(transfer.to_leaf(tensor), leaf) else transfer

    return plan._replace(transfers=tuple(map(turned, plan.transfers)))


def remarks_on(conversion: Conversion) -> tuple[str, ...]:
    """What to say of a conversion that is used as given.

    Args:
        conversion: the conversion.
    """
    texts = [one.text for one in conversion.misfits]
    more = [f"and {len(texts) - LISTED} more"] if len(texts) > LISTED else []
    if not texts:
        return ()
    return ("no plan explains all weights; yours are used as given: " + "; ".join([*texts[:LISTED], *more]),)


def judge_misfits(pairs: Iterable[Misfit], failed: bool, *, turned: bool) -> list[Quantity]:
    """A failed quantity for each pair of other shapes that lost numbers, or whose model computes otherwise.

    Args:
        pairs: those of a conversion.
        failed: whether the outputs differ.
        turned: whether their tensors are the candidate's.
    """
    found = []
    for one in pairs:
        if one.is_short or failed:
            names = (one.leaf, one.tensor) if turned else (one.tensor, one.leaf)
            found.append(
                Quantity(
                    Stage.WEIGHTS,
                    "weights",
                    names[0],
                    AS_STORED,
                    Verdict.FAIL,
                    rho=math.inf,
                    difference=math.inf,
                    scale=0.0,
                    floor=0.0,
                    candidate_name=names[1],
                    shape=(),
                    notes=(one.text,),
                )
            )
    return found


class RoundedOnce:
    """A program some of whose weights were computed and rounded to float32, which noise has to cover."""

    def __init__(self, program: Program, names: Sequence[str]) -> None:
        """`program`, whose weights `names` were converted by the user."""
        self.program, self.names = program, tuple(names)

    def __call__(self, weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        """Run the program, in float64 with the noise of float32 on those weights."""
        run = current_noise_run()
        if run is not None and dtype == "float64":
            own = {name: weights[name] for name in self.names}
            weights = {**weights, **perturb(own, run, eps_of("float32"), inputs=False)}
        return self.program(weights, inputs, dtype)


def not_planned(
    left_out: Collection[str], computed: Collection[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The weights left out as allowed, and the lines on those that are compared by what is computed alone.

    Args:
        left_out: weights of either side without a partner.
        computed: those of a conversion; None if there is none.
    """
    if computed is None:
        return tuple(left_out), ()
    lines = [
        f"weight {name} by itself: of your conversion, compared by what is computed" for name in computed
    ]
    return (), tuple(lines)
