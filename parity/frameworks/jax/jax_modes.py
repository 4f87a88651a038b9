"""The arguments that put a JAX model in inference mode, or in training mode."""

import functools
import inspect

import jax

from parity.frameworks.jax.functional import KEYS, MODES, Modes
from parity.frameworks.jax.libraries import DrawsNumbers, Library, SwitchedByCallers, library_of
from parity.numerics.arrays import Arrays


def chosen_modes(model: object, inputs: Arrays, *, drawing: bool = False) -> tuple[Modes, tuple[str, ...]]:
    """Arguments that put a model in inference mode, and the same in words.

    Args:
        model: of any library.
        inputs: arrays by argument name; what is among them is no mode.
        drawing: whether its random draws are compared: then the arguments put it in training mode.

    Returns:
        The arguments by name; a note for each that differs from its default.
    """
    library = library_of(model)
    try:
        signature = inspect.signature(library.called(model))
    except (TypeError, ValueError):  # builtins and some compiled callables have no signature
        return {}, ()
    chosen = model.keywords if isinstance(model, functools.partial) else {}
    modes: dict[str, object] = {}
    notes = []
    for name, parameter in signature.parameters.items():
        if name in inputs or name in chosen or parameter.kind is parameter.POSITIONAL_ONLY:
            continue
        required = parameter.default is parameter.empty
        if name in MODES and (
            required
            or parameter.default is (MODES[name] is drawing)
            or (parameter.default is None and _is_the_callers(library, model, name))
        ):
            modes[name] = MODES[name] is not drawing
            notes.append(f"the JAX model was run with {name}={modes[name]}")
        elif (
            name in KEYS
            and (required or (drawing and parameter.default is None))
            and isinstance(library, DrawsNumbers)
        ):
            key = library.random_key(name)
            modes[name] = jax.random.key(0) if key is None else key
    return modes, tuple(notes)


def _is_the_callers(library: Library, model: object, name: str) -> bool:
    """Whether a mode without a value must come from the caller."""
    return isinstance(library, SwitchedByCallers) and library.wants_mode(model, name)
