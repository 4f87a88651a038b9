"""Weights: which PyTorch tensor is which JAX leaf, and in which layout."""

from parity.weights.files import load_weights, save_weights
from parity.weights.matching import Pins, Signature, find_plan
from parity.weights.plan import Plan, Transfer, WeightError

__all__ = [
    "Pins",
    "Plan",
    "Signature",
    "Transfer",
    "WeightError",
    "find_plan",
    "load_weights",
    "save_weights",
]
