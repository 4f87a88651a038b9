"""The libraries that JAX models are written with: which one an object belongs to.

A library is a module of this folder with three functions: `owns(model)`; `called(model)`, the function whose
arguments are the model's inputs; and `open_model(model, params, inputs, modes)`, which makes a `Functional`.
Two more are optional: `wants_mode(model, name)`, where a mode may be set on the module or by its caller; and
`random_key(name)`, what an argument for random numbers gets. A new library is one such module and its place
in `LIBRARIES`. A library is looked up among the modules that are loaded, and never imported for another's
model.
"""

from types import ModuleType
from typing import Any

from parity.frameworks.jax import callables, equinox_module, flax_linen, flax_nnx, init_apply
from parity.frameworks.task import type_in_words

LIBRARIES: tuple[ModuleType, ...] = (flax_nnx, flax_linen, equinox_module, init_apply, callables)
"""In the order in which they are asked."""


def library_of(model: Any) -> ModuleType:
    """The first library that knows a model.

    Args:
        model: any object.

    Raises:
        TypeError: if none does.
    """
    for library in LIBRARIES:
        if library.owns(model):
            return library
    raise TypeError(
        f"the JAX model is {type_in_words(model)}; it must be a module of Flax or Equinox, or a function "
        "f(params, *inputs)"
    )
