"""A weight plan as a map between a params tree and PyTorch's tensors that JAX can trace.

An optimiser acts on tensors: a stack of layers in one leaf may belong to several parameter groups, a packed
tensor lies in several leaves, and an update that looks at rows and columns needs PyTorch's own. So gradients
go to PyTorch's tensors, the update happens there, and what it adds comes back.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree, Shaped

from parity.frameworks.jax.trees import Tree, flatten
from parity.weights import Plan, WeightError
from parity.weights.transfer import Transfer, grouped, repeats

Tensors = dict[str, Shaped[Array, "..."]]
"""Arrays in PyTorch's layout by the names of the plan's tensors."""

_Array = Any
"""An array of JAX where `Transfer` speaks of NumPy's: its methods only index, reshape and permute."""


class TensorLayout(NamedTuple):
    """The plan between the tensors of a PyTorch model and the leaves of one params tree.

    Attributes:
        plan: the weight plan.
        tree: the structure of the params.
        shapes: of the leaves, by path.
    """

    plan: Plan
    tree: Tree
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, params: PyTree, plan: Plan) -> "TensorLayout":
        """The layout of these params.

        Args:
            params: the weights of the JAX side, arrays or shapes.
            plan: as `parity.plan_weights` returns it.

        Raises:
            WeightError: naming every leaf of the plan that the params lack or hold in another shape.
        """
        leaves, tree = flatten(params)
        planned = {t.leaf_path: t.leaf_shape for t in plan.transfers}
        faults = [
            f"leaf {path!r} has shape {tuple(np.shape(leaves[path]))}; the plan says {shape}"
            if path in leaves
            else f"leaf {path!r} of the plan is not in `params`"
            for path, shape in planned.items()
            if path not in leaves or tuple(np.shape(leaves[path])) != shape
        ]
        if faults:
            raise WeightError(
                "`params` do not fit `plan`:\n  "
                + "\n  ".join(faults)
                + "\nPlan the weights of these params with `parity.plan_weights`."
            )
        return cls(plan, tree, {path: tuple(np.shape(leaf)) for path, leaf in leaves.items()})

    def parameters(self, params: PyTree) -> Tensors:
        """The params as tensors.

        Of blocks that add up in a leaf the first gets all of it, as in `Plan.to_tensors`: what an update
        makes of the parameter itself (weight decay) then happens once.

        Args:
            params: of the tree's structure.
        """
        leaves = self._ordered_back(flatten(params)[0])
        back: _Array
        later = repeats(self.plan.transfers)
        tensors: Tensors = {}
        for name, shared in grouped(self.plan.transfers, lambda t: t.tensor_name).items():
            first = shared[0]
            if len(shared) == 1 and first.is_whole and id(first) not in later:
                back = first.back(leaves[first.leaf_path])
                tensors[name] = back
                continue
            tensor = jnp.zeros(first.tensor_shape, leaves[first.leaf_path].dtype)
            for transfer in reversed(shared):  # of several leaves that hold the same numbers the first counts
                if id(transfer) not in later:
                    tensor = _with_block(tensor, transfer, leaves[transfer.leaf_path])
            tensors[name] = tensor
        return tensors

    def gradients(self, grads: PyTree) -> Tensors:
        """Gradients of leaves as those of tensors: the transposed map of `updates`.

        A tensor that feeds several leaves gets the sum of their gradients.

        Args:
            grads: of the tree's structure.
        """
        leaves = flatten(grads)[0]
        like = {
            t.tensor_name: jnp.zeros(t.tensor_shape, leaves[t.leaf_path].dtype) for t in self.plan.transfers
        }
        planned = {t.leaf_path for t in self.plan.transfers}
        given = {path: leaf for path, leaf in leaves.items() if path in planned}
        tensors: Tensors = jax.linear_transpose(self._leaves, like)(given)[0]
        return tensors

    def updates(self, tensors: Tensors) -> PyTree:
        """What is to be added to tensors as what is to be added to leaves.

        Args:
            tensors: one for each tensor of the plan.

        Returns:
            A tree like the params; zeros in leaves that the plan does not fill.
        """
        leaves = self._leaves(tensors)
        dtype = jnp.result_type(*tensors.values()) if tensors else jnp.float32
        return self.tree.build(
            {
                path: leaves[path] if path in leaves else jnp.zeros(self.shapes[path], dtype)
                for path in self.shapes
            }
        )

    def _leaves(self, tensors: Mapping[str, _Array]) -> dict[str, _Array]:
        leaves: dict[str, _Array] = {}
        leaf: _Array
        for path, shared in grouped(self.plan.transfers, lambda t: t.leaf_path).items():
            first = shared[0]
            if len(shared) == 1 and not first.put:
                leaf = first.source(tensors[first.tensor_name]).reshape(first.leaf_shape)
            else:
                leaf = jnp.zeros(first.leaf_shape, jnp.result_type(*(tensors[t.tensor_name] for t in shared)))
                for transfer in shared:
                    shape = transfer.shapes()[1]
                    block = transfer.source(tensors[transfer.tensor_name]).reshape(shape)
                    leaf = leaf.at[(*transfer.put, ...)].add(block)
            leaves[path] = leaf[np.ix_(*self.plan.orders[path])] if path in self.plan.orders else leaf
        return leaves

    def _ordered_back(self, leaves: Mapping[str, _Array]) -> dict[str, _Array]:
        orders = self.plan.orders
        return {
            path: leaf[np.ix_(*map(np.argsort, orders[path]))] if path in orders else leaf
            for path, leaf in leaves.items()
        }


def _with_block(tensor: _Array, transfer: Transfer, leaf: _Array) -> _Array:
    """The tensor with the block that a transfer moves, as the leaf holds it."""
    block: _Array = transfer.target(leaf).reshape(transfer.shapes()[0])
    block = jnp.flip(block, transfer.flip) if transfer.flip else block
    block = block.transpose(np.argsort(transfer.axes)) if transfer.axes else block
    view = tensor.reshape(transfer.tensor_shape if transfer.view is None else transfer.view)
    return view.at[(*transfer.take, ...)].set(block).reshape(transfer.tensor_shape)
