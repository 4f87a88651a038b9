"""The plan of a weight transfer: an explicit, printable, invertible table.

Every PyTorch tensor and every JAX leaf appears exactly once, or is listed as unused or missing, which
is an error unless the caller allows it by name.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.arrays import Arrays

Shape = tuple[int, ...]


class WeightError(ValueError):
    """Weights that cannot be transferred; the message names every tensor at fault."""


class Transfer(NamedTuple):
    """One tensor's way: permute the PyTorch axes, then reshape to the JAX shape.

    Attributes:
        torch_name: key in the state dict.
        jax_path: path of the leaf in the params tree.
        torch_shape: shape on the PyTorch side.
        jax_shape: shape on the JAX side; the permuted shape unless a reshape follows.
        axes: `numpy.transpose` axes from PyTorch to JAX; (1, 0) for a linear layer,
            (2, 3, 1, 0) for a 2-d convolution (OIHW to HWIO).
        reason: why this pair and this permutation, in words.
    """

    torch_name: str
    jax_path: str
    torch_shape: Shape
    jax_shape: Shape
    axes: tuple[int, ...]
    reason: str = "given"

    def to_jax(self, array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """The PyTorch tensor in the JAX layout."""
        return np.array(array.transpose(self.axes), order="C").reshape(self.jax_shape)

    def to_torch(self, array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """The JAX leaf in the PyTorch layout: the exact inverse of `to_jax`."""
        permuted = tuple(self.torch_shape[axis] for axis in self.axes)
        back = np.argsort(self.axes)
        return np.array(array.reshape(permuted).transpose(back), order="C")

    @property
    def how(self) -> str:
        """The layout change in words, e.g. 'permute (1, 0)' or 'as it is'."""
        permuted = tuple(self.torch_shape[axis] for axis in self.axes)
        steps = []
        if self.axes != tuple(range(len(self.axes))):
            steps.append(f"permute {self.axes}")
        if permuted != self.jax_shape:
            steps.append(f"reshape {self.jax_shape}")
        return ", ".join(steps) or "as it is"


class Plan(NamedTuple):
    """All transfers of a pair of models.

    Attributes:
        transfers: one per matched tensor, in the order of the PyTorch names.
        unused: PyTorch tensors without a JAX leaf (allowed by name).
        missing: JAX leaves without a PyTorch tensor (allowed by name).
    """

    transfers: tuple[Transfer, ...]
    unused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def to_jax(self, weights: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
        """PyTorch's named tensors as JAX leaves by path.

        Raises:
            WeightError: naming every tensor that is absent or has another shape than planned.
        """
        _require(
            weights, {t.torch_name: t.torch_shape for t in self.transfers}, "PyTorch tensor", self.unused
        )
        return {t.jax_path: t.to_jax(weights[t.torch_name]) for t in self.transfers}

    def to_torch(self, leaves: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
        """JAX leaves by path as PyTorch's named tensors; also right for gradients and updates.

        Raises:
            WeightError: naming every leaf that is absent or has another shape than planned.
        """
        _require(leaves, {t.jax_path: t.jax_shape for t in self.transfers}, "JAX leaf", self.missing)
        return {t.torch_name: t.to_torch(leaves[t.jax_path]) for t in self.transfers}

    def names(self) -> dict[str, str]:
        """PyTorch name -> JAX path."""
        return {t.torch_name: t.jax_path for t in self.transfers}

    def rows(self) -> tuple[tuple[str, str, str], ...]:
        """(PyTorch name and shape, JAX path and shape, how) for printing."""
        return tuple(
            (f"{t.torch_name} {t.torch_shape}", f"{t.jax_path} {t.jax_shape}", t.how) for t in self.transfers
        )

    def __str__(self) -> str:
        """The table as text, one tensor a line."""
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
