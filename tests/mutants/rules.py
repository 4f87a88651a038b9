"""The rules by which an equation is changed, and the kinds of cause that are true of each change.

The harness never sees which rule was used. The accepted kinds follow from what a change does to the
computation, not from what the harness says: a doubled term is as truly a factor of 2, minus one is a scale,
and the role of a number (an epsilon, a divisor, the bound of a mask) decides what a change of it is called. A
mean for a sum that is divided next is as truly another constant there. What wraps a negative index
(`ids < 0`, `ids + n`), turned round, reads n entries further: a shift. A step of a softmax or of an
activation that is changed leaves another function: an activation. A number added in place of zero is a term
too many.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from parity.report.kinds import CauseKind as K
from tests.mutants import rules_of_numbers, rules_of_order, rules_of_terms
from tests.mutants.sites import Site
from tests.mutants.variant import Variant

MASKS = frozenset({K.MASK, K.RECURRENCE})
"""What a changed choice is called; in a loop it decides what is carried on."""

KERNELS = frozenset({K.TRANSPOSED_KERNEL, K.FLIPPED_KERNEL, K.KERNEL_LAYOUT, K.PACKED_ORDER, K.GATE_ORDER})
"""What another order of a weight's entries is called."""


class Rule(NamedTuple):
    """A rule.

    Attributes:
        changes: of a site, all that the rule can do to it.
        causes: the kinds that are true of such a change.
    """

    changes: Callable[[Site], Iterator[Variant]]
    causes: frozenset[K]


RULES: dict[str, Rule] = {
    "operands": Rule(
        rules_of_terms.operands,
        MASKS
        | {
            K.OPERANDS,
            K.ORDER,
            K.SELECTION,
            K.SCALE,
            K.SHIFT,
            K.ACTIVATION,
            K.SWAPPED_WEIGHTS,
            K.PACKED_ORDER,
            K.GATE_ORDER,
        },
    ),
    "sign": Rule(rules_of_terms.sign, frozenset({K.OPERANDS, K.SCALE})),
    "term": Rule(
        rules_of_terms.term,
        MASKS
        | {K.MISSING_TERM, K.EXTRA_TERM, K.SCALE, K.REPEAT, K.ACTIVATION, K.EPSILON, K.CONSTANT, K.REDUCTION},
    ),
    "comparison": Rule(
        rules_of_numbers.comparison, MASKS | {K.SELECTION, K.SHIFT, K.ACTIVATION, K.REDUCTION}
    ),
    "index": Rule(
        rules_of_numbers.index,
        MASKS | {K.SHIFT, K.SELECTION, K.PADDING, K.ORDER, K.CONSTANT, K.PACKED_ORDER, K.GATE_ORDER},
    ),
    "constant": Rule(
        rules_of_numbers.constant,
        MASKS
        | {
            K.CONSTANT,
            K.EPSILON,
            K.SCALE,
            K.EXTRA_TERM,
            K.ACTIVATION,
            K.SHIFT,
            K.SELECTION,
            K.REDUCTION,
            K.VARIANCE_CORRECTION,
        },
    ),
    "cast": Rule(rules_of_terms.cast, frozenset({K.DTYPE})),
    "stop_gradient": Rule(rules_of_terms.stop_gradient, frozenset({K.GRADIENT_RULE})),
    "padding": Rule(rules_of_numbers.padding, frozenset({K.PADDING, K.SHIFT, K.CONSTANT, K.POOL_COUNT})),
    "permutation": Rule(rules_of_order.permutation, KERNELS | {K.ORDER, K.AXIS}),
    "axis": Rule(rules_of_order.axis, KERNELS | {K.AXIS, K.ORDER, K.BROADCAST, K.ACTIVATION}),
    "reduction": Rule(
        rules_of_order.reduction,
        MASKS
        | {
            K.REDUCTION,
            K.ACTIVATION,
            K.POOL_MODE,
            K.POOL_COUNT,
            K.SCALE,
            K.CONSTANT,
            K.SELECTION,
            K.STATISTICS,
            K.VARIANCE_CORRECTION,
        },
    ),
    "weight": Rule(rules_of_terms.weight, frozenset({K.SWAPPED_WEIGHTS, K.STALE_WEIGHTS, K.OPERANDS})),
}
"""All rules by name."""
