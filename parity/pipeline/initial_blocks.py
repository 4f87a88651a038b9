"""What a weight plan pairs, block by block, both sides in one layout and neither loaded into the other."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import Arrays
from parity.weights import Plan, Transfer, WeightError
from parity.weights.transfer import Shape


class Fans(NamedTuple):
    """What the spread of a weight may follow from.

    Attributes:
        inputs, outputs: fan_in and fan_out of a kernel, or of the kernel that a bias belongs to; 0 where
            there is none.
        misread: fan_in that a rule for (out, in, ...) gives for a kernel that lies (..., in, out), or the
            other way round.
        hidden: units of the recurrent layer that the weight belongs to; 0 of others.
    """

    inputs: int = 0
    outputs: int = 0
    misread: int = 0
    hidden: int = 0


class Block(NamedTuple):
    """A block of the reference with the block of the candidate that it is paired with.

    Attributes:
        names: the reference's and the candidate's, with brackets where it is a part of an array.
        transfers: one, or several that add up (the two biases of PyTorch's recurrent layers).
        fans: of the whole array.
        reversed: whether the plan's tensors are the candidate's.
    """

    names: tuple[str, str]
    transfers: tuple[Transfer, ...]
    fans: Fans
    reversed: bool

    @property
    def arrays_named(self) -> frozenset[str]:
        """The names of the whole arrays on both sides."""
        return frozenset(name for t in self.transfers for name in (t.tensor_name, t.leaf_path))

    @property
    def gates(self) -> str:
        """The gates of a recurrent cell that the block holds, a letter each; "" of other weights."""
        return self.transfers[0].gates

    def arrays(
        self, reference: Arrays, candidate: Arrays
    ) -> tuple[Shaped[np.ndarray, "..."], Shaped[np.ndarray, "..."]]:
        """The block of both sides in the layout of the plan's tensors: PyTorch's, if one side is.

        Args:
            reference: its weights by name.
            candidate: its weights by name.
        """
        tensors, leaves = (candidate, reference) if self.reversed else (reference, candidate)
        one = self.transfers[0]
        sources = [t.source(tensors[t.tensor_name]) for t in self.transfers]
        source = sources[0] if len(sources) == 1 else np.sum(sources, axis=0)
        target = one.target(leaves[one.leaf_path]).reshape(source.shape)
        pair = _as_stored(one, source), _as_stored(one, target)
        return pair[::-1] if self.reversed else pair

    def first_entries(
        self, reference: Arrays, candidate: Arrays, number: int
    ) -> tuple[Shaped[np.ndarray, "..."], Shaped[np.ndarray, "..."]]:
        """The first entries of both, as each side's own array holds them: what one key fills first.

        Args:
            reference: its weights by name.
            candidate: its weights by name.
            number: how many.
        """
        tensors, leaves = (candidate, reference) if self.reversed else (reference, candidate)
        one = self.transfers[0]
        tensor = tensors[one.tensor_name].reshape(one.view or one.tensor_shape)[(*one.take, ...)]
        leaf = one.target(leaves[one.leaf_path])
        pair = np.ravel(tensor)[:number].real, np.ravel(leaf)[:number].real
        return pair[::-1] if self.reversed else pair


def _as_stored(transfer: Transfer, moved: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """A block in the leaf's order of axes, back in that of the tensor."""
    back = np.flip(moved, transfer.flip) if transfer.flip else moved
    back = back.transpose(np.argsort(transfer.axes)) if transfer.axes else back
    back = back if transfer.take else back.reshape(transfer.tensor_shape)
    # Complex numbers count as pairs of real ones.
    return np.stack([back.real, back.imag], axis=-1) if np.iscomplexobj(back) else back


def blocks_of(plan: Plan, *, inputs_last: bool) -> list[Block]:
    """The blocks of a plan, in its order.

    Args:
        plan: between the two sides.
        inputs_last: whether kernels lie (out, in, ...), as PyTorch's, rather than (..., in, out).
    """
    groups: dict[tuple[object, ...], list[Transfer]] = {}
    for transfer in plan.transfers:
        groups.setdefault((transfer.leaf_path, *transfer.box()), []).append(transfer)
    shapes = {t.tensor_name: t.tensor_shape for t in plan.transfers}
    return [
        Block(_names(plan, one), tuple(one), _fans(one[0].tensor_name, shapes, inputs_last), plan.reversed)
        for one in groups.values()
    ]


def _names(plan: Plan, group: list[Transfer]) -> tuple[str, str]:
    ends = [plan.ends(transfer) for transfer in group]
    first, second = (" + ".join(dict.fromkeys(end[side] for end in ends)) for side in (0, 1))
    return first, second


def require_planned(plan: Plan, reference: Arrays, candidate: Arrays) -> None:
    """Check that a plan that the user gave fits the weights that are drawn.

    Args:
        plan: the user's.
        reference: the reference's weights by name.
        candidate: the candidate's.

    Raises:
        WeightError: naming the weights that the plan lacks or does not know.
    """
    plan.to_candidate({name: reference[name] for name in reference if name in plan.of_reference()})
    ends = {t.tensor_name if plan.reversed else t.leaf_path for t in plan.transfers}
    if absent := sorted(ends - set(candidate)):
        raise WeightError(f"the candidate draws no {', '.join(absent)}, which `plan` fills")


def _fans(name: str, shapes: dict[str, Shape], inputs_last: bool) -> Fans:
    prefix, dot, last = name.rpartition(".")
    recurrent = shapes.get(prefix + dot + last.replace("bias_", "weight_").replace("_ih_", "_hh_"))
    hidden = recurrent[-1] if recurrent is not None and ("_ih_" in last or "_hh_" in last) else 0
    shape = shapes[name]
    if len(shape) < 2:
        shape = shapes.get(f"{prefix}{dot}weight", shape)
    if len(shape) < 2:
        return Fans(hidden=hidden)
    first, last_two = (shape[:2], shape[-2:])
    of_torch = first[1] * _product(shape[2:]), first[0] * _product(shape[2:])
    of_jax = last_two[0] * _product(shape[:-2]), last_two[1] * _product(shape[:-2])
    if not inputs_last:
        return Fans(*of_jax, of_torch[0], hidden)
    turned = (*shape[2:], shape[1], shape[0])  # as the kernel lies in JAX
    return Fans(*of_torch, turned[1] * _product(turned[2:]) if len(shape) > 2 else of_torch[1], hidden)


def _product(sizes: Shape) -> int:
    return int(np.prod(sizes, dtype=np.int64))
