"""The neighbours of operations: what a program may compute where it should compute another one."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from parity.diagnose.targets import Array
from parity.report.kinds import CauseKind


class Other(NamedTuple):
    """Another operation in place of one.

    Attributes:
        cause: the fault that it would be.
        text: what the reference does, in words.
        function: how to compute it, from the operands.
    """

    cause: CauseKind
    text: str
    function: Callable[..., ArrayLike]


def halves_up(x: Array) -> Array:
    """An array rounded, halves upwards."""
    return np.asarray(np.floor(x + 0.5))


def halves_away(x: Array) -> Array:
    """An array rounded, halves away from zero."""
    return np.asarray(np.sign(x) * np.floor(np.abs(x) + 0.5))


COMPARISONS = {
    "lt": ("<", np.less),
    "le": ("<=", np.less_equal),
    "gt": (">", np.greater),
    "ge": (">=", np.greater_equal),
    "eq": ("==", np.equal),
    "ne": ("!=", np.not_equal),
}

BINARY: Mapping[str, tuple[Other, ...]] = {
    "add": (
        Other(CauseKind.OPERANDS, "subtracts the second", np.subtract),
        Other(CauseKind.OPERANDS, "subtracts the first", lambda a, b: b - a),
        Other(CauseKind.OPERANDS, "multiplies", np.multiply),
        Other(CauseKind.OPERANDS, "takes the larger", np.maximum),
    ),
    "sub": (
        Other(CauseKind.OPERANDS, "subtracts the other way round", lambda a, b: b - a),
        Other(CauseKind.OPERANDS, "adds", np.add),
    ),
    "mul": (
        Other(CauseKind.OPERANDS, "divides by the second", np.divide),
        Other(CauseKind.OPERANDS, "divides by the first", lambda a, b: b / a),
        Other(CauseKind.OPERANDS, "adds", np.add),
    ),
    "div": (
        Other(CauseKind.SELECTION, "rounds the quotient down", np.floor_divide),
        Other(CauseKind.SELECTION, "cuts the quotient off", lambda a, b: np.trunc(np.divide(a, b))),
        Other(CauseKind.OPERANDS, "divides the other way round", lambda a, b: b / a),
        Other(CauseKind.OPERANDS, "multiplies", np.multiply),
    ),
    "max": (Other(CauseKind.SELECTION, "takes the smaller", np.minimum),),
    "min": (Other(CauseKind.SELECTION, "takes the larger", np.maximum),),
    "pow": (Other(CauseKind.OPERANDS, "takes the power the other way round", lambda a, b: np.power(b, a)),),
    "and": (Other(CauseKind.MASK, "combines by or", np.logical_or),),
    "or": (Other(CauseKind.MASK, "combines by and", np.logical_and),),
    "rem": (Other(CauseKind.SELECTION, "takes the remainder with the sign of the divisor", np.mod),),
    "atan2": (Other(CauseKind.OPERANDS, "has the arguments exchanged", lambda a, b: np.arctan2(b, a)),),
}

UNARY: Mapping[str, tuple[Other, ...]] = {
    "sin": (
        Other(CauseKind.OPERANDS, "takes the cosine", np.cos),
        Other(CauseKind.OPERANDS, "takes minus the sine", lambda x: -np.sin(x)),
    ),
    "cos": (Other(CauseKind.OPERANDS, "takes the sine", np.sin),),
    "floor": (
        Other(CauseKind.SELECTION, "rounds up", np.ceil),
        Other(CauseKind.SELECTION, "rounds halves to even", np.round),
        Other(CauseKind.SELECTION, "cuts off", np.trunc),
    ),
    "ceil": (
        Other(CauseKind.SELECTION, "rounds down", np.floor),
        Other(CauseKind.SELECTION, "rounds halves to even", np.round),
    ),
    "round": (
        Other(CauseKind.SELECTION, "rounds halves to even", np.round),
        Other(CauseKind.SELECTION, "rounds halves up", halves_up),
        Other(CauseKind.SELECTION, "rounds halves away from zero", halves_away),
        Other(CauseKind.SELECTION, "rounds down", np.floor),
        Other(CauseKind.SELECTION, "cuts off", np.trunc),
        Other(CauseKind.SELECTION, "rounds up", np.ceil),
    ),
    "square": (
        Other(CauseKind.ACTIVATION, "takes the magnitude", np.abs),
        Other(CauseKind.ACTIVATION, "does not square", lambda x: x),
    ),
    "abs": (Other(CauseKind.ACTIVATION, "squares", np.square),),
    "exp": (
        Other(CauseKind.ACTIVATION, "takes powers of 2", np.exp2),
        Other(CauseKind.ACTIVATION, "subtracts one", np.expm1),
    ),
    "log": (
        Other(CauseKind.ACTIVATION, "takes the logarithm to base 2", np.log2),
        Other(CauseKind.ACTIVATION, "takes the logarithm to base 10", np.log10),
        Other(CauseKind.ACTIVATION, "takes log(1 + x)", np.log1p),
    ),
    "log1p": (Other(CauseKind.ACTIVATION, "takes log(x)", np.log),),
    "expm1": (Other(CauseKind.ACTIVATION, "takes exp(x)", np.exp),),
    "sqrt": (Other(CauseKind.ACTIVATION, "takes no root", lambda x: x),),
    "rsqrt": (Other(CauseKind.ACTIVATION, "divides without a root", np.reciprocal),),
    "tanh": (Other(CauseKind.ACTIVATION, "takes the sigmoid", lambda x: 1 / (1 + np.exp(-x))),),
    "logistic": (Other(CauseKind.ACTIVATION, "takes tanh", np.tanh),),
    "not": (Other(CauseKind.MASK, "does not invert", lambda x: x),),
    "neg": (Other(CauseKind.OPERANDS, "keeps the sign", lambda x: x),),
}
