"""What a step function changes besides its state, put back: also what it counts by a name of its own."""

import inspect
import types
from collections.abc import Callable, Iterator

from parity.frameworks.kept_state import LIBRARIES, KeptState

NUMBERS = (bool, int, float, complex, str, type(None))
"""What cannot change itself: a name is given another one (``nonlocal n; n += 1``)."""


class KeptStep(KeptState):
    """The state of a step function's surroundings, looked for behind `jax.jit` as well.

    >>> def counting():
    ...     n = 0
    ...     def step():
    ...         nonlocal n
    ...         n += 1
    ...         return n
    ...     return step
    >>> step = counting()
    >>> kept = KeptStep(step)
    >>> step(), step(), kept.put_back(), step()
    (1, 2, None, 1)
    """

    def __init__(self, step: Callable[..., object]) -> None:
        """Keep the state.

        Args:
            step: a user's step function.
        """
        functions = list(_functions(step))
        super().__init__(step, *functions)
        self._rebind = [again for function in functions for again in _names(function)]

    def put_back(self) -> None:
        """Make everything as it was when it was kept."""
        super().put_back()
        for again in self._rebind:
            again()


def _functions(step: object) -> Iterator[types.FunctionType]:
    """The functions of a step's own package that it calls by a name around it, itself included."""
    waiting: list[object] = [step]
    seen: set[int] = set()
    root = ""
    while waiting:
        value = waiting.pop()
        if hasattr(value, "__wrapped__"):
            value = inspect.unwrap(value)  # type: ignore[arg-type]
        value = getattr(value, "__func__", value)
        if not isinstance(value, types.FunctionType) or id(value) in seen:
            continue
        root = root or _package(value)
        if _package(value) in LIBRARIES or _package(value) != root:
            continue
        seen.add(id(value))
        yield value
        for cell in value.__closure__ or ():
            if cell != types.CellType():  # an empty one
                waiting.append(cell.cell_contents)
        waiting.extend(value.__globals__.get(name) for name in value.__code__.co_names)


def _package(function: types.FunctionType) -> str:
    return (function.__module__ or "").partition(".")[0]


def _names(function: types.FunctionType) -> Iterator[Callable[[], object]]:
    """What binds the names around a function to the numbers that they have now."""
    for cell in function.__closure__ or ():
        if cell != types.CellType() and isinstance(cell.cell_contents, NUMBERS):
            yield _cell(cell, cell.cell_contents)
    around = function.__globals__
    for name in function.__code__.co_names:
        if name in around and isinstance(around[name], NUMBERS):
            yield _variable(around, name, around[name])


def _cell(cell: types.CellType, value: object) -> Callable[[], object]:
    def again() -> None:
        cell.cell_contents = value

    return again


def _variable(around: dict[str, object], name: str, value: object) -> Callable[[], object]:
    def again() -> None:
        around[name] = value

    return again
