"""JAX operations as they would stand in code: for scripts that compute again what a program computed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

SIGNS = {
    "add": "+",
    "add_any": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "pow": "**",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "eq": "==",
    "ne": "!=",
    "and": "&",
    "or": "|",
}
"""Operations written with a sign."""

CALLS: Mapping[str, Callable[[Sequence[str], Mapping[str, Any]], str]] = {
    "neg": lambda x, p: f"-{x[0]}",
    "not": lambda x, p: f"~{x[0]}",
    "max": lambda x, p: f"jnp.maximum({x[0]}, {x[1]})",
    "min": lambda x, p: f"jnp.minimum({x[0]}, {x[1]})",
    "integer_pow": lambda x, p: f"{x[0]} ** {p['y']}",
    "logistic": lambda x, p: f"jax.nn.sigmoid({x[0]})",
    "select_n": lambda x, p: f"jax.lax.select_n({', '.join(x)})",
    "clamp": lambda x, p: f"jax.lax.clamp({', '.join(x)})",
    "stop_gradient": lambda x, p: x[0],
    "copy": lambda x, p: x[0],
    "copy_p": lambda x, p: x[0],
    "transpose": lambda x, p: f"jnp.transpose({x[0]}, {_ints(p['permutation'])})",
    "reshape": lambda x, p: f"jnp.reshape({x[0]}, {_ints(p['new_sizes'])})",
    "squeeze": lambda x, p: f"jnp.squeeze({x[0]}, {_ints(p['dimensions'])})",
    "expand_dims": lambda x, p: f"jnp.expand_dims({x[0]}, {_ints(p['dimensions'])})",
    "broadcast_in_dim": lambda x, p: (
        f"jax.lax.broadcast_in_dim({x[0]}, {_ints(p['shape'])}, {_ints(p['broadcast_dimensions'])})"
    ),
    "rev": lambda x, p: f"jnp.flip({x[0]}, {_ints(p['dimensions'])})",
    "concatenate": lambda x, p: f"jnp.concatenate([{', '.join(x)}], axis={int(p['dimension'])})",
    "slice": lambda x, p: f"{x[0]}[{_cuts(p)}]",
    "convert_element_type": lambda x, p: f"{x[0]}.astype({str(np.dtype(p['new_dtype']))!r})",
    "reduce_sum": lambda x, p: f"jnp.sum({x[0]}, axis={_ints(p['axes'])})",
    "reduce_max": lambda x, p: f"jnp.max({x[0]}, axis={_ints(p['axes'])})",
    "reduce_min": lambda x, p: f"jnp.min({x[0]}, axis={_ints(p['axes'])})",
    "reduce_prod": lambda x, p: f"jnp.prod({x[0]}, axis={_ints(p['axes'])})",
    "dot_general": lambda x, p: f"jax.lax.dot_general({x[0]}, {x[1]}, {_plain(p['dimension_numbers'])})",
    "scan_slice": lambda x, p: f"{x[0]}[{int(p['index'])}]",
    "scan_stack": lambda x, p: f"jnp.stack([{', '.join(x)}])",
    "iota": lambda x, p: (
        f"jax.lax.broadcasted_iota({str(np.dtype(p['dtype']))!r}, {_ints(p['shape'])}, {int(p['dimension'])})"
    ),
    "conv_general_dilated": lambda x, p: (
        f"jax.lax.conv_general_dilated({x[0]}, {x[1]}, window_strides={_ints(p['window_strides'])}, "
        f"padding={_plain(p['padding'])}, lhs_dilation={_ints(p['lhs_dilation'])}, "
        f"rhs_dilation={_ints(p['rhs_dilation'])}, "
        f"dimension_numbers=jax.lax.ConvDimensionNumbers{_plain(tuple(p['dimension_numbers']))}, "
        f"feature_group_count={p['feature_group_count']}, batch_group_count={p['batch_group_count']})"
    ),
    "reduce_and": lambda x, p: f"jnp.all({x[0]}, axis={_ints(p['axes'])})",
    "reduce_or": lambda x, p: f"jnp.any({x[0]}, axis={_ints(p['axes'])})",
    "argmax": lambda x, p: (
        f"jax.lax.argmax({x[0]}, {int(p['axes'][0])}, {str(np.dtype(p['index_dtype']))!r})"
    ),
    "argmin": lambda x, p: (
        f"jax.lax.argmin({x[0]}, {int(p['axes'][0])}, {str(np.dtype(p['index_dtype']))!r})"
    ),
    "cumsum": lambda x, p: f"jax.lax.cumsum({x[0]}, {int(p['axis'])}, {p['reverse']})",
    "cumprod": lambda x, p: f"jax.lax.cumprod({x[0]}, {int(p['axis'])}, {p['reverse']})",
    "cummax": lambda x, p: f"jax.lax.cummax({x[0]}, {int(p['axis'])}, {p['reverse']})",
    "pad": lambda x, p: f"jax.lax.pad({x[0]}, {x[1]}, {_plain(p['padding_config'])})",
    "tile": lambda x, p: f"jnp.tile({x[0]}, {_ints(p['reps'])})",
    "stack": lambda x, p: f"jnp.stack([{', '.join(x)}], axis={int(p['axis'])})",
    "split": lambda x, p: f"jax.lax.split({x[0]}, {_ints(p['sizes'])}, {int(p['axis'])})",
    "sort": lambda x, p: (
        f"jax.lax.sort(({', '.join(x)},), dimension={int(p['dimension'])}, num_keys={p['num_keys']})"
    ),
    "dynamic_slice": lambda x, p: (
        f"jax.lax.dynamic_slice({x[0]}, ({', '.join(x[1:])},), {_ints(p['slice_sizes'])})"
    ),
    "gather": lambda x, p: (
        f"jax.lax.gather({x[0]}, {x[1]}, {_dimensions(p)}, {_ints(p['slice_sizes'])}, mode={_mode(p)})"
    ),
    "scatter": lambda x, p: f"jax.lax.scatter({', '.join(x)}, {_dimensions(p)}, mode={_mode(p)})",
    "scatter-add": lambda x, p: f"jax.lax.scatter_add({', '.join(x)}, {_dimensions(p)}, mode={_mode(p)})",
    "reduce_window_max": lambda x, p: _window(x, p, "-jnp.inf", "max"),
    "reduce_window_sum": lambda x, p: _window(x, p, "0.0", "add"),
    "reduce_window_min": lambda x, p: _window(x, p, "jnp.inf", "min"),
}
"""Operations as they would stand in code."""

NAMED = frozenset(
    {"exp", "exp2", "log", "log1p", "expm1", "sqrt", "rsqrt", "square", "cbrt", "abs", "sign", "rem"}
    | {
        "tanh",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "atan2",
        "sinh",
        "cosh",
        "asinh",
        "acosh",
        "atanh",
    }
    | {"erf", "erfc", "erf_inv", "lgamma", "digamma", "floor", "ceil", "round", "is_finite"}
)
"""Operations of the same name in `jax.lax`."""


SEVERAL = frozenset({"split", "sort", "svd", "qr", "eigh", "lu", "top_k"})
"""Operations whose result is a tuple, also of one."""


def expression(operation: str, given: Sequence[str], params: Mapping[str, Any]) -> str | None:
    """One operation as an expression; None if its settings cannot be written down.

    Args:
        operation: name of the LAX primitive.
        given: names of the operands.
        params: its parameters.

    Returns:
        Python that needs `jax` and `jnp`.
    """
    import jax

    if operation in SIGNS:
        return f"{given[0]} {SIGNS[operation]} {given[1]}"
    if operation in CALLS:
        return CALLS[operation](given, params)
    if operation in NAMED:
        return f"jax.lax.{operation}({', '.join(given)})"
    name = f"{operation.replace('-', '_')}_p"
    settings = {k: v for k, v in params.items() if v is not None}
    if hasattr(jax.lax, name) and all(_writable(v) for v in settings.values()):
        said = "".join(f", {k}={_plain(params[k])!r}" for k in params)
        return f"jax.lax.{name}.bind({', '.join(given)}{said})"
    return None


def _writable(value: object) -> bool:
    if isinstance(value, list | tuple):
        return type(value) in (list, tuple) and all(_writable(v) for v in value)
    return isinstance(value, bool | int | float | str | np.integer)


def _plain(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(_plain(v) for v in value)
    return int(value) if isinstance(value, np.integer) else value


def _ints(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


def _cuts(params: Mapping[str, Any]) -> str:
    strides = params["strides"] or [1] * len(params["start_indices"])
    cuts = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return ", ".join(f"{int(a)}:{int(b)}" + (f":{int(s)}" if s != 1 else "") for a, b, s in cuts)


def _dimensions(params: Mapping[str, Any]) -> str:
    """The dimension numbers of a gather or scatter."""
    numbers = params["dimension_numbers"]
    fields = ", ".join(f"{name}={_plain(value)}" for name, value in numbers._asdict().items())
    return f"jax.lax.{type(numbers).__name__}({fields})"


def _mode(params: Mapping[str, Any]) -> str:
    """What happens to an index that is out of range."""
    return f"jax.lax.GatherScatterMode.{params['mode'].name}"


def _window(given: Sequence[str], params: Mapping[str, Any], start: str, reducer: str) -> str:
    names = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
    settings = ", ".join(str(_plain(tuple(params[name]))) for name in names)
    return f"jax.lax.reduce_window({given[0]}, {start}, jax.lax.{reducer}, {settings})"
