"""What a report can say, as enumerations: code compares these, never words of a sentence."""

import enum
from typing import Self


class Stage(enum.StrEnum):
    """The stages of a comparison, in the order in which a fault spreads.

    Attributes:
        noun: what is compared in it.
        heading: of its column in a table.
        before: what a quantity of it is, before its name.
    """

    noun: str
    heading: str
    before: str

    def __new__(cls, value: str, noun: str = "", heading: str = "", before: str = "") -> Self:
        """Make a member, a string; noun and heading are its value where none is given."""
        stage = str.__new__(cls, value)
        stage._value_ = value
        stage.noun, stage.heading, stage.before = noun or value, heading or value, before
        return stage

    INIT = "init", "initial weights"
    WEIGHTS = "weights"
    FORWARD = "forward", "outputs"
    LOSS = "loss"
    GRADIENTS = "gradients", "gradients", "grads", "the gradient of "
    STEP = "step", "first step", "step", "the first update of "
    CURVE = "curve", "training curves", "curve", "the curve "


STAGES = tuple(stage for stage in Stage if stage is not Stage.LOSS)
"""The stages that quantities are judged in, in that order; a loss is a quantity of the forward stage, and its
own stage is where a fault lies that the outputs do not show."""

COMPUTED = tuple(stage for stage in STAGES if stage is not Stage.INIT)
"""The stages of programs that run with shared weights; `parity.check_init` judges the other one."""

TRAINING = (Stage.STEP, Stage.CURVE)
"""The stages of training, which `parity.check_training` judges."""


class Kind(enum.StrEnum):
    """How a divergence shows.

    `VALUE`: other numbers. `ORDER`: the same numbers, arranged differently. `EXTRA`: only one side computes
    something. `DTYPE`: the two sides compute in different precisions. `DRAWS`: they draw other random
    numbers.
    """

    VALUE = "value"
    ORDER = "order"
    EXTRA = "extra"
    DTYPE = "dtype"
    ACCURACY = "accuracy"
    DRAWS = "draws"


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
    STABILITY = "stability"
    INTERPOLATION = "interpolation"


GRADIENT_KINDS = frozenset({CauseKind.DTYPE, CauseKind.GRADIENT_RULE})
"""Kinds that may be named where a gradient alone differs: any other is a gradient rule there."""
