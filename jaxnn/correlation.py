"""The correlation of images with a kernel, in the form that suits the platform.

Images are (N, H, W, C), padded; kernels (I, J, C, K); outputs (N, P, Q, K). With strides (s, t) the output
has P = (H - I) // s + 1 rows and Q = (W - J) // t + 1 columns:

    y[n, p, q, k] = sum_{i, j, c} w[i, j, c, k] x[n, s p + i, t q + j, c]
"""

import functools
import operator

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

__all__ = ["by_slices", "by_xla", "correlate"]


@functools.partial(jax.jit, static_argnames="strides")  # compiled once also where the caller is not
def correlate(
    x: Float[Array, "N H W C"], kernel: Float[Array, "I J C K"], strides: tuple[int, int]
) -> Float[Array, "N P Q K"]:
    """Correlates padded images with a kernel, in the form that suits the platform compiled for.

    XLA's convolution is ten times slower inside a loop on CPU than one matrix product over the window's
    slices; accelerators have fast convolutions. Measured: docs/speed.md.
    """
    y: Array = lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: by_slices(x, kernel, strides),
        default=lambda x, kernel: by_xla(x, kernel, strides),
    )
    return y


def by_xla(
    x: Float[Array, "N H W C"], kernel: Float[Array, "I J C K"], strides: tuple[int, int]
) -> Float[Array, "N P Q K"]:
    """Correlates padded images with a kernel by XLA's own convolution."""
    return lax.conv_general_dilated(x, kernel, strides, "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def by_slices(
    x: Float[Array, "N H W C"], kernel: Float[Array, "I J C K"], strides: tuple[int, int]
) -> Float[Array, "N P Q K"]:
    """Correlates padded images with a kernel: a slice per pixel of the window, then one product.

    Its derivative says how it is computed, not what it is: XLA is slow where slices are added up again.
    """
    return _weigh(_windows(x, kernel.shape, strides), kernel)


def _by_slices_jvp(
    strides: tuple[int, int],
    primals: tuple[Array, Array],
    tangents: tuple[Array | SymbolicZero, Array | SymbolicZero],
) -> tuple[Array, Array]:
    """The derivatives by what varies, one of the two at least: JAX does not ask otherwise.

    Images that do not vary, such as a first layer's, cost nothing.
    """
    (x, kernel), (x_dot, kernel_dot) = primals, tangents
    windows = _windows(x, kernel.shape, strides)
    terms = []
    if not isinstance(x_dot, SymbolicZero):
        terms.append(_scatter(x_dot, kernel, strides, windows.shape[1:3]))
    if not isinstance(kernel_dot, SymbolicZero):
        terms.append(_weigh(windows, kernel_dot))
    return _weigh(windows, kernel), functools.reduce(operator.add, terms)


by_slices.defjvp(_by_slices_jvp, symbolic_zeros=True)


def _deal(x: Float[Array, "N H W C"], strides: tuple[int, int]) -> Float[Array, "N H2 I W2 J C"]:
    """Deals images out by the remainders of their rows and columns, so that a window's slices are blocks."""
    (down, across), (num_samples, height, width, num_channels) = strides, x.shape
    x = jnp.pad(x, ((0, 0), (0, -height % down), (0, -width % across), (0, 0)))
    return x.reshape(num_samples, x.shape[1] // down, down, x.shape[2] // across, across, num_channels)


def _windows(
    x: Float[Array, "N H W C"], kernel_shape: tuple[int, ...], strides: tuple[int, int]
) -> Float[Array, "N P Q F"]:
    """Gathers what the kernel sees at every place, in the order (i, j, c) of a flattened HWIO kernel."""
    (down, across), (height, width, *_) = strides, kernel_shape
    rows, columns = (x.shape[1] - height) // down + 1, (x.shape[2] - width) // across + 1
    dealt = _deal(x, strides).transpose(2, 4, 0, 1, 3, 5)
    window = [
        dealt[i % down, j % across, :, i // down : i // down + rows, j // across : j // across + columns]
        for i in range(height)
        for j in range(width)
    ]
    return jnp.concatenate(window, axis=-1)


def _weigh(windows: Float[Array, "N P Q F"], kernel: Float[Array, "..."]) -> Float[Array, "N P Q K"]:
    """Multiplies windows by a kernel, as matrices: XLA transposes whole images for products of more axes."""
    *places, num_features = windows.shape
    y = windows.reshape(-1, num_features) @ kernel.reshape(num_features, -1)
    return y.reshape(*places, -1)


def _scatter(
    x: Float[Array, "N H W C"],
    kernel: Float[Array, "I J C K"],
    strides: tuple[int, int],
    shape: tuple[int, ...],
) -> Float[Array, "N P Q K"]:
    """Correlates as `_weigh` of `_windows` does, multiplying first and moving the products to their places.

    What matters is its transpose, the gradient by the images: slices of the outputs' gradient side by side
    and one product per remainder, nothing added up.
    """
    (down, across), (height, width, _, num_outputs) = strides, kernel.shape
    last_row, last_column = (height - 1) // down, (width - 1) // across
    terms = []
    for a, row_class in enumerate(lax.split(_deal(x, strides), (1,) * down, axis=2)):
        for b, dealt in enumerate(lax.split(row_class, (1,) * across, axis=4)):
            taps = [(i, j) for i in range(a, height, down) for j in range(b, width, across)]
            if not taps:
                continue
            weights = jnp.concatenate([kernel[i, j] for i, j in taps], axis=-1)
            products = _weigh(dealt.squeeze((2, 4)), weights)
            split = lax.split(products, (num_outputs,) * len(taps), axis=3)
            for (i, j), product in zip(taps, split, strict=True):
                up, left = i // down, j // across
                move = ((0, 0), (last_row - up, up), (last_column - left, left), (0, 0))
                terms.append(jnp.pad(product, move))
    y: Array = functools.reduce(operator.add, terms)
    return y[:, last_row : last_row + shape[0], last_column : last_column + shape[1]]
