"""Weights: which PyTorch tensor is which JAX leaf, and in which layout."""

from parity.weights.evidence import Leaf, Pins, Signature, Use
from parity.weights.matching import find_plan
from parity.weights.plan import Plan, Transfer, WeightError
from parity.weights.tensor_files import load_weights, save_weights

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
