"""JAX pytrees as named leaves: paths joined by `/`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree, PyTreeDef


class Tree(NamedTuple):
    """The structure of a pytree.

    Attributes:
        structure: JAX's treedef.
        paths: of the leaves, joined by `/`, in JAX's own order.
    """

    structure: PyTreeDef
    paths: tuple[str, ...]

    def build(self, leaves: Mapping[str, object]) -> PyTree:
        """Put leaves, given by path, back into the structure.

        Args:
            leaves: by path, one for each path of the tree.

        Raises:
            KeyError: if a path is missing.
        """
        return jax.tree.unflatten(self.structure, [leaves[path] for path in self.paths])


def flatten(tree: PyTree) -> tuple[dict[str, Any], Tree]:
    """Split a pytree into its leaves by path and the structure to build it again.

    Args:
        tree: any pytree.

    Raises:
        ValueError: if two leaves have the same path (a key that contains `/`), naming it.

    >>> leaves, structure = flatten({"hidden": {"kernel": 1.0}, "scale": [2.0]})
    >>> leaves
    {'hidden/kernel': 1.0, 'scale/0': 2.0}
    >>> structure.build(leaves)
    {'hidden': {'kernel': 1.0}, 'scale': [2.0]}
    """
    with_paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    paths = tuple(jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in with_paths)
    leaves: dict[str, Any] = {}
    for path, (_, leaf) in zip(paths, with_paths, strict=True):
        if path in leaves:
            raise ValueError(f"two leaves of the params tree have the path {path!r}; rename one of them")
        leaves[path] = leaf
    return leaves, Tree(structure, paths)
