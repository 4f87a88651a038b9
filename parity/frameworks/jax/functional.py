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
import numpy as np
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
        updates: `updates(weights, *args, **kwargs)`: the leaves that a run replaces, by path.
        keeps_state: whether the model has a state that its runs replace; a function that only returns one may
            leave it out.
    """

    weights: PyTree
    call: Callable[..., PyTree]
    target: Callable[..., object]
    skip: int
    is_trainable: Callable[[str], bool] = lambda path: True
    notes: tuple[str, ...] = ()
    updated: Set[str] = frozenset()
    updates: Callable[..., Mapping[str, jax.Array]] = lambda weights, *args, **kwargs: {}
    keeps_state: bool = False


_EMPTY = (
    "what is not floating is kept as it is given, here all 0; if these are weights, as quantised ones are, "
    "convert them and give `params`"
)
"""What is said of whole numbers in a template."""


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
    empty = [path for path, leaf in kept.items() if _is_empty(leaf)]

    def call(own: PyTree, *args: object, **kwargs: object) -> PyTree:
        floating, _ = flatten(own)
        return function(structure.build({**kept, **floating}), *args, **kwargs)

    collections = isinstance(tree, Mapping) and isinstance(tree.get("params"), Mapping)
    paths = {path for path in leaves if path not in kept}
    updated: set[str] = set()

    def updates(own: PyTree, *args: object, **kwargs: object) -> dict[str, jax.Array]:
        return returned_state(call(own, *args, **kwargs), paths)

    def noting(own: PyTree, *args: object, **kwargs: object) -> PyTree:
        out = call(own, *args, **kwargs)
        updated.update(returned_state(out, paths))
        return out

    return Functional(
        weights,
        noting,
        function,
        1,
        lambda path: not collections or path.startswith("params/"),
        (f"{', '.join(empty)}: {_EMPTY}",) if empty else (),
        updated=updated,
        updates=updates,
    )


def _is_empty(leaf: object) -> bool:
    """Whether a leaf holds whole numbers, all of them 0."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.integer):
        return False
    whole = np.asarray(leaf)
    return whole.size > 1 and not whole.any()


def with_updates(tree: PyTree, run: Callable[..., tuple[PyTree, Mapping[str, jax.Array]]]) -> Functional:
    """A pytree with a function that keeps a state in it.

    Args:
        tree: the params and the state.
        run: `run(tree, *inputs)` -> what the model returns, and the leaves that it replaces, by path.
    """
    outputs = from_tree(tree, lambda own, *args, **kwargs: run(own, *args, **kwargs)[0])
    updates = from_tree(tree, lambda own, *args, **kwargs: run(own, *args, **kwargs)[1])
    return outputs._replace(updates=updates.call, keeps_state=True)


def returned_state(out: PyTree, paths: Set[str]) -> dict[str, jax.Array]:
    """The leaves of a state that a function returns beside its outputs, under the paths that they came in by.

    A leaf counts whose path, behind the numbers of a tuple, is that of a weight: the ``batch_stats`` of
    ``(logits, {"batch_stats": ...})``.

    Args:
        out: what the function returned.
        paths: of its weights.

    >>> returned_state((jnp.ones(2), {"statistics": {"mean": jnp.zeros(3)}}), {"statistics/mean"})
    {'statistics/mean': Array([0., 0., 0.], dtype=float32)}
    """
    found = {}
    for path, leaf in flatten(out)[0].items() if isinstance(out, tuple | list) else ():
        number, _, rest = path.partition("/")
        if number.isdecimal() and "/" in rest and rest in paths:
            found[rest] = leaf
    return found


def replaced(before: PyTree, after: PyTree) -> dict[str, jax.Array]:
    """The leaves of a state that a run replaced, by path; one that it only read is the same object.

    Args:
        before: the state that the model got.
        after: what it left.
    """
    old, new = flatten(before)[0], flatten(after)[0]
    return {path: leaf for path, leaf in new.items() if path in old and leaf is not old[path]}


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
