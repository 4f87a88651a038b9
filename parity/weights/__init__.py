"""Weights: which tensor of one side is which leaf of the other, and in which layout.

Tensors are the arrays of the side that a plan goes from, leaves those of the side that it goes to. Between
the two frameworks the tensors are PyTorch's; `Plan.reversed` says whether they are the candidate's.
"""

from parity.weights.evidence import Pins, Signature, Use
from parity.weights.matching import find_plan
from parity.weights.plan import Plan
from parity.weights.tensor_files import load_weights, save_weights
from parity.weights.transfer import Transfer, WeightError

__all__ = [
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
