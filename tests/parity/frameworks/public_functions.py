"""The public functions of JAX, enumerated from its own modules, and arguments to call them with."""

import importlib
import pkgutil
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.scipy
import numpy as np

ROOMS = ("jax.lax", "jax.numpy", "jax.numpy.linalg", "jax.numpy.fft", "jax.nn")
"""Modules whose functions are gone through, besides `jax.scipy` and all below it."""


class Given(NamedTuple):
    """Arguments that calls are made of; all are traced."""

    x: Any = np.linspace(0.2, 0.9, 9, dtype=np.float32).reshape(3, 3) + np.eye(3, dtype=np.float32)
    y: Any = np.float32([[0.7, 0.35, 0.9], [0.15, 0.8, 0.25], [0.45, 0.55, 0.6]])
    z: Any = np.float32([[1.3, 1.7, 1.1], [1.9, 1.2, 1.6], [1.4, 1.8, 1.5]])
    v: Any = np.float32([0.3, -0.8, 0.5, 0.9, -0.2, 0.4])
    image: Any = np.sin(np.arange(50, dtype=np.float32)).reshape(1, 2, 5, 5)
    kernel: Any = np.cos(np.arange(24, dtype=np.float32)).reshape(3, 2, 2, 2)
    i: Any = np.int32([2, 1, 2])
    j: Any = np.int32([0, 1, 1])
    c: Any = np.complex64(
        [[1 + 0.3j, 0.2 - 0.7j, 0.5j], [0.4, 1.1 - 0.1j, 0.3 + 0.2j], [0.1, 0.25j, 0.9 + 0.6j]]
    )


GIVEN = Given()

Call = Callable[[Callable[..., Any], Given], Any]
"""`call(function, given)`: one way of calling a function."""

USUAL: Sequence[Call] = (
    lambda f, a: f(a.x),
    lambda f, a: f(a.x, a.y),
    lambda f, a: f(a.x, a.y, a.z),
    lambda f, a: f(a.x, a.y, a.z, a.y),
    lambda f, a: f(a.i),
    lambda f, a: f(a.i, a.j),
    lambda f, a: f(a.i, a.j, a.i),
)
"""Calls that are tried in this order; the first that traces is taken."""

COMPLEX: Sequence[Call] = (lambda f, a: f(a.c), lambda f, a: f(a.c, a.c.T), lambda f, a: f(a.x, a.c))
"""The same for complex arguments, of functions that take them."""


def public_functions() -> dict[str, Callable[..., Any]]:
    """Every public callable of the modules that is no type, by its full name."""
    below = [m.name for m in pkgutil.walk_packages(jax.scipy.__path__, "jax.scipy.")]
    return {f"{module}.{name}": value for module in (*ROOMS, *below) for name, value in _callables(module)}


def _callables(module: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, value in sorted(vars(importlib.import_module(module)).items()):
        if not name.startswith("_") and callable(value) and not isinstance(value, type | types.ModuleType):
            yield name, value


def program(function: Callable[..., Any], call: Call) -> Callable[..., list[Any]]:
    """A call as a function of `GIVEN`'s arrays, which returns arrays alone."""

    def run(*arrays: Any) -> list[Any]:
        return jax.tree.leaves(call(function, Given(*arrays)))

    return run


def usual_call(function: Callable[..., Any], calls: Sequence[Call] = USUAL) -> Call | None:
    """The first of some calls that a function takes; None if it takes none of them."""
    for call in calls:
        try:
            if jax.eval_shape(program(function, call), *GIVEN):
                return call
        except Exception:
            continue
    return None
