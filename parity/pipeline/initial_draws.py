"""Initial models drawn one after the other, each from a seed of its own, and read as named weights."""

import contextlib
import inspect
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from parity.frameworks.model import Model
from parity.frameworks.opening import framework_of, open_model
from parity.frameworks.task import type_in_words
from parity.report.errors import raised_by

Role = Literal["reference", "candidate"]

SEEDED = ("key", "rng", "rngs", "prng_key", "seed")
"""Arguments that get the draw's seed, in the form that their name says, even where they have a default."""


class Factory(NamedTuple):
    """What builds a fresh model.

    Attributes:
        build: the user's function or class.
        role: which side it is.
        argument: what it takes: (its name, or "" for one that is given by position; what kind of seed); None
            where it takes nothing.
    """

    build: Callable[..., object]
    role: Role
    argument: tuple[str, str] | None

    @classmethod
    def of(cls, given: object, role: Role) -> "Factory":
        """Check what the user gave, and see what it takes.

        Args:
            given: a function or class that takes nothing, or a key or seed.
            role: which side it is.

        Raises:
            TypeError: if it is a model, or takes something else, saying what to give instead.
        """
        if model := _model_in_words(given):
            raise TypeError(
                f"the {role} is {model} that exists already, which is one draw of its weights; give what "
                f"builds a new one: {_EXAMPLE[model.partition(' ')[0]]}"
            )
        if not callable(given):
            raise TypeError(
                f"the {role} is {type_in_words(given)}; it must be a function or class that builds a new "
                "model, such as `lambda: Net()` or `lambda key: init(key)`"
            )
        return cls(given, role, _argument(given, role))

    def draw(self, seed: int) -> Model:
        """The model of one seed, opened.

        Args:
            seed: of PyTorch's, NumPy's and Python's global generators, and of the key that is passed.

        Raises:
            TypeError: if something is returned that is no model and holds no weights.
        """
        args: tuple[object, ...] = ()
        kwargs: dict[str, object] = {}
        if self.argument is not None:
            name, kind = self.argument
            value = _SEEDS[kind](seed)
            args, kwargs = ((), {name: value}) if name else ((value,), {})
        _seed_globals(seed)
        with raised_by(self.role, "while its initial weights were drawn"), _default_dtype():
            built = self.build(*args, **kwargs)
        return _opened(built, self.role)


_EXAMPLE = {
    "a": "`lambda: Net(...)`, or the class itself",  # a PyTorch module
    "an": "`lambda key: Net(rngs=nnx.Rngs(key))` in NNX, `lambda key: Net(key=key)` in Equinox, and "
    "`lambda key: module.init(key, x)` in Linen",  # an object of JAX's libraries
}


def _model_in_words(given: object) -> str:
    """What a model is, if this is one and not what builds one; else ""."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.nn.Module):
        return f"a PyTorch module ({type(given).__name__})"
    if "jax" in sys.modules and not isinstance(given, type) and _is_module_of_jax(given):
        return f"an {type(given).__name__} of JAX's libraries"
    return ""


def _is_module_of_jax(given: object) -> bool:
    from parity.frameworks.jax.libraries import KnownBy, libraries

    return any(one.owns(given) for one in libraries() if one.KNOWN_BY is KnownBy.CLASS)


def _argument(build: Callable[..., object], role: Role) -> tuple[str, str] | None:
    try:
        if isinstance(build, type):  # a metaclass, as that of NNX, hides what the class takes
            parameters = list(
                inspect.signature(type.__getattribute__(build, "__init__")).parameters.values()
            )[1:]
        else:
            parameters = list(inspect.signature(build).parameters.values())
    except (TypeError, ValueError):  # a builtin
        return None
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    required = [p for p in named if p.default is p.empty]
    if len(required) > 1:
        names = ", ".join(f"`{p.name}`" for p in required)
        raise TypeError(
            f"the {role} needs {names}; it must take nothing, or one key or seed: bind the others, as in "
            "`lambda key: Net(8, 16, key=key)`"
        )
    chosen = required or [p for p in named if p.name in SEEDED][:1]
    if not chosen:
        return None
    parameter = chosen[0]
    kind = {"seed": "seed", "rngs": "rngs"}.get(parameter.name, "key")
    # A function of NumPy arrays is told by the modules that its code names: here it is about its argument.
    unnamed = kind == "key" and parameter.name not in SEEDED
    if unnamed and framework_of(build, {"": np.zeros(1)}, "JAX") == "PyTorch":
        kind = "seed"
    return ("" if parameter.kind is parameter.POSITIONAL_ONLY else parameter.name), kind


def _key(seed: int) -> object:
    import jax

    return jax.random.key(seed)


def _rngs(seed: int) -> object:
    from flax import nnx

    return nnx.Rngs(seed)


_SEEDS: Mapping[str, Callable[[int], object]] = {"seed": int, "key": _key, "rngs": _rngs}


def _seed_globals(seed: int) -> None:
    """Seed the generators that `pinned` restores."""
    np.random.seed(seed)  # noqa: NPY002 (models may draw from it)
    random.seed(seed)
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_initialized():
            torch.manual_seed(seed)
        else:  # without its notes on where the other devices were to be seeded from
            torch.default_generator.manual_seed(seed)


@contextlib.contextmanager
def _default_dtype() -> Iterator[None]:
    """PyTorch's default dtype is as before, whatever the user's function sets."""
    if "torch" not in sys.modules:
        yield
        return
    import torch

    before = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _opened(built: Any, role: Role) -> Model:
    default = "PyTorch" if role == "reference" else "JAX"
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(built, torch.nn.Module):
        return open_model(built, None, {}, role=role)
    if "jax" in sys.modules and _is_module_of_jax(built) and hasattr(built, "init_with_output"):
        raise TypeError(
            f"the {role} returned a Flax Linen module, which holds no weights; return its variables: "
            "`lambda key: module.init(key, x)`"
        )
    model = None if built is None else open_model(_returned, built, {}, default=default, role=role)
    if model is None or not model.weights:
        what = "None" if built is None else f"a {type(built).__name__} without floating weights"
        raise TypeError(
            f"the {role} returned {what}; it must return a module, or its params as a pytree of arrays"
        )
    return model


def _returned(params: object) -> object:
    """Stands for a model of which there are only the params."""
    return params
