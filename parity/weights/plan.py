"""The plan of a weight transfer: an explicit, printable linear map with entries 0 and 1.

Each `Transfer` moves one block of a tensor to one block of a leaf. Tensors are the arrays of the side that
the plan goes from, leaves those of the side that it goes to. Between the two frameworks the tensors are
PyTorch's, whichever side that is; within one framework they are usually the reference's. `Plan.reversed`
says which.

Several transfers may share a tensor (packed q, k, v; a tied embedding) or a leaf (layers stacked along a
leading axis); two with the same target add up (the double biases of PyTorch's recurrent layers). Every number
of every tensor and leaf is in some transfer, or its tensor or leaf is listed as unused or missing.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import Arrays
from parity.report.sides import Sides
from parity.weights.doubt import is_doubtful
from parity.weights.transfer import Shape, Transfer, WeightError, array_names, grouped, in_brackets, repeats


class Plan(NamedTuple):
    """All transfers of a pair of models, from tensors to leaves.

    The table (`str(plan)`, `rows`, `names`) always reads from tensors to leaves, whichever side these are.

    >>> plan = Plan((Transfer("fc.weight", "fc/kernel", (3, 2), (2, 3), axes=(1, 0)),), reversed=True)
    >>> plan.to_candidate({"fc/kernel": np.zeros((2, 3))})["fc.weight"].shape
    (3, 2)
    >>> print(plan)
    fc.weight (3, 2)  ->  fc/kernel (2, 3)  permute (1, 0)

    Attributes:
        transfers: at least one per matched tensor, in the order of the tensors' names.
        unused: tensors without a leaf (allowed by name).
        missing: leaves without a tensor (allowed by name).
        orders: for leaves whose units lie in another order (found in params that the user converted): path
            -> per axis the index of each unit in the order that the transfers give.
        reversed: whether the tensors are the candidate's and the leaves the reference's.
        sides: what the two sides are called in messages.
    """

    transfers: tuple[Transfer, ...]
    unused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    orders: Mapping[str, tuple[tuple[int, ...], ...]] = MappingProxyType({})
    reversed: bool = False
    sides: Sides = Sides()

    def to_candidate(self, state: Arrays, *, exact: bool = False) -> dict[str, Shaped[np.ndarray, "..."]]:
        """The reference's weights as the candidate's.

        Args:
            state: the reference's weights by name; those that the plan does not use may be left out.
            exact: as in `to_leaves`.

        Returns:
            The candidate's weights by name. A reversed plan goes from leaves to tensors: of leaves that share
            one tensor (an embedding that only the candidate ties) the first is taken, and only the way back
            with `to_reference` shows whether the others held the same.

        Raises:
            WeightError: naming every weight that is absent or has another shape than planned.
        """
        return self.to_tensors(state) if self.reversed else self.to_leaves(state, exact=exact)

    def to_reference(self, params: Arrays, *, exact: bool = False) -> dict[str, Shaped[np.ndarray, "..."]]:
        """The candidate's weights as the reference's: the way back of `to_candidate`.

        Args:
            params: the candidate's weights by name.
            exact: as in `to_leaves`.

        Returns:
            The reference's weights by name, of which `to_candidate` makes `params`, bit for bit, unless the
            plan is reversed and adds tensors up.

        Raises:
            WeightError: naming every weight that is absent or has another shape than planned.
        """
        return self.to_leaves(params, exact=exact) if self.reversed else self.to_tensors(params)

    @property
    def _what(self) -> tuple[str, str]:
        """What a tensor and a leaf are called in messages: "PyTorch tensor", "JAX leaf"."""
        return array_names(self.sides, self.reversed)

    def to_leaves(self, weights: Arrays, *, exact: bool = False) -> dict[str, Shaped[np.ndarray, "..."]]:
        """Tensors by name as leaves by path.

        Leaves share memory with `weights` where the layout allows: copy before writing into them.

        Args:
            weights: the tensors; those that the plan does not use may be left out.
            exact: whether leaves that are sums of tensors come in float64, so that nothing is rounded.

        Returns:
            The leaves by path.

        Raises:
            WeightError: naming every tensor that is absent or has another shape than planned.
        """
        shapes = {t.tensor_name: t.tensor_shape for t in self.transfers}
        _require(weights, shapes, self._what[0], self.unused)
        leaves = {}
        for path, shared in grouped(self.transfers, lambda t: t.leaf_path).items():
            if len(shared) == 1 and not shared[0].put:
                leaves[path] = shared[0].source(weights[shared[0].tensor_name]).reshape(shared[0].leaf_shape)
                continue
            later = repeats(shared)
            dtypes = [weights[t.tensor_name].dtype for t in shared]
            leaf = np.zeros(
                shared[0].leaf_shape, np.result_type(*dtypes, *[np.float64][: exact and len(later)])
            )
            for transfer in shared:
                target = transfer.target(leaf)
                block = transfer.source(weights[transfer.tensor_name]).reshape(target.shape)
                target[...] = target + block if id(transfer) in later else block
            leaves[path] = leaf
        return {path: self._ordered(path, leaf) for path, leaf in leaves.items()}

    def _ordered(self, path: str, leaf: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        return leaf[np.ix_(*self.orders[path])] if path in self.orders else leaf

    def _back(self, leaves: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
        """Leaves in the order that the transfers give."""
        return {
            path: leaf[np.ix_(*map(np.argsort, self.orders[path]))] if path in self.orders else leaf
            for path, leaf in leaves.items()
        }

    def to_tensors(self, leaves: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
        """Leaves by path as tensors by name, of which `to_leaves` makes those leaves, bit for bit.

        Where several blocks add up in a leaf, the first gets all of it and the others get -0.0, which
        changes no number it is added to. Where one tensor feeds several leaves, it is read from the first.
        Numbers of a tensor that no leaf holds are zero.

        Args:
            leaves: the leaves; those that the plan does not fill may be left out.

        Returns:
            The tensors by name.

        Raises:
            WeightError: naming every leaf that is absent or has another shape than planned.
        """
        _require(leaves, {t.leaf_path: t.leaf_shape for t in self.transfers}, self._what[1], self.missing)
        leaves = self._back(leaves)
        later = repeats(self.transfers)
        tensors = {}
        for name, shared in grouped(self.transfers, lambda t: t.tensor_name).items():
            tensor = np.zeros(shared[0].tensor_shape, np.result_type(*(leaves[t.leaf_path] for t in shared)))
            shared.reverse()  # so that of several leaves that hold the same numbers the first comes last
            for transfer in sorted(shared, key=lambda t: id(t) not in later):
                source = transfer.source(tensor)
                block = transfer.target(leaves[transfer.leaf_path]).reshape(source.shape)
                source[...] = -0.0 if id(transfer) in later else block
            tensors[name] = tensor
        return tensors

    def adjoint(self, grads: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
        """Gradients (or updates) of leaves, by path, as those of the tensors: the transposed map.

        A tensor that feeds several leaves gets the sum of their gradients; tensors that add up in one leaf
        each get that leaf's. Leaves may be left out; tensors that feed only such leaves are then left out.

        Args:
            grads: gradients of leaves by path.

        Returns:
            Gradients of tensors by name.

        Raises:
            WeightError: naming every leaf that the plan does not know or that has another shape.
        """
        given = tuple(t for t in self.transfers if t.leaf_path in grads)
        grads = self._back(grads)
        shapes = {t.leaf_path: t.leaf_shape for t in given}
        _require(grads, shapes, f"gradient of the {self._what[1]}", self.missing)
        tensors = {}
        for name, shared in grouped(given, lambda t: t.tensor_name).items():
            if len(shared) == 1 and shared[0].is_whole:
                tensors[name] = shared[0].back(grads[shared[0].leaf_path])
                continue
            tensor = np.zeros(shared[0].tensor_shape, np.result_type(*(grads[t.leaf_path] for t in shared)))
            for transfer in shared:
                source = transfer.source(tensor)
                source += transfer.target(grads[transfer.leaf_path]).reshape(source.shape)
            tensors[name] = tensor
        return tensors

    def names(self) -> dict[str, str]:
        """The leaves of each tensor.

        Returns:
            Tensor name -> leaf path, or paths joined by ', '.
        """
        groups = grouped(self.transfers, lambda t: t.tensor_name)
        return {name: ", ".join(dict.fromkeys(t.leaf_path for t in group)) for name, group in groups.items()}

    def ends(self, transfer: Transfer) -> tuple[str, str]:
        """The ends of a transfer as a sentence names them, with the blocks: the reference's, the candidate's.

        Args:
            transfer: one of the plan's.
        """
        ends = (
            transfer.tensor_name + in_brackets(transfer.take),
            transfer.leaf_path + in_brackets(transfer.put),
        )
        return ends[::-1] if self.reversed else ends

    def of_reference(self) -> frozenset[str]:
        """The names of the reference's weights that have a partner."""
        return frozenset(t.leaf_path if self.reversed else t.tensor_name for t in self.transfers)

    def rows(self) -> tuple[tuple[str, str, str], ...]:
        """The table for printing.

        Returns:
            (tensor name and shape, leaf path and shape, how) of each transfer.
        """
        return tuple(
            (f"{t.tensor_name} {t.tensor_shape}", f"{t.leaf_path} {t.leaf_shape}", t.how)
            for t in self.transfers
        )

    def doubts(self) -> tuple[tuple[str, str, str], ...]:
        """The rows that rest on little, as `rows` has them, each with the reason of its layout.

        Returns:
            (tensor name and shape, leaf path and shape, how and why) of each doubtful transfer.
        """
        return tuple(
            (tensor, leaf, f"{how}: {transfer.reason}")
            for (tensor, leaf, how), transfer in zip(self.rows(), self.transfers, strict=True)
            if is_doubtful(transfer.reason)
        )

    def __str__(self) -> str:
        """The table as text, one transfer a line, from tensors to leaves."""
        rows = self.rows()
        widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
        lines = [f"{a:<{widths[0]}}  ->  {b:<{widths[1]}}  {how}" for a, b, how in rows]
        lines += [f"{name}  ->  (unused)" for name in self.unused]
        lines += [f"(missing)  ->  {path}" for path in self.missing]
        return "\n".join(lines)


def _require(arrays: Arrays, shapes: Mapping[str, Shape], what: str, allowed: Collection[str]) -> None:
    """Every planned array is there with its shape, and nothing else is."""
    faults = [f"{what} {name!r} is absent" for name in shapes if name not in arrays]
    faults += [
        f"{what} {name!r} has shape {arrays[name].shape}; the plan says {shape}"
        for name, shape in shapes.items()
        if name in arrays and tuple(arrays[name].shape) != shape
    ]
    faults += [
        f"{what} {name!r} is not in the plan; allow it by name or plan it"
        for name in arrays
        if name not in shapes and name not in allowed
    ]
    if faults:
        raise WeightError("the weights do not fit the plan:\n  " + "\n  ".join(faults))
