"""The state of a user's model, kept before the model runs and put back afterwards.

A model may change more than its weights when it runs: counters, caches and lists in attributes, tensors that
are written in place, generators of random numbers, lists that a hook appends to. None of that may differ
after a check, and every run of a check starts from the same state.
"""

import collections
import contextlib
import pickle
import random
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import numpy as np

if TYPE_CHECKING:
    import torch

LIBRARIES = frozenset({"torch", "jax", "jaxlib", "flax", "numpy", "equinox", "haiku", "optax", "builtins"})
"""Packages whose objects are not looked into, modules of PyTorch and those of the standard library apart."""

LIMIT = 2**30
"""Bytes of tensors and arrays that are copied at most; what lies beyond is not put back."""

Container = dict[Any, Any] | list[Any] | set[Any] | collections.deque[Any]
"""What is kept by the identity of what it holds, whatever that is."""

_DICTS = (dict, collections.OrderedDict, collections.defaultdict, collections.Counter)
_GLOBALS = (*_DICTS, list, set, collections.deque, np.ndarray, np.random.Generator, random.Random)


class _Kept(NamedTuple):
    """One object that can change: whether it differs now, and what makes it as it was."""

    changed: Callable[[], bool]
    restore: Callable[[], object]


class KeptState:
    """What can be reached from some objects and can change, as it is now.

    Looked into are containers, instances of the user's own classes, modules of PyTorch, partial functions,
    bound methods, and of functions the closure and the containers and generators among the global variables
    that they name. The numbers of a module's own parameters and buffers are not copied: the harness gives a
    module other tensors and never writes to these.

    >>> calls = [1]
    >>> state = KeptState(calls)
    >>> calls.append(2)
    >>> state.changed(), state.put_back(), calls
    (True, None, [1])
    """

    def __init__(self, *roots: object) -> None:
        """Keep the state.

        Args:
            *roots: models or functions.
        """
        self._kept: list[_Kept] = []
        self._alive: dict[int, object] = {}  # by identity; no other object may get it meanwhile
        self._room = LIMIT
        self._inside = 0
        waiting = list(roots)
        while waiting:
            value = waiting.pop()
            if id(value) not in self._alive:
                self._alive[id(value)] = value
                waiting.extend(self._keep(value))

    def changed(self) -> bool:
        """Whether anything differs from what was kept."""
        return any(kept.changed() for kept in self._kept)

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """On leaving, also by an exception, everything is put back; of nested ones by the outermost."""
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self.put_back()

    def put_back(self) -> None:
        """Make everything as it was when it was kept."""
        for kept in self._kept:
            if kept.changed():
                kept.restore()

    def _keep(self, value: object) -> Iterable[object]:
        """Keep one object, and give those that it holds."""
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.nn.Module):
            return self._module(value)
        if isinstance(value, torch.Tensor if torch is not None else ()):
            self._tensor(value)
        elif isinstance(value, np.ndarray):
            self._array(value)
        elif _is_container(value):
            self._kept.append(_container(value))
            return list(value.values()) if isinstance(value, dict) else list(value)
        elif (generator := _generator(value)) is not None:
            self._kept.append(generator)
        elif isinstance(value, tuple | frozenset):
            return value
        else:
            return _held(value)
        return ()

    def _module(self, module: object) -> Iterator[object]:
        """A module of PyTorch: its attributes, and which tensors it has, not these tensors' numbers."""
        attributes = vars(module)
        for table in (attributes, attributes["_parameters"], attributes["_buffers"]):
            self._alive[id(table)] = table
            self._kept.append(_container(table))
        yield from (value for name, value in attributes.items() if name not in ("_parameters", "_buffers"))
        if _is_of_the_user(module):
            yield type(module).forward  # type: ignore[attr-defined]

    def _tensor(self, tensor: "torch.Tensor") -> None:
        import torch

        if isinstance(tensor, torch.nn.Parameter) or tensor.is_inference():
            return
        if tensor.layout is not torch.strided or not self._fits(tensor.nbytes):
            return
        version, numbers = tensor._version, tensor.detach().clone()

        def rewrite() -> None:
            nonlocal version
            with torch.no_grad():
                tensor.detach().copy_(numbers)
            version = tensor._version

        self._kept.append(_Kept(lambda: tensor._version != version, rewrite))

    def _array(self, array: np.ndarray) -> None:
        if not array.flags.writeable or array.dtype.hasobject or not self._fits(array.nbytes):
            return
        numbers = array.copy()

        def rewrite() -> None:
            array[...] = numbers

        self._kept.append(_Kept(lambda: not np.array_equal(_bytes(array), _bytes(numbers)), rewrite))

    def _fits(self, size: int) -> bool:
        fits = size <= self._room
        self._room -= size * fits
        return fits


