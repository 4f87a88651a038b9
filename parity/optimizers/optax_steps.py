"""An optax transformation that steps over leaves by path, in float64 without a rounding of its own."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from parity.frameworks.jax.compiling import compiled_soon
from parity.frameworks.jax.lift import lifted
from parity.frameworks.jax.lifted_constants import constants_of
from parity.frameworks.jax.trees import Tree, flatten
from parity.frameworks.jax.wide_dtypes import widen
from parity.numerics.arrays import Arrays, to_jax, to_numpy
from parity.numerics.precision import running
from parity.optimizers.averaging import Averaging

Step = Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[PyTree, PyTree]]
"""(params, state, grads, loss) -> (params, state)."""


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
        average: of the params, or None.
        accumulate: batches of which one updates the average.
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
        average: Averaging | None = None,
        accumulate: int = 1,
    ) -> None:
        self._is_whole = is_whole
        self._tree, self._trained, self._dtype = tree, trained, dtype
        self._zeros = {path: np.zeros(np.shape(weights[path])) for path in trained}
        with running(dtype):
            self._params = self._built(weights)
            self.state = transformation.init(self._params)
            self._average = None if average is None else (average, average.init(self._params))
            if dtype not in compiled:
                compiled[dtype] = _compiled(transformation, self._params, self.state, dtype)
        self._step = compiled[dtype]
        self._accumulate, self._batches = accumulate, 0

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
        return self._by_path(self._params)

    @property
    def averages(self) -> dict[str, np.ndarray]:
        """The averaged leaves by path, in float64; empty where none are kept."""
        return {} if self._average is None else self._by_path(self._average[1].average)

    def _by_path(self, tree: PyTree) -> dict[str, np.ndarray]:
        found = {path: to_numpy(leaf) for path, leaf in flatten(tree)[0].items()}
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

    def step(self, grads: Arrays, loss: float) -> Arrays:
        """Hand the gradients of a batch to the transformation.

        Args:
            grads: by path; those that are missing are zero.
            loss: of the batch: `value`, for a transformation that takes it.

        Returns:
            The gradients; what the transformation makes of them is not seen.
        """
        with running(self._dtype):
            given = self._built({**self._zeros, **grads})
            value = to_jax(np.asarray(loss), self._dtype)
            self._params, self.state = self._step(self._params, self.state, given, value)
            self._batches += 1
            if self._average is not None and self._batches % self._accumulate == 0:
                averaging, before = self._average
                self._average = averaging, averaging.update(self._params, before)
        return grads


def _compiled(
    transformation: optax.GradientTransformation, params: PyTree, state: PyTree, dtype: str
) -> Step:
    """One update as a compiled program."""
    taking = optax.with_extra_args_support(transformation)

    def step(params: PyTree, state: PyTree, grads: PyTree, value: jax.Array) -> tuple[PyTree, PyTree]:
        updates, after = taking.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), after

    if dtype != "float64":
        return jax.jit(step)
    closed, shapes = jax.make_jaxpr(step, return_shape=True)(params, state, params, jnp.zeros((), dtype))
    structure = jax.tree.structure(shapes)
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(shapes)]
    run = compiled_soon(lifted(closed, rounding=True))  # moments kept in bfloat16 stay so
    constants = constants_of(closed)

    def in_float64(params: PyTree, state: PyTree, grads: PyTree, value: jax.Array) -> tuple[PyTree, PyTree]:
        leaves = jax.tree.leaves((params, state, grads, value))
        found = run(constants, *(widen(leaf) for leaf in leaves))
        kept = [
            leaf if jnp.issubdtype(dtype, jnp.floating) else jnp.asarray(leaf, dtype)
            for leaf, dtype in zip(found, dtypes, strict=True)
        ]
        after: tuple[PyTree, PyTree] = jax.tree.unflatten(structure, kept)
        return after

    return in_float64
