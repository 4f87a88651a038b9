"""A JAX model as a pure function of a pytree of weights: what every library's models are brought to.

Every floating leaf counts as a weight: parameters, normalisation statistics, caches, tables. Integers,
booleans, random keys and what is no array are kept as they are.
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Set
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from parity.frameworks.jax.trees import flatten

MODES = {
    "train": False,
    "training": False,
    "is_training": False,
    "is_train": False,
    "deterministic": True,
    "use_running_average": True,
    "inference": True,
}
"""Arguments that switch between training and inference, and what they are set to."""

KEYS = ("key", "rng", "rngs", "prng_key")
"""Arguments that random numbers are drawn from; inference draws none."""


Modes = Mapping[str, object]
"""Arguments that put a model in inference mode: switches, and keys for random numbers."""


class Functional(NamedTuple):
    """A model as a pure function.

    Attributes:
        weights: the floating leaves in the model's own structure, None in the place of others.
        call: `call(weights, *args, **kwargs)`.
        target: what to read the argument names from.
        skip: how many leading arguments of `target` are not inputs.
        is_trainable: whether the leaf at a path is trained, rather than a statistic.
        notes: what was done to the model, for the report.
        updated: paths of the leaves that a run replaced, such as running statistics; filled as it runs.
    """

    weights: PyTree
    call: Callable[..., PyTree]
    target: Callable[..., object]
    skip: int
    is_trainable: Callable[[str], bool] = lambda path: True
    notes: tuple[str, ...] = ()
    updated: Set[str] = frozenset()


def from_tree(tree: PyTree, function: Callable[..., PyTree]) -> Functional:
    """A pytree of arrays or shapes with the function `f(tree, *inputs)` that takes it.

    In a tree with a `params` collection the leaves of the others (statistics, caches) are not trained.

    Args:
        tree: the params.
        function: the model.

    Raises:
        ValueError: if a leaf that is kept as it is, such as an integer, has only a shape.
    """
    leaves, structure = flatten(tree)
    kept = {path: leaf for path, leaf in leaves.items() if not is_floating(leaf)}
    if shapes := [path for path, leaf in kept.items() if isinstance(leaf, jax.ShapeDtypeStruct)]:
        raise ValueError(
            f"the template has only shapes for {', '.join(shapes)}; what is not floating is kept as it is, "
            "so give its values"
        )
    weights = structure.build({path: None if path in kept else leaf for path, leaf in leaves.items()})

    def call(own: PyTree, *args: object, **kwargs: object) -> PyTree:
        floating, _ = flatten(own)
        return function(structure.build({**kept, **floating}), *args, **kwargs)

    collections = isinstance(tree, Mapping) and isinstance(tree.get("params"), Mapping)
    return Functional(weights, call, function, 1, lambda path: not collections or path.startswith("params/"))


def replaced(before: PyTree, after: PyTree) -> set[str]:
    """Paths of the leaves of a state that a run replaced; one that it only read is the same object.

    Args:
        before: the state that the model got.
        after: what it left.
    """
    old, new = flatten(before)[0], flatten(after)[0]
    return {path for path, leaf in new.items() if path in old and leaf is not old[path]}


def loaded_module(name: str) -> ModuleType | None:
    """A library's module if the user's program has loaded it; it is never imported here.

    Args:
        name: of the module.

    Returns:
        The module, or None.
    """
    return sys.modules.get(name)


def is_floating(leaf: object) -> bool:
    """Whether a leaf is a floating or complex array or its shape; Python's numbers are settings, not weights.

    Args:
        leaf: of a pytree.
    """
    dtype = getattr(leaf, "dtype", None)
    return hasattr(leaf, "shape") and dtype is not None and bool(jnp.issubdtype(dtype, jnp.inexact))


def takes(function: Callable[..., object], name: str) -> bool:
    """Whether a function has an argument of this name.

    Args:
        function: any callable.
        name: of the argument.
    """
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # builtins and some compiled callables have no signature
        return False