def _is_container(value: object) -> TypeGuard[Container]:
    """Whether a value is such a container, and none of a library's own making, which may refuse changes."""
    return type(value) in (*_DICTS, list, set, collections.deque)


def _container(value: Container) -> _Kept:
    """A container, by the identity of what it holds."""
    if isinstance(value, dict):
        items = dict(value)

        def refill() -> None:
            value.clear()
            value.update(items)

        return _Kept(lambda: not _same(value.items(), items.items()), refill)
    if isinstance(value, list):
        entries = list(value)

        def reset() -> None:
            value[:] = entries

        return _Kept(lambda: not _same(enumerate(value), enumerate(entries)), reset)
    members = type(value)(value)
    take = value.extend if isinstance(value, collections.deque) else value.update

    def put_in_again() -> None:
        value.clear()
        take(members)

    return _Kept(lambda: not _same(enumerate(value), enumerate(members)), put_in_again)


def _same(now: Iterable[tuple[object, object]], before: Iterable[tuple[object, object]]) -> bool:
    """Whether two sequences of pairs have equal keys, in order, and identical values."""
    first, second = list(now), list(before)
    return len(first) == len(second) and all(
        a == b and x is y for (a, x), (b, y) in zip(first, second, strict=True)
    )


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).view(np.uint8)


def _generator(value: object) -> _Kept | None:
    """A generator of random numbers, by its state."""
    torch = sys.modules.get("torch")
    read: Callable[[], object]
    write: Callable[[object], object]
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        read, write = lambda: bits.state, lambda state: setattr(bits, "state", state)
    elif isinstance(value, np.random.RandomState):
        read, write = value.get_state, value.set_state  # type: ignore[assignment]
    elif isinstance(value, random.Random):
        read, write = value.getstate, value.setstate  # type: ignore[assignment]
    elif torch is not None and isinstance(value, torch.Generator):
        read = lambda: value.get_state().cpu().numpy().copy()  # noqa: E731 (a reader beside its writer)
        write = lambda state: value.set_state(torch.from_numpy(state))  # noqa: E731
    else:
        return None
    before = pickle.dumps(read())
    return _Kept(lambda: pickle.dumps(read()) != before, lambda: write(pickle.loads(before)))


def _held(value: object) -> Iterator[object]:
    """What an object that does not change itself holds."""
    if isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            if cell != types.CellType():  # an empty one
                yield cell.cell_contents
        if value.__module__ and value.__module__.partition(".")[0] not in LIBRARIES:
            named = (value.__globals__.get(name) for name in value.__code__.co_names)
            yield from (found for found in named if isinstance(found, _GLOBALS))
    elif isinstance(value, types.MethodType):
        yield value.__self__
        yield value.__func__
    elif type(value).__name__ == "partial":
        yield from (value.func, value.args, value.keywords)  # type: ignore[attr-defined]
    elif _is_of_the_user(value):
        yield vars(value)


def _is_of_the_user(value: object) -> bool:
    if isinstance(value, type | types.ModuleType) or not hasattr(value, "__dict__"):
        return False
    return type(value).__module__.partition(".")[0] not in LIBRARIES | sys.stdlib_module_names
