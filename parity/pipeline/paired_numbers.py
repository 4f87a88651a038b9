"""Counts and other numbers of two states, paired by what they are over the first steps."""

from collections.abc import Mapping, Sequence

import numpy as np

from parity.frameworks.stepping import Held, Role

State = Mapping[str, Held]
"""All values of a state by name."""

NOT_YET = Held(Role.NUMBER, np.zeros(()))


def paired_numbers(reference: Sequence[State], candidate: Sequence[State]) -> dict[str, str]:
    """PyTorch's name of each number -> the path of JAX's that is equal at first.

    Those with equal names pair; of the others, those that count, where they are equal in every state given.

    Args:
        reference: PyTorch's states: at the start, and behind the first steps.
        candidate: JAX's.
    """
    first, second = _series(reference), _series(candidate)
    found: dict[str, str] = {}
    seen: set[tuple[float, ...]] = set()
    for name, series in sorted(first.items(), key=lambda one: bool(reference[-1][one[0]].of)):
        last = name.rpartition(".")[2]
        equal = [path for path, other in second.items() if other == series]
        alike = [path for path in second if path.rpartition("/")[2] == last]
        alike = [path for path in alike if second[path][0] == series[0]]
        counts = len(set(series)) > 1
        path = next(iter([p for p in alike if p in equal] or alike or (equal if counts else [])), None)
        if path is not None and series not in seen and (counts or len(set(second[path])) > 1):
            found[name] = path
            seen.add(series)
    return found


def _series(states: Sequence[State]) -> dict[str, tuple[float, ...]]:
    """Single numbers, as they are in every state."""
    found = {}
    for name in states[-1]:
        held = [state.get(name, NOT_YET) for state in states]  # an optimiser begins to count when it steps
        if all(h.value.ndim == 0 and h.role is not Role.SLOT for h in held):
            found[name] = tuple(float(np.real(h.value)) for h in held)
    return found
