"""What a report can say, as enumerations: code compares these, never words of a sentence."""

import enum


class Stage(enum.StrEnum):
    """The stages of a comparison, in the order in which a fault spreads."""

    WEIGHTS = "weights"
    FORWARD = "forward"
    GRADIENTS = "gradients"
    STEP = "step"
    CURVE = "curve"


STAGES = tuple(Stage)
"""All stages, in that order."""


class Kind(enum.StrEnum):
    """How a divergence shows.

    `VALUE`: other numbers. `ORDER`: the same numbers, arranged differently. `EXTRA`: only one side computes
    something. `DTYPE`: the two sides compute in different precisions.
    """

    VALUE = "value"
    ORDER = "order"
    EXTRA = "extra"
    DTYPE = "dtype"


class CauseKind(enum.StrEnum):
    """Every kind of cause that a diagnosis can name."""

    EPSILON = "epsilon"
    CONSTANT = "constant"
    ACTIVATION = "activation"
    TRANSPOSED_KERNEL = "transposed kernel"
    FLIPPED_KERNEL = "flipped kernel"
    KERNEL_LAYOUT = "kernel layout"
    SWAPPED_WEIGHTS = "swapped weights"
    GATE_ORDER = "gate order"
    PACKED_ORDER = "packed order"
    STALE_WEIGHTS = "stale weights"
    PADDING = "padding"
    STRIDE = "stride"
    DILATION = "dilation"
    GROUPS = "groups"
    POOL_COUNT = "pool count"
    POOL_MODE = "pool mode"
    AXIS = "axis"
    REDUCTION = "reduction"
    VARIANCE_CORRECTION = "variance correction"
    STATISTICS = "statistics"
    MASK = "mask"
    SCALE = "scale"
    ORDER = "order"
    REPEAT = "repeat"
    MISSING_TERM = "missing term"
    EXTRA_TERM = "extra term"
    OPERANDS = "operands"
    SHIFT = "shift"
    DTYPE = "dtype"
    GRADIENT_RULE = "gradient rule"
    RECURRENCE = "recurrence"
    SELECTION = "selection"
    BROADCAST = "broadcast"
