"""Which framework a JAX model is of, and the arguments that put it in inference mode."""

import functools
import inspect
from typing import Any

from parity.frameworks.jax.libraries import is_floating, loaded
from parity.frameworks.jax.trees import flatten
from parity.numerics.arrays import Arrays

MODES = {
    "train": False,
    "training": False,
    "is_training": False,
    "is_train": False,
    "deterministic": True,
    "use_running_average": True,
    "inference": True,
}
"""Arguments that switch between training and inference, and what they are set to."""

KEYS = ("key", "rng", "rngs", "prng_key")
"""Arguments that random numbers are drawn from; inference draws none."""


def inference_modes(model: Any, inputs: Arrays) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Arguments that put a model in inference mode, and the same in words."""
    import jax

    kind = framework_of(model)
    if kind:
        called = type(module_of(model[0] if isinstance(model, tuple) else model)).__call__
    else:
        called = model.apply if hasattr(model, "apply") else model
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # no signature, or not callable at all
        return {}, ()
    chosen = model.keywords if isinstance(model, functools.partial) else {}
    modes: dict[str, Any] = {}
    notes = []
    for name, parameter in signature.parameters.items():
        if name in inputs or name in chosen or parameter.kind is parameter.POSITIONAL_ONLY:
            continue
        required = parameter.default is parameter.empty
        if name in MODES and (
            required
            or parameter.default is (not MODES[name])
            # Linen wants a mode either from the module or from its caller, never from both.
            or (
                kind == "linen"
                and parameter.default is None
                and getattr(module_of(model), name, None) is None
            )
        ):
            modes[name] = MODES[name]
            notes.append(f"the JAX model was run with {name}={MODES[name]}")
        elif name in KEYS and required and kind:
            nnx = loaded("flax.nnx")
            modes[name] = nnx.Rngs(0) if name == "rngs" and nnx is not None else jax.random.key(0)
    return modes, tuple(notes)


def framework_of(model: Any) -> str:
    """Whose module a model is: "nnx", "linen" or "equinox"; "" for none of theirs."""
    nnx, linen, equinox = loaded("flax.nnx"), loaded("flax.linen"), loaded("equinox")
    if nnx is not None and isinstance(model, nnx.Module):
        return "nnx"
    if linen is not None and isinstance(module_of(model), linen.Module):
        return "linen"
    if equinox is not None:
        if isinstance(model, tuple) and len(model) == 2 and isinstance(model[1], equinox.nn.State):
            return "equinox"
        # Wrappers such as eqx.filter_jit(f) are Equinox modules, too, but hold functions and no arrays.
        wrapper = type(model).__module__.startswith("equinox._")
        if isinstance(model, equinox.Module) and (not wrapper or _has_weights(model)):
            return "equinox"
    return ""


def module_of(model: Any) -> Any:
    """The module behind `module.apply`, compiled or not; anything else as it is."""
    while hasattr(model, "lower") and hasattr(model, "__wrapped__"):
        model = model.__wrapped__
    return model.__self__ if getattr(model, "__name__", "") == "apply" and inspect.ismethod(model) else model


def _has_weights(model: Any) -> bool:
    return any(map(is_floating, flatten(model)[0].values()))
