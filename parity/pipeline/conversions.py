"""A user's own conversion that no plan explains: used as given, judged leaf by leaf where a plan explains.

A norm folded into a kernel, a padded vocabulary, a quantised matrix: such a leaf is compared through what
the model computes. Its numbers were rounded to float32 by somebody, which noise in float64 has to cover.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from parity.frameworks.model import Program
from parity.numerics.arrays import EPS, Arrays, eps_of, is_float
from parity.numerics.complex_parts import real_parts
from parity.numerics.noise import Values, current_noise_run
from parity.numerics.perturbing import perturb
from parity.pipeline.planning import wrong_weights
from parity.pipeline.request import Weights
from parity.report.results import AS_STORED, Quantity, Stage, Verdict
from parity.weights import Plan, Signature
from parity.weights.completeness import allowed
from parity.weights.partial_plans import Misfit, misfits, whole_part
from parity.weights.sameness import unit_order
from parity.weights.transfer import Transfer

LISTED = 4
"""How many pairs of other shapes, or weights, a remark lists."""

MOSTLY = 0.9
"""Share of a leaf's numbers that are a tensor's, from which on it was made of that tensor."""


class Conversion(NamedTuple):
    """What is known of converted weights that no whole plan explains.

    Attributes:
        plan: of what is planned; all else is unused or missing in it.
        computed: the candidate's weights that are compared by what is computed alone.
        misfits: tensors and leaves of other shapes that were meant for each other.
        agree: whether the two sides agree with it as it is.
    """

    plan: Plan
    computed: tuple[str, ...]
    misfits: tuple[Misfit, ...]
    agree: bool


def explained_part(
    plan: Plan,
    weights: Arrays,
    own: Arrays,
    tensors: Mapping[str, Signature],
    leaves: Mapping[str, Signature],
    *,
    agree: Callable[[Arrays], bool],
) -> Conversion:
    """The part of a plan that the numbers of a conversion bear out, or whose faults have a name.

    Args:
        plan: the plan, whole or in part.
        weights: the reference's.
        own: the candidate's, as converted.
        tensors: the plan's tensors by name.
        leaves: the plan's leaves by path.
        agree: whether the two sides agree with some of the candidate's weights otherwise than converted. If
            they do with none, the conversion is right: what it holds in another order is planned so, and
            what cannot be otherwise is compared by what is computed. What can (a row of a table that is not
            read) is not told by that, and stays wrong.
    """
    wrong = wrong_weights(plan, weights, own)
    right = bool(wrong or plan.unused or plan.missing) and agree({})  # else there is nothing to ask
    orders = _orders(plan, wrong, weights, own) if right else {}
    planned = plan.to_candidate(weights, exact=True) if right else {}
    apart = {
        name
        for name, (_, why) in wrong.items()
        if name not in orders and (not agree({name: planned[name]}) if right else why.cause is None)
    }
    kept = tuple(t for t in plan.transfers if (t.tensor_name if plan.reversed else t.leaf_path) not in apart)
    part = plan._replace(transfers=kept, orders=orders)
    part = whole_part(part, tensors, leaves) if right else part
    used, filled = {t.tensor_name for t in part.transfers}, {t.leaf_path for t in part.transfers}
    part = part._replace(
        unused=tuple(name for name in tensors if name not in used),
        missing=tuple(path for path in leaves if path not in filled),
    )
    computed = part.unused if part.reversed else part.missing
    ends = (own, weights) if part.reversed else (weights, own)
    found = [one._replace(is_short=_loses(one, part, *ends)) for one in misfits(part, tensors, leaves)]
    meant = [one for one in found if not right or one.is_short or _holds(one, *ends)]
    return Conversion(part, computed, tuple(meant), right)


def _orders(
    plan: Plan, names: Iterable[str], weights: Arrays, own: Arrays
) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Of converted weights that hold the planned numbers in another order along their axes that order."""
    if plan.reversed:
        return {}
    wanted = plan.to_candidate(weights, exact=True)
    found = {name: unit_order(wanted[name], own[name].astype(wanted[name].dtype)) for name in names}
    return {name: order for name, order in found.items() if order is not None}


def _loses(one: Misfit, part: Plan, tensors: Arrays, leaves: Arrays) -> bool:
    """Whether a leaf holds most of a tensor's numbers, and no leaf without a partner holds the others.

    A leaf of other numbers, or of a few of them, was not meant to hold the tensor; one in several leaves has
    lost none.
    """
    tensor, leaf = _numbers(tensors[one.tensor]), _numbers(leaves[one.leaf])
    if not one.is_short or 2 * leaf.size <= tensor.size or np.isin(leaf, tensor).mean() < MOSTLY:
        return False
    return not np.isin(tensor, np.concatenate([_numbers(leaves[path]) for path in part.missing])).all()


def _holds(one: Misfit, tensors: Arrays, leaves: Arrays) -> bool:
    """Whether a leaf holds the numbers of a tensor, and others."""
    return bool(np.isin(_numbers(tensors[one.tensor]), _numbers(leaves[one.leaf])).mean() >= MOSTLY)


def _numbers(array: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, " entries"]:
    """The different numbers of an array, as float32 holds them."""
    return np.unique(np.asarray(real_parts(array), np.float32))


def left_out(conversion: Conversion, wishes: Weights, tables: Collection[str]) -> tuple[str, ...]:
    """Weights of the reference that no leaf of a conversion is known to hold, and that nobody said is unused.

    Args:
        conversion: the conversion.
        wishes: what the user said of the weights.
        tables: weights that may stay without a partner.
    """
    plan = conversion.plan
    names = plan.missing if plan.reversed else plan.unused
    said = allowed((*wishes.unused, *tables), names)
    return tuple(name for name in names if name not in said)


def neutral(names: Iterable[str], weights: Arrays) -> str | None:
    """What to say of weights that no leaf is known to hold and that change nothing: a port may lack them.

    Args:
        names: of the reference's weights.
        weights: the reference's.
    """
    found = [name for name in names if is_float(weights[name]) and _changes_nothing(weights[name])]
    if not found:
        return None
    listed = ", ".join(found[:LISTED]) + (f" and {len(found) - LISTED} more" if len(found) > LISTED else "")
    return (
        f"your params have no leaf for {listed}, all 0 or all 1: a port that leaves them out agrees as well; "
        "give them other numbers before you convert"
    )


def _changes_nothing(array: Shaped[np.ndarray, "..."]) -> bool:
    return bool(array.size) and (not array.any() or bool((array == 1).all()))


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
    """The weights without a partner, and the lines on those that are compared by what is computed alone.

    Args:
        left_out: weights of either side without a partner.
        computed: those of a conversion; None if there is none.
    """
    if computed is None:
        return tuple(left_out), ()
    by_result = [f"weight {name} by itself: of your conversion" for name in computed]
    by_result += [
        f"weight {name} by itself: no leaf of your conversion is it"
        for name in left_out
        if name not in computed
    ]
    return (), tuple(f"{line}, compared by what is computed" for line in by_result)
