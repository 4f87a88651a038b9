"""What the losses require of their arguments, and the forms in which they read them."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

__all__ = [
    "Number",
    "class_axis",
    "expand_weight",
    "read_indices",
    "read_targets",
    "require_equal_shapes",
    "require_indices",
    "require_range",
]

Number = float | int
"""A number of Python's, fixed when a program is compiled."""


def require_equal_shapes(**arrays: Shaped[Array, "..."]) -> None:
    """Raises unless all arrays have the same shape; broadcasting would give a wrong loss silently.

    Args:
        **arrays: By the names that the caller knows them by; the first one sets the shape.

    Raises:
        ValueError: If a shape differs from the first.
    """
    (first, reference), *others = arrays.items()
    for name, array in others:
        if array.shape != reference.shape:
            raise ValueError(
                f"`{name}` has shape {array.shape}, `{first}` {reference.shape}: they must be equal; "
                f"reshape or broadcast one of them."
            )


def require_range(
    name: str, value: Number, *, above: Number | None = None, least: Number | None = None
) -> None:
    """Raises unless a number is large enough.

    Args:
        name: What the caller knows it by.
        value: The number.
        above: It must be greater than this.
        least: It must be at least this.

    Raises:
        ValueError: If it is not.
    """
    if above is not None and not value > above:
        raise ValueError(f"`{name}` is {value}: it must be greater than {above}; give a larger one.")
    if least is not None and not value >= least:
        raise ValueError(f"`{name}` is {value}: it must be at least {least}; give a larger one.")


def require_indices(name: str, array: Shaped[Array, "..."]) -> None:
    """Raises unless an array has an integer dtype.

    Args:
        name: What the caller knows it by.
        array: Class indices or lengths.

    Raises:
        TypeError: If its dtype is not an integer one.
    """
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"`{name}` has shape {array.shape} and dtype {array.dtype}: it must hold integers; "
            f"convert it with `astype(int)`."
        )


def read_targets(target: Shaped[Array, "..."], input: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns targets of any dtype in that of the inputs."""
    return target.astype(input.dtype)


def read_indices(
    indices: Shaped[Array, "*shape"], num_classes: int
) -> tuple[Int[Array, "*shape"], Bool[Array, "*shape"]]:
    """Returns the indices, with 0 in place of those that are no class, and which are one.

    Args:
        indices: Integers of any width.
        num_classes: K: classes are 0..K-1.

    Returns:
        The safe indices, and a mask of those that were classes to begin with.
    """
    valid = (indices >= 0) & (indices < num_classes)
    return jnp.where(valid, indices, jnp.zeros_like(indices)), valid


def class_axis(input: Shaped[Array, "..."]) -> int:
    """Returns the axis of the classes: 1, or 0 for a single sample of shape (C,).

    Args:
        input: Scores of shape (C,), (N, C) or (N, C, d1, ...).

    Returns:
        The axis.

    Raises:
        ValueError: If `input` is a scalar.
    """
    if input.ndim == 0:
        raise ValueError(
            "`input` has shape (): it must have an axis of classes, (C,), (N, C) or (N, C, d1, ...); "
            "reshape it."
        )
    return min(1, input.ndim - 1)


def expand_weight(
    name: str, weight: Shaped[Array, "..."] | None, input: Float[Array, "..."]
) -> Float[Array, "..."] | None:
    """Broadcasts a weight to the shape of the inputs, never the inputs to that of the weight.

    Args:
        name: What the caller knows it by.
        weight: Any shape that broadcasts to that of `input`; None stays None.
        input: What the weight goes with.

    Returns:
        The weight in the shape and dtype of `input`.

    Raises:
        ValueError: If its shape does not broadcast.
    """
    if weight is None:
        return None
    try:
        fits = jnp.broadcast_shapes(weight.shape, input.shape) == input.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`{name}` has shape {weight.shape}, `input` {input.shape}: the first must broadcast to the "
            f"second; reshape it."
        )
    return jnp.broadcast_to(weight.astype(input.dtype), input.shape)
