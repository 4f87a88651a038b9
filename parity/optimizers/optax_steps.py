"""An optax transformation that steps over leaves by path, in float64 without a rounding of its own."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from parity.frameworks.jax.lift import lifted
from parity.frameworks.jax.lifted_constants import constants_of
from parity.frameworks.jax.trees import Tree, flatten
from parity.frameworks.jax.wide_dtypes import widen
from parity.numerics.arrays import Arrays, to_jax, to_numpy
from parity.numerics.precision import running

Step = Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]
"""(params, state, grads) -> (params, state)."""


class OptaxSteps:
    """A transformation over the trained leaves of a params tree.

    In float64 the update is traced, and what it computes in float32 (a schedule that divides integers) is
    computed in float64.

    Args:
        transformation: of optax.
        tree: the structure of the params.
        trained: paths of the leaves that it sees; the others are left out of the tree.
        weights: to begin with, by path.
        dtype: of the leaves.
        compiled: programs by dtype, kept between runs of one check.
        is_whole: whether it sees the tree from its root, and not Linen's "params" alone.
    """

    def __init__(
        self,
        transformation: optax.GradientTransformation,
        tree: Tree,
        trained: tuple[str, ...],
        weights: Arrays,
        dtype: str,
        compiled: dict[str, Step],
        *,
        is_whole: bool = False,
    ) -> None:
        self._is_whole = is_whole
        self._tree, self._trained, self._dtype = tree, trained, dtype
        self._zeros = {path: np.zeros(np.shape(weights[path])) for path in trained}
        with running(dtype):
            self._params = self._built(weights)
            self.state = transformation.init(self._params)
            if dtype not in compiled:
                compiled[dtype] = _compiled(transformation, self._params, self.state, dtype)
        self._step = compiled[dtype]

    def _built(self, leaves: Mapping[str, Any]) -> PyTree:
        """The tree that the optimiser sees: of Linen's collections the params alone."""
        kept = set(self._trained)
        given = {
            path: to_jax(np.asarray(leaves[path]), self._dtype) if path in kept else None
            for path in self._tree.paths
        }
        whole = self._tree.build(given)
        if self._is_whole:
            return whole
        tops = {path.split("/")[0] for path in kept}
        if isinstance(whole, Mapping) and tops == {"params"} and set(whole) > tops:
            return whole["params"]
        return whole

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The trained leaves by path, in float64."""
        found = {path: to_numpy(leaf) for path, leaf in flatten(self._params)[0].items()}
        if set(found) == set(self._trained):
            return found
        return {f"params/{path}": leaf for path, leaf in found.items()}

    def place(self, weights: Arrays) -> None:
        """Put other weights in the place of the leaves; the state of the optimiser stays.

        Args:
            weights: by path.
        """
        with running(self._dtype):
            self._params = self._built(weights)

    def step(self, grads: Arrays) -> Arrays:
        """Make one step.

        Args:
            grads: by path; those that are missing are zero.

        Returns:
            The gradients; what the transformation makes of them is not seen.
        """
        with running(self._dtype):
            given = self._built({**self._zeros, **grads})
            self._params, self.state = self._step(self._params, self.state, given)
        return grads


def _compiled(
    transformation: optax.GradientTransformation, params: PyTree, state: PyTree, dtype: str
) -> Step:
    """One update as a compiled program."""

    def step(params: PyTree, state: PyTree, grads: PyTree) -> tuple[PyTree, PyTree]:
        updates, after = transformation.update(grads, state, params)
        return optax.apply_updates(params, updates), after

    if dtype != "float64":
        return jax.jit(step)
    closed, shapes = jax.make_jaxpr(step, return_shape=True)(params, state, params)
    structure = jax.tree.structure(shapes)
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(shapes)]
    run = jax.jit(lifted(closed, rounding=True))  # moments kept in bfloat16 stay so
    constants = constants_of(closed)

    def in_float64(params: PyTree, state: PyTree, grads: PyTree) -> tuple[PyTree, PyTree]:
        leaves = jax.tree.leaves((params, state, grads))
        found = run(constants, *(widen(leaf) for leaf in leaves))
        kept = [
            leaf if jnp.issubdtype(dtype, jnp.floating) else jnp.asarray(leaf, dtype)
            for leaf, dtype in zip(found, dtypes, strict=True)
        ]
        after: tuple[PyTree, PyTree] = jax.tree.unflatten(structure, kept)
        return after

    return in_float64
