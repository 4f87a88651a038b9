"""The libraries that JAX models are written with: which one an object belongs to.

A library is a module of this package, and a new one is such a module and nothing else: `Library` says what
must be in it, `DrawsNumbers`, `SwitchedByCallers` and `HoldsParams` what may. A module never imports its
library for another's model: it looks for it among the modules that the user's program has loaded.
"""

import enum
import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from jaxtyping import PyTree

from parity.frameworks.jax.functional import Functional, Modes
from parity.frameworks.task import type_in_words
from parity.numerics.arrays import Arrays


class KnownBy(enum.IntEnum):
    """What a library knows its models by; the surest sign is looked for first."""

    CLASS = 1
    """A class of its own."""

    ATTRIBUTES = 2
    """Functions that the model has, whatever its class."""

    BEING_CALLABLE = 3
    """That it can be called: what no other library owns."""


@runtime_checkable
class Library(Protocol):
    """What a module of this package must define.

    Attributes:
        KNOWN_BY: when the library is asked whether it owns a model.
        PACKAGES: names by which the library is imported. Their files are never the place of a fault, and
            reports print their versions.
    """

    KNOWN_BY: KnownBy
    PACKAGES: tuple[str, ...]

    def owns(self, model: object) -> bool:
        """Whether a model is the library's.

        Args:
            model: any object.
        """

    def called(self, model: Any) -> Callable[..., object]:
        """The function whose arguments are the model's inputs.

        Args:
            model: one that this library owns.
        """

    def open_model(
        self,
        model: Any,
        params: PyTree | None,
        inputs: Arrays | None,
        modes: Modes,
        drawing: bool = False,
    ) -> Functional:
        """Make a model a pure function of its weights.

        Args:
            model: one that this library owns; it is never changed.
            params: its weights, or their shapes; None for those that it has or makes.
            inputs: arrays by argument name; None if they are not known.
            modes: arguments that put the model in inference mode, or in training mode.
            drawing: whether its random draws are compared: then none is switched off. Passed only then.
        """


@runtime_checkable
class DrawsNumbers(Protocol):
    """A library whose models may ask for a random key that is none of their inputs."""

    def random_key(self, name: str) -> object:
        """What an argument for random numbers gets, None for any key.

        Args:
            name: of the argument.
        """


@runtime_checkable
class SwitchedByCallers(Protocol):
    """A library whose modes are set on the module or by its caller."""

    def wants_mode(self, model: Any, name: str) -> bool:
        """Whether the caller must give a mode whose default is None.

        Args:
            model: one that this library owns.
            name: of the mode.
        """


@runtime_checkable
class HoldsParams(Protocol):
    """A library whose modules may be the params of a function."""

    def open_function(
        self, function: Callable[..., PyTree], module: Any, drawing: bool = False
    ) -> Functional:
        """Open a function together with such a module.

        Args:
            function: `function(module, *inputs)`.
            module: one that this library owns.
            drawing: as in `Library.open_model`.
        """


@functools.cache
def libraries() -> tuple[Library, ...]:
    """The modules of this package, in the order in which they are asked.

    Raises:
        TypeError: if one lacks what `Library` demands, naming it.
    """
    found = []
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        if not isinstance(module, Library):
            raise TypeError(
                f"{module.__name__} is no library of JAX: it must define KNOWN_BY, PACKAGES, owns, called "
                "and open_model"
            )
        found.append(module)
    return tuple(sorted(found, key=lambda library: library.KNOWN_BY))


@functools.cache
def library_packages() -> frozenset[str]:
    """Names by which the libraries are imported."""
    return frozenset(package for library in libraries() for package in library.PACKAGES)


def library_of(model: object) -> Library:
    """The first library that owns a model.

    Args:
        model: any object.

    Raises:
        TypeError: if none does.
    """
    for library in libraries():
        if library.owns(model):
            return library
    raise TypeError(
        f"the JAX model is {type_in_words(model)}; it must be a module of Flax or Equinox, or a function "
        "f(params, *inputs)"
    )
