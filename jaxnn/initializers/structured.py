"""Kernels whose entries depend on one another or on where they stand: identities, rotations, zeros."""

import functools
import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxnn.initializers.distributions import Initializer


def eye(key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Float[Array, "..."]:
    """Returns ones on the diagonal of a matrix and zeros elsewhere: the layer starts as the identity.

    Args:
        key: Unused; there so that all initializers can be called alike.
        shape: ``(in, out)``.
        dtype: Floating dtype of the result.

    Returns:
        The matrix.

    Raises:
        ValueError: If `shape` has not two axes.

    Source: PyTorch's ``nn.init.eye_``.

    >>> eye(jax.random.key(0), (2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    del key
    _require_matrix(shape, "an identity")
    return jnp.eye(shape[0], shape[1], dtype=dtype)


@functools.cache
def dirac(groups: int = 1) -> Initializer:
    """Returns an initializer of convolutions that pass their input on, channel by channel.

    ``W[centre, i, g O/groups + i] = 1`` for every group g and ``i < min(I, O/groups)``; zero elsewhere.

    Args:
        groups: Number of groups of the convolution; it must divide the number of outputs.

    Returns:
        A function ``(key, shape, dtype=float32) -> array`` for shapes ``(*window, I, O)``, with one to
        three axes in the window and I inputs per group.

    Raises:
        ValueError: If `groups` is below 1; when called, if `shape` has other axes or the groups do not
            divide its outputs.

    Source: PyTorch's ``nn.init.dirac_``.

    >>> dirac()(jax.random.key(0), (3, 1, 1))[:, 0, 0].tolist()
    [0.0, 1.0, 0.0]
    """
    if groups < 1:
        raise ValueError(f"`groups` is {groups}: there must be at least 1.")

    def init(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "..."]:
        del key
        if not 3 <= len(shape) <= 5:
            raise ValueError(
                f"`shape` is {shape}: it must be that of a convolution in 1 to 3 dimensions, (*window, I, O)."
            )
        *window, num_inputs, num_outputs = shape
        if num_outputs % groups:
            raise ValueError(f"`groups` is {groups}: it must divide the {num_outputs} outputs of {shape}.")
        block = jnp.eye(num_inputs, num_outputs // groups, dtype=dtype)
        centre = tuple(size // 2 for size in window)
        return jnp.zeros(shape, dtype).at[centre].set(jnp.tile(block, (1, groups)))

    return init


@functools.cache
def orthogonal(gain: float = 1.0) -> Initializer:
    """Returns an initializer that draws a (semi-)orthogonal matrix uniformly and multiplies it by `gain`.

    Of the kernel as a matrix of ``|window| I`` rows and O columns, ``K^T K = gain^2`` if there are at
    least as many rows as columns, ``K K^T = gain^2`` otherwise. Each entry has mean 0 and variance
    ``gain^2 / max(|window| I, O)``.

    Args:
        gain: Factor on all entries; see `calculate_gain`.

    Returns:
        A function ``(key, shape, dtype=float32) -> array`` for shapes ``(*window, I, O)``. Dtypes below
        float32 are drawn in float32 and rounded.

    Raises:
        ValueError: When called, if `shape` has fewer than two axes.

    Differs: Flax draws recurrent kernels this way, PyTorch from U(-1/sqrt(H), 1/sqrt(H)).

    Source: PyTorch's ``nn.init.orthogonal_``; Saxe et al. 2014, Exact solutions to the nonlinear dynamics
    of learning in deep linear neural networks. Uniform draws need the signs of R's diagonal: Mezzadri
    2007, How to generate random matrices from the classical compact groups.

    >>> kernel = orthogonal(2.0)(jax.random.key(0), (5, 3))
    >>> bool(jnp.allclose(kernel.T @ kernel, 4 * jnp.eye(3), atol=1e-5))
    True
    """
    draw = jax.nn.initializers.orthogonal(gain, column_axis=-1)

    def init(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "..."]:
        if len(shape) < 2:
            raise ValueError(f"`shape` is {shape}: an orthogonal kernel needs at least 2 axes.")
        wide = jnp.float32 if jnp.dtype(dtype).itemsize < 4 else dtype  # QR knows no narrower one
        return draw(key, shape, wide).astype(dtype)

    return init


@functools.cache
def sparse(sparsity: float, std: float = 0.01) -> Initializer:
    """Returns an initializer whose matrix sends each input to few outputs, drawn from ``std * N(0, 1)``.

    Of the O entries of each input, ``ceil(sparsity O)`` at random places are zero.

    Args:
        sparsity: Share of zeros, 0 to 1.
        std: Standard deviation of the other entries, at least 0.

    Returns:
        A function ``(key, shape, dtype=float32) -> array`` for shapes ``(in, out)``.

    Raises:
        ValueError: If an argument is out of its range; when called, if `shape` has not two axes.

    Differs: PyTorch's matrices are ``(out, in)``, so the zeros that it counts in each column are counted
    in each row here.

    Source: PyTorch's ``nn.init.sparse_``; Martens 2010, Deep learning via Hessian-free optimization,
    section 5.

    >>> int((sparse(0.5)(jax.random.key(0), (3, 4)) == 0).sum())
    6
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"`sparsity` is {sparsity}: the share of zeros must lie between 0 and 1.")
    if not std >= 0:
        raise ValueError(f"`std` is {std}: a standard deviation must be at least 0.")

    def init(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "..."]:
        _require_matrix(shape, "a sparse kernel")
        values, places = jax.random.split(key)
        num_zeros = math.ceil(sparsity * shape[1])
        kept = jnp.broadcast_to(jnp.arange(shape[1]) >= num_zeros, shape)
        shuffled = jax.random.permutation(places, kept, axis=1, independent=True)
        return jnp.where(shuffled, std * jax.random.normal(values, shape, dtype), jnp.zeros((), dtype))

    return init


def _require_matrix(shape: tuple[int, ...], what: str) -> None:
    if len(shape) != 2:
        raise ValueError(f"`shape` is {shape}: {what} must have 2 axes, (in, out).")
