"""Where the optimisers of a JAX state keep their slots: leaves that lie as weights do, under another path.

Of a weight ``params/hidden/kernel`` the leaf ``opt_state/0/mu/hidden/kernel`` of the same shape is a slot,
if it does not hold a weight's numbers. What lies beside a norm in the same tree has such a path, too: a tree
that is the root of larger slots holds no slots, and every weight of PyTorch must have a leaf left.
"""

import collections
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class _Candidate(NamedTuple):
    """A tree that may hold slots.

    Attributes:
        top: the path of the tree.
        root: that of the weights.
        covered: weights known by their numbers that have a leaf in it.
        lacking: those that have none.
    """

    top: str
    root: str
    covered: int
    lacking: int


def slot_paths(
    leaves: Mapping[str, np.ndarray], weights: Collection[str], sizes: Sequence[int]
) -> dict[str, dict[str, str]]:
    """The trees that hold slots: path of the tree -> path of the slot by that of the weight.

    >>> leaves = {"opt/mu/w": np.zeros(2), "params/w": np.ones(2), "params/b": np.zeros(2)}
    >>> slot_paths(leaves, {"params/w"}, [2])
    {'opt/mu': {'params/w': 'opt/mu/w'}}

    Args:
        leaves: floating ones by path.
        weights: those that are known by their numbers.
        sizes: of the weights that are not, which need a leaf each.
    """
    tops: dict[str, str] = {}
    there = {leaf.size for leaf in leaves.values()}  # a packed tensor has several leaves, of other sizes
    needed = collections.Counter(size for size in sizes if size in there)
    for one in sorted(_candidates(leaves, weights), key=lambda one: (one.lacking > 0, -one.covered, one.top)):
        inside = any(_within(one.top, known) or _within(known, one.top) for known in tops)
        if inside or any(_within(one.top, root) or _within(root, one.top) for root in tops.values()):
            continue
        taken = {*tops, one.top}
        left = collections.Counter(
            leaf.size
            for path, leaf in leaves.items()
            if path not in weights and not any(_within(path, top) for top in taken)
        )
        room = sum(size * count for size, count in left.items()) >= sum(sizes)
        if room and all(left[size] >= count for size, count in needed.items()):
            tops[one.top] = one.root
    return {top: _slots(top, leaves, tops) for top in sorted(tops)}


def _within(path: str, tree: str) -> bool:
    return path == tree or not tree or path.startswith(f"{tree}/")


def _candidates(leaves: Mapping[str, np.ndarray], weights: Collection[str]) -> Iterator[_Candidate]:
    pairs = {
        (path.removesuffix(end).rstrip("/"), weight.removesuffix(end).rstrip("/"))
        for path in leaves
        if path not in weights
        for weight in weights
        if leaves[path].shape == leaves[weight].shape and (end := _common_end(path, weight))
    }
    for top, root in sorted(pairs):
        if not top or any(_within(weight, top) for weight in weights):
            continue
        under = [weight for weight in weights if _within(weight, root)]
        ends = [weight.removeprefix(root).lstrip("/") for weight in under]
        covered = sum(f"{top}/{end}" in leaves for end in ends)
        yield _Candidate(top, root, covered, len(ends) - covered)


def _common_end(path: str, other: str) -> str:
    """The longest common end of two paths, in whole names."""
    names: list[str] = []
    for a, b in zip(reversed(path.split("/")), reversed(other.split("/")), strict=False):
        if a != b:
            break
        names.append(a)
    return "/".join(reversed(names))


def _slots(top: str, leaves: Mapping[str, np.ndarray], tops: Collection[str]) -> dict[str, str]:
    """The slots in a tree by the paths of all leaves that may be their weights."""
    found = {}
    for path in leaves:
        if _within(path, top):
            end = path.removeprefix(f"{top}/")
            for weight in leaves:
                is_end = weight == end or weight.endswith(f"/{end}")
                own = not any(_within(weight, other) for other in tops)
                if is_end and own and leaves[weight].shape == leaves[path].shape:
                    found[weight] = path
    return found
