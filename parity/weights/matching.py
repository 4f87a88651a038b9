"""Find the plan: pair PyTorch tensors with JAX leaves, whatever they are called.

1. `units`, `recurrent`: the ways in which each tensor and leaf can be seen, whole or as parts.
2. `balance`: the ways in which everything finds a place.
3. `assigning`: which unit goes to which slot, by shape, role, name and order of first use.
4. `settling`: ties, by what the rest of the model does or by running.

What then is left over or open is an error that lists the candidates and the line that pins one.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from parity.weights.assigning import MARGIN, Exchange, assign
from parity.weights.balance import balanced
from parity.weights.completeness import require_complete, require_settled
from parity.weights.evidence import Leaf, Leaves, Pins, Tensors
from parity.weights.pinning import pinned
from parity.weights.plan import Plan, Shape
from parity.weights.recurrent import recurrent_groups
from parity.weights.splitting import lengths, of_leaf, of_tensor
from parity.weights.ties import (
    Match,
    as_plan,
    by_convention,
    could_turn,
    exchange,
    matched,
    settle,
    tries_for,
    turn,
)


def find_plan(
    torch_tensors: Tensors,
    jax_leaves: Mapping[str, Shape | Leaf],
    *,
    try_plan: Callable[[Plan], float] | None = None,
    pins: Pins | None = None,
    allow_unused: Collection[str] = (),
    allow_missing: Collection[str] = (),
) -> Plan:
    """The plan that pairs every tensor with a leaf.

    Args:
        torch_tensors: PyTorch's tensors by name, in definition order.
        jax_leaves: JAX's leaves by path, or their shapes.
        try_plan: runs the models with a plan and returns the share, 0 to 1, of the JAX computation that then
            agrees with PyTorch's; 1 if the outputs do. Ties are settled by it.
        pins: what the user knows: PyTorch name -> JAX path, (JAX path, permutation), Transfer or Transfers.
        allow_unused: PyTorch tensors that may stay without a leaf.
        allow_missing: JAX leaves that may stay without a tensor.

    Raises:
        WeightError: naming every tensor that is unused, missing or ambiguous, with its candidates.
    """
    leaves = {path: leaf if isinstance(leaf, Leaf) else Leaf(leaf) for path, leaf in jax_leaves.items()}
    given = [t for own in pinned(pins or {}, torch_tensors, leaves).values() for t in own]
    names = [n for n in torch_tensors if n not in (pins or {}) and n not in allow_unused]
    filled = {transfer.leaf_path for transfer in given}
    paths = [p for p in leaves if p not in filled and p not in allow_missing]
    matches, ties = _match(names, paths, torch_tensors, leaves)
    require_complete(
        as_plan(matches, torch_tensors, leaves, given),
        torch_tensors,
        leaves,
        allow_unused,
        allow_missing,
    )
    matches, turns, ties = _settled(
        by_convention(matches),
        ties,
        None if try_plan is None else lambda own: try_plan(as_plan(own, torch_tensors, leaves, given)),
        tries_for(torch_tensors),
    )
    require_settled([matches[place] for place in turns], [(matches[a], matches[b]) for a, b, _ in ties])
    plan = as_plan(matches, torch_tensors, leaves, given)
    used, held = plan.names(), {transfer.leaf_path for transfer in plan.transfers}
    return plan._replace(
        unused=tuple(name for name in torch_tensors if name in allow_unused and name not in used),
        missing=tuple(path for path in leaves if path in allow_missing and path not in held),
    )


def _match(
    names: Sequence[str], paths: Sequence[str], tensors: Tensors, leaves: Leaves
) -> tuple[list[Match], list[Exchange]]:
    """The matches, and what could be exchanged among them."""
    own = {name: tensors[name] for name in names}
    groups = recurrent_groups(own)
    grouped = {name for group in groups for name in group.names}
    sizes = {size for tensor in own.values() for size in tensor.shape}
    jax_sizes = {size for path in paths for size in lengths(leaves[path].shape)}
    groups += [of_tensor(n, t, jax_sizes) for n, t in own.items() if n not in grouped]
    joints = {
        (own[ih].shape[1], own[hh].shape[1])
        for ih, hh, *_ in (group.names for group in groups if len(group.names) == 2)
        if len(own[ih].shape) == 2
    }
    leaf_groups = [of_leaf(path, leaves[path], sizes, joints) for path in paths]
    if not groups and not leaf_groups:
        return [], []
    ways, leaf_ways = balanced(groups, leaf_groups)
    units = [unit for way in ways for unit in way.make()]
    slots = [slot for way in leaf_ways for slot in way.make()]
    pairs, ties = assign(units, slots)
    matches = [matched(units[i], slots[j]) for i, j in pairs]
    return matches, ties


def _settled(
    matches: list[Match],
    ties: Sequence[Exchange],
    agreement: Callable[[list[Match]], float] | None,
    budget: int,
) -> tuple[list[Match], list[int], list[Exchange]]:
    """The matches with what could be settled by running; which of them could still be turned or exchanged."""

    def first_use(tie: Exchange) -> float:
        return min(_position(matches[tie.first]), _position(matches[tie.second]))

    open_ties = sorted((tie for tie in ties if tie.cost <= MARGIN), key=first_use)
    weak = sorted((tie for tie in ties if tie.cost > MARGIN), key=first_use)
    turns = [place for place, match in enumerate(matches) if match.undecided]
    others = [place for place, match in enumerate(matches) if could_turn(match) and not match.undecided]
    if agreement is None or not (turns or open_ties or weak or others):
        return matches, turns, open_ties
    sure = settle(matches, [*map(turn, turns), *map(exchange, open_ties)], agreement, budget=budget)
    best = sure
    if sure.agreement < 1.0:
        best = settle(sure.matches, [*map(turn, others), *map(exchange, weak)], agreement, budget=budget // 4)
    still = [] if best.agreement >= 1.0 else sure.open
    return (
        best.matches,
        [turns[i] for i in still if i < len(turns)],
        [open_ties[i - len(turns)] for i in still if i >= len(turns)],
    )


def _position(match: Match) -> float:
    return float(match.slot.use.position) if match.slot.use is not None else float("inf")
