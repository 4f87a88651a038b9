"""The state of a JAX loop: any pytree, or NNX modules and optimisers, taken apart into leaves by path."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from parity.frameworks.jax.functional import loaded_module
from parity.frameworks.jax.trees import flatten
from parity.frameworks.jax.wide_dtypes import is_key
from parity.frameworks.stepping import Held, Role
from parity.numerics.arrays import to_numpy

WRAPPED = "/value"
"""What the paths of NNX variables end with."""


class Nest(NamedTuple):
    """A state taken apart.

    Attributes:
        leaves: by path.
        build: leaves by path -> the state; NNX modules are made anew.
        in_place: whether a step can change it without returning it.
    """

    leaves: dict[str, Any]
    build: Callable[[Mapping[str, Any]], Any]
    in_place: bool


def taken_apart(state: Any) -> Nest:
    """Take a state apart.

    Args:
        state: of a user's step function.
    """
    nnx = loaded_module("flax.nnx")
    if nnx is None or not holds_nnx(state):
        leaves, tree = flatten(state)
        return Nest(leaves, tree.build, False)
    graph, rest = nnx.split(state)
    leaves, tree = flatten(rest)
    short = {path: path.removesuffix(WRAPPED) for path in leaves}
    if len(set(short.values())) < len(short):
        short = {path: path for path in leaves}

    def build(given: Mapping[str, Any]) -> Any:
        return nnx.merge(graph, tree.build({path: given[name] for path, name in short.items()}), copy=True)

    return Nest({short[path]: leaf for path, leaf in leaves.items()}, build, True)


def holds_nnx(state: Any) -> bool:
    """Whether there is a module or an optimiser of Flax NNX in a nest.

    Args:
        state: of a user's step function.
    """
    nnx = loaded_module("flax.nnx")
    if nnx is None:
        return False
    kinds = (nnx.Module, nnx.Optimizer, nnx.Variable, nnx.Rngs)
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, kinds))
    return any(isinstance(node, kinds) for node in nodes)


def is_array(leaf: object) -> bool:
    """Whether a leaf is an array, and no number of Python's.

    Args:
        leaf: of a state.
    """
    return hasattr(leaf, "dtype") and hasattr(leaf, "shape")


def read(leaves: Mapping[str, Any]) -> dict[str, Held]:
    """All values of a state by path; which are weights and which slots, their partners tell.

    Args:
        leaves: by path.
    """
    found = {}
    for path, leaf in leaves.items():
        if is_key(leaf) or not (is_array(leaf) or isinstance(leaf, int | float)):
            continue
        array = np.array(to_numpy(leaf))
        if array.dtype.kind in "fciub":
            floating = array.dtype.kind in "fc" and is_array(leaf)
            found[path] = Held(Role.WEIGHT if floating else Role.NUMBER, array)
    return found
