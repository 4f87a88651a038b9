"""Arrays that could change places: two modules with the same shapes inside, whose names say nothing.

The two cells of a bidirectional layer are such modules; which of them a port runs first is no evidence.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from parity.weights.doubt import AGAINST_EVIDENCE
from parity.weights.likeness import likeness, likeness_of_numbers
from parity.weights.names import owner
from parity.weights.namesakes import Named, namesakes
from parity.weights.plan import Plan
from parity.weights.transfer import Shape, Transfer

SPOKEN = 0.1
"""How much more alike, 0 to 1, names must be for a pair than for the exchanged one to speak for it."""

PINNED = "pinned"
"""Reason of a transfer that the user gave."""

MOST_MODULES = 8
"""How many other modules one is exchanged with at most."""

LISTED = 4
"""How many weights a sentence names."""

Members = dict[str, str]
"""What is inside a module: name within it -> whole name."""


def exchanged(plan: Plan, transfer: Transfer) -> Iterator[tuple[Plan, tuple[str, str], str]]:
    """The plans in which what is around a transfer has changed places with something of the same shapes.

    Args:
        plan: the plan.
        transfer: the transfer of a weight.

    Yields:
        Each plan, the two names that are exchanged in it, and the same in words.
    """
    stated = _stated(plan)
    for is_leaf in (True, False):
        names = _shapes(plan, is_leaf)
        own = transfer.leaf_path if is_leaf else transfer.tensor_name
        for prefix in _modules(own, is_leaf):
            inside = _members(names, prefix, is_leaf)
            others = 0
            for other in dict.fromkeys(p for name in names for p in _modules(name, is_leaf)):
                across = _members(names, other, is_leaf)
                if other == prefix or not _exchangeable(inside, across, names) or others >= MOST_MODULES:
                    continue
                partners = {inside[k]: across[k] for k in inside} | {across[k]: inside[k] for k in inside}
                if changed := _changed(plan, partners, is_leaf, stated):
                    others += 1
                    first, second = (_plain(name) for name in (prefix, other))
                    yield changed, (first, second), _in_words(first, second, is_leaf != plan.reversed)


def moves_in_words(first: Plan, plan: Plan) -> str:
    """Which of the candidate's weights hold in a plan what those of other names hold in the first one.

    Args:
        first: the first plan.
        plan: another plan of the same weights.

    Returns:
        The weights, or the modules that they are all of, in words; "" if each holds the same.
    """
    homes: dict[str, set[str]] = {}
    for given, own in map(first.ends, first.transfers):
        homes.setdefault(given, set()).add(own)
    moved: dict[str, str] = {}
    for given, own in map(plan.ends, plan.transfers):
        if given in homes and own not in homes[given]:
            moved[own] = min(homes[given])
    modules = {owner(own): owner(home) for own, home in moved.items()}
    if all(modules[owner(own)] == owner(home) != owner(own) for own, home in moved.items()):
        moved = modules
    if all(moved.get(other) == one for one, other in moved.items()):
        return ", ".join(_in_words(one, other, True) for one, other in moved.items() if one < other)
    texts = [f"`{one}` holds what `{other}` held" for one, other in moved.items()]
    more = [f"and {len(texts) - LISTED} more"] if len(texts) > LISTED else []
    return f"the first plan is varied (in the candidate {', '.join([*texts[:LISTED], *more])})"


def is_against_evidence(first: Plan, plan: Plan) -> bool:
    """Whether running both sides moved a weight of the first plan against the better evidence.

    Args:
        first: the first plan.
        plan: another plan of the same weights.
    """
    known = set(map(first.ends, first.transfers))
    return any(AGAINST_EVIDENCE in t.reason and plan.ends(t) not in known for t in plan.transfers)


def turns_in_words(first: Plan, plan: Plan) -> list[str]:
    """Which weights lie another way than in the first plan, against the better evidence.

    Args:
        first: the first plan.
        plan: another plan of the same weights.

    Returns:
        In words, those that lie one way as one text.
    """
    known = {first.ends(t): t.how for t in first.transfers}
    ways: dict[str, list[str]] = {}
    for transfer in plan.transfers:
        own, other = plan.ends(transfer)
        if AGAINST_EVIDENCE in transfer.reason and known.get((own, other), transfer.how) != transfer.how:
            ways.setdefault(f"({transfer.how}, not {known[own, other]})", []).append(f"`{own}`")
    return [
        f"{', '.join(names[:LISTED])}{f' and {more} more' * (more > 0)} "
        f"{'lie' if len(names) > 1 else 'lies'} another way in the candidate {how}"
        for how, names in ways.items()
        for more in [len(names) - LISTED]
    ]


def _shapes(plan: Plan, is_leaf: bool) -> dict[str, Shape]:
    if is_leaf:
        return {t.leaf_path: t.leaf_shape for t in plan.transfers}
    return {t.tensor_name: t.tensor_shape for t in plan.transfers}


def _modules(name: str, is_leaf: bool) -> list[str]:
    """The module that an array is of, those that hold it, and the array itself, the smallest module first."""
    found = []
    if not is_leaf and (place := re.search(r"(weight|bias)_(?:ih|hh)(_l\d+)?(_reverse)?$", name)):
        found.append(f"{name[: place.start()]}*{place[2] or ''}{place[3] or ''}")
    above = owner(name)
    while above:
        found.append(above)
        above = owner(above)
    return [*found, name]


def _members(names: dict[str, Shape], prefix: str, is_leaf: bool) -> Members:
    """What is inside a module, by the name within it."""
    if "*" in prefix and not is_leaf:
        front, _, back = prefix.partition("*")
        pattern = re.compile(re.escape(front) + r"((?:weight|bias)_(?:ih|hh))" + re.escape(back) + "$")
        return {found[1]: name for name in names if (found := pattern.match(name))}
    return {
        name[len(prefix) + 1 :]: name
        for name in names
        if name == prefix or name.startswith((f"{prefix}.", f"{prefix}/"))
    }


def _exchangeable(one: Members, other: Members, shapes: dict[str, Shape]) -> bool:
    return (
        one.keys() == other.keys()
        and not set(one.values()) & set(other.values())
        and all(shapes[one[k]] == shapes[other[k]] for k in one)
    )


def _stated(plan: Plan) -> dict[str, str]:
    """The tensors that a plan pairs as all names say, with their leaves."""
    found = namesakes(
        [Named(t.tensor_name, t.tensor_shape, not t.take) for t in plan.transfers],
        [Named(t.leaf_path, t.leaf_shape, not t.put) for t in plan.transfers],
    )
    return {plan.transfers[i].tensor_name: plan.transfers[j].leaf_path for i, j in found.items()}


def _changed(plan: Plan, partners: dict[str, str], is_leaf: bool, stated: Mapping[str, str]) -> Plan | None:
    """The plan with partners exchanged; None if pins or names speak against it, or nothing changes."""
    own = [t for t in plan.transfers if (t.leaf_path if is_leaf else t.tensor_name) in partners]
    if any(t.reason == PINNED or stated.get(t.tensor_name) == t.leaf_path for t in own):
        return None
    new = {
        id(t): t._replace(leaf_path=partners[t.leaf_path])
        if is_leaf
        else t._replace(tensor_name=partners[t.tensor_name])
        for t in own
    }
    if _said(own) > _said([new[id(t)] for t in own]) + SPOKEN:
        return None
    transfers = [new.get(id(t), t) for t in plan.transfers]
    place = {name: number for number, name in enumerate(dict.fromkeys(t.tensor_name for t in plan.transfers))}
    return plan._replace(transfers=tuple(sorted(transfers, key=lambda t: place[t.tensor_name])))


def _said(transfers: Sequence[Transfer]) -> float:
    """How alike the names of the pairs are, in words and numbers: the mean of both."""
    names = sorted({_directed(t.tensor_name, transfers) for t in transfers})
    paths = sorted({t.leaf_path for t in transfers})
    tables = likeness(names, paths), likeness_of_numbers(names, paths)
    places = [(names.index(_directed(t.tensor_name, transfers)), paths.index(t.leaf_path)) for t in transfers]
    return sum(float(table[at]) for table in tables for at in places) / max(1, len(places))


def _directed(name: str, transfers: Sequence[Transfer]) -> str:
    """A tensor's name with its direction in words, where it has two."""
    if any(t.tensor_name == f"{name}_reverse" for t in transfers):
        return f"{name}_forward"
    return name


def _plain(prefix: str) -> str:
    """A module's name without the place where its arrays' names go."""
    return prefix.replace("*", "").strip("._/") or prefix


def _in_words(one: str, other: str, of_candidate: bool) -> str:
    if of_candidate:
        return f"the candidate's `{one}` and `{other}` hold each other's weights of the first plan"
    return f"`{one}` and `{other}` have each other's places of the first plan in the candidate"
