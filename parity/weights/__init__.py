"""Weights: which tensor of one side is which leaf of the other, and in which layout.

Tensors are the arrays of the side that a plan goes from, leaves those of the side that it goes to. Between
the two frameworks the tensors are PyTorch's; `Plan.reversed` says whether they are the candidate's.
"""

from parity.weights.evidence import Pins, Signature, Use
from parity.weights.matching import find_plan
from parity.weights.plan import Plan
from parity.weights.tensor_files import load_weights, save_weights
from parity.weights.transfer import Shape, Transfer, WeightError


def Leaf(shape: Shape, use: Use | None = None) -> Signature:
    """The signature of an array of JAX: the name by which other rooms still call it.

    Args:
        shape: its shape.
        use: its first use, if known.

    Returns:
        The signature.
    """
    return Signature(shape, use=use)


__all__ = [
    "Leaf",
    "Pins",
    "Plan",
    "Signature",
    "Transfer",
    "Use",
    "WeightError",
    "find_plan",
    "load_weights",
    "save_weights",
]
