"""Calls of those public functions of JAX that the usual arguments do not fit, and what cannot be called."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.parity.frameworks.public_functions import Call, Given

NUMBERS = lax.GatherDimensionNumbers((1,), (0,), (0,))
SCATTERED = lax.ScatterDimensionNumbers((1,), (0,), (0,))
CONV = ("NCHW", "OIHW", "NCHW")


def _over_axis(function: Callable[..., Any]) -> Call:
    """A function of x and an axis name, called under `vmap`, where the axis has one."""
    return lambda f, a: jax.vmap(lambda row: function(f, row), axis_name="rows")(a.x)


def _solve(f: Callable[..., Any], a: Given) -> Any:
    solve = jnp.linalg.solve
    return f(lambda u: a.x @ u, a.y[0], lambda _, b: solve(a.x, b), lambda _, b: solve(a.x.T, b))


LAX: Mapping[str, Call] = {
    "all_gather": _over_axis(lambda f, row: f(row, "rows")),
    "all_to_all": _over_axis(lambda f, row: f(row, "rows", 0, 0)),
    "approx_max_k": lambda f, a: f(a.v, 2),
    "approx_min_k": lambda f, a: f(a.v, 2),
    "argmax": lambda f, a: f(a.x, 1, np.int32),
    "argmin": lambda f, a: f(a.x, 1, np.int32),
    "associative_scan": lambda f, a: f(jnp.multiply, a.x),
    "axis_index": _over_axis(lambda f, row: row * f("rows")),
    "bitcast_convert_type": lambda f, a: f(a.i, np.uint32),
    "broadcast": lambda f, a: f(a.x, (2,)),
    "broadcast_in_dim": lambda f, a: f(a.v, (2, 6), (1,)),
    "broadcast_to_rank": lambda f, a: f(a.v, 3),
    "broadcasted_iota": lambda f, a: f(np.float32, (2, 3), 1) * a.x[:2],
    "collapse": lambda f, a: f(a.x, 0),
    "composite": lambda f, a: f(lambda u: jnp.sin(u) * 2, "house.twice_sine")(a.x),
    "concatenate": lambda f, a: f([a.x, a.y], 0),
    "cond": lambda f, a: f(a.x[0, 0] > 0, jnp.sin, jnp.cos, a.x),
    "conv": lambda f, a: f(a.image, a.kernel, (1, 1), "SAME"),
    "conv_general_dilated": lambda f, a: f(a.image, a.kernel, (2, 1), "VALID"),
    "conv_general_dilated_local": lambda f, a: f(
        a.image, jnp.ones((3, 8, 4, 4), a.x.dtype), (1, 1), "VALID", (2, 2)
    ),
    "conv_general_dilated_patches": lambda f, a: f(a.image, (2, 2), (1, 1), "VALID"),
    "conv_transpose": lambda f, a: f(a.image, a.kernel, (2, 2), "SAME", dimension_numbers=CONV),
    "conv_with_general_padding": lambda f, a: f(a.image, a.kernel, (1, 1), [(1, 0), (0, 1)], None, None),
    "convert_element_type": lambda f, a: f(a.i, np.float32) * a.x,
    "custom_linear_solve": _solve,
    "custom_root": lambda f, a: f(
        lambda u: u * u - a.x, a.x, lambda g, u: jnp.sqrt(u), lambda g, b: b / g(jnp.ones_like(b))
    ),
    "dot_general": lambda f, a: f(a.x, a.y, (((1,), (0,)), ((), ())), precision="F32_F32_F32"),
    "dynamic_index_in_dim": lambda f, a: f(a.x, a.i[0]),
    "dynamic_slice": lambda f, a: f(a.x, (a.i[0], a.j[0]), (1, 2)),
    "dynamic_slice_in_dim": lambda f, a: f(a.x, a.i[1], 2),
    "dynamic_update_index_in_dim": lambda f, a: f(a.x, a.y[0], a.i[1], 0),
    "dynamic_update_slice": lambda f, a: f(a.x, a.y[:1], (a.i[1], a.j[0])),
    "dynamic_update_slice_in_dim": lambda f, a: f(a.x, a.y[:1], a.i[1], 0),
    "empty": lambda f, a: 0 * f((2,), np.int32),
    "expand_dims": lambda f, a: f(a.x, (1,)),
    "fft": lambda f, a: f(a.c, "FFT", (3,)),
    "fori_loop": lambda f, a: f(0, 3, lambda k, u: u * a.x[k], a.y),
    "full": lambda f, a: f((2,), 0.5, np.float32) * a.x[0, 0],
    "full_like": lambda f, a: f(a.x, 0.5),
    "gather": lambda f, a: f(a.x, a.i[:, None], NUMBERS, (1, 3)),
    "imag": lambda f, a: f(a.c),
    "index_in_dim": lambda f, a: f(a.x, 1),
    "index_take": lambda f, a: f(a.x, (a.i,), (0,)),
    "integer_pow": lambda f, a: f(a.x, -3),
    "iota": lambda f, a: f(np.float32, 3) * a.x,
    "map": lambda f, a: f(jnp.sum, a.x),
    "pad": lambda f, a: f(a.x, jnp.float32(0.5) if a.x.dtype == np.float32 else 0.5, ((1, 0, 1), (0, 2, 0))),
    "platform_dependent": lambda f, a: f(a.x, cpu=jnp.sin, default=jnp.cos),
    "pmax": _over_axis(lambda f, row: f(row, "rows")),
    "pmean": _over_axis(lambda f, row: f(row, "rows")),
    "pmin": _over_axis(lambda f, row: f(row, "rows")),
    "ppermute": _over_axis(lambda f, row: f(row, "rows", [(0, 1), (1, 2), (2, 0)])),
    "pshuffle": _over_axis(lambda f, row: f(row, "rows", [1, 2, 0])),
    "psum": _over_axis(lambda f, row: f(row, "rows")),
    "psum_scatter": _over_axis(lambda f, row: f(row, "rows")),
    "pswapaxes": _over_axis(lambda f, row: f(row, "rows", 0)),
    "ragged_dot": lambda f, a: f(a.x, jnp.stack([a.y, a.x]), jnp.array([1, 2], jnp.int32)),
    "ragged_dot_general": lambda f, a: f(
        a.x,
        jnp.stack([a.y, a.x]),
        jnp.array([1, 2], jnp.int32),
        lax.RaggedDotDimensionNumbers((((1,), (1,)), ((), ())), [0], [0]),
    ),
    "real": lambda f, a: f(a.c),
    "reduce": lambda f, a: f(a.x, np.zeros((), a.x.dtype), lambda p, q: p + q * 0.3, (1,)),
    "reduce_and": lambda f, a: f(a.x > 1, (0,)),
    "reduce_max": lambda f, a: f(a.x, (0,)),
    "reduce_min": lambda f, a: f(a.x, (0,)),
    "reduce_or": lambda f, a: f(a.x > 1, (0,)),
    "reduce_precision": lambda f, a: f(a.x, 5, 10),
    "reduce_prod": lambda f, a: f(a.x, (0,)),
    "reduce_sum": lambda f, a: f(a.x, (0,)),
    "reduce_window": lambda f, a: f(a.x, np.ones((), a.x.dtype), lambda p, q: p * q, (2, 2), (1, 1), "VALID"),
    "reduce_xor": lambda f, a: f(a.i, (0,)),
    "reshape": lambda f, a: f(a.x, (9,)),
    "rev": lambda f, a: f(a.x, (0,)),
    "rng_bit_generator": lambda f, a: f(jnp.array([1, 2, 3, 4], jnp.uint32), (3,)),
    "scan": lambda f, a: f(lambda u, row: (u * row + 0.1, u.sum()), a.y[0], a.x),
    "scatter": lambda f, a: f(a.x, a.i[:, None][1:], a.y[1:], SCATTERED),
    "scatter_add": lambda f, a: f(a.x, a.i[:, None], a.y, SCATTERED),
    "scatter_apply": lambda f, a: f(a.x, a.i[:, None][1:], jnp.sin, SCATTERED, update_shape=(2, 3)),
    "scatter_max": lambda f, a: f(a.x, a.i[:, None], a.y, SCATTERED),
    "scatter_min": lambda f, a: f(a.x, a.i[:, None], a.y, SCATTERED),
    "scatter_mul": lambda f, a: f(a.x, a.i[:, None], a.y, SCATTERED),
    "scatter_sub": lambda f, a: f(a.x, a.i[:, None], a.y, SCATTERED),
    "select": lambda f, a: f(a.x > 1, a.x, a.y),
    "select_n": lambda f, a: f(a.j[:, None] + 0 * jnp.arange(3, dtype=a.j.dtype), a.x, a.y),
    "slice": lambda f, a: f(a.x, (0, 1), (2, 3)),
    "slice_in_dim": lambda f, a: f(a.x, 1, 3),
    "split": lambda f, a: f(a.x, (1, 2)),
    "squeeze": lambda f, a: f(a.image, (0,)),
    "switch": lambda f, a: f(a.i[0], [jnp.sin, jnp.cos, jnp.tanh], a.x),
    "tile": lambda f, a: f(a.x, (2, 1)),
    "top_k": lambda f, a: f(a.v, 2),
    "transpose": lambda f, a: f(a.x, (1, 0)),
    "while_loop": lambda f, a: f(lambda u: u[0] < 4, lambda u: (u[0] + 1, u[1] * a.x), (0, a.y)),
}

NUMPY: Mapping[str, Call] = {
    "apply_along_axis": lambda f, a: f(jnp.cumsum, 0, a.x),
    "apply_over_axes": lambda f, a: f(jnp.sum, a.x, [0]),
    "arange": lambda f, a: f(3.0) * a.x,
    "argpartition": lambda f, a: f(a.v, 2),
    "array_split": lambda f, a: f(a.x, 2),
    "astype": lambda f, a: f(a.i, a.x.dtype) * a.v[:3],
    "bartlett": lambda f, a: f(6) * a.v,
    "bincount": lambda f, a: f(a.i, a.v[:3], length=4),
    "blackman": lambda f, a: f(6) * a.v,
    "broadcast_to": lambda f, a: f(a.v, (2, 6)),
    "delete": lambda f, a: f(a.v, 2),
    "diag_indices": lambda f, a: a.x[f(3)],
    "dsplit": lambda f, a: f(a.image[0, :, :, :4], 2),
    "einsum": lambda f, a: f("ij,jk->ik", a.x, a.y),
    "expand_dims": lambda f, a: f(a.x, 1),
    "extract": lambda f, a: f(a.v > 0, a.v, size=3),
    "eye": lambda f, a: f(3) * a.x,
    "fill_diagonal": lambda f, a: f(a.x, 0.3, inplace=False),
    "fromfunction": lambda f, a: f(lambda p, q: p * 0.3 + q, (3, 3)) * a.x,
    "frompyfunc": lambda f, a: f(lambda p, q: p * q + 0.1, nin=2, nout=1, identity=0).outer(a.v, a.v),
    "full": lambda f, a: f((3,), 0.3) * a.x,
    "empty": lambda f, a: 0 * f((3,)) * a.x,
    "hamming": lambda f, a: f(6) * a.v,
    "hanning": lambda f, a: f(6) * a.v,
    "hsplit": lambda f, a: f(a.v, 2),
    "identity": lambda f, a: f(3) * a.x,
    "indices": lambda f, a: f((3, 3)) * a.x,
    "intersect1d": lambda f, a: f(a.i, a.j, size=2),
    "kaiser": lambda f, a: f(6, 14.0) * a.v,
    "moveaxis": lambda f, a: f(a.image, 1, 3),
    "nanquantile": lambda f, a: f(a.x, 0.3),
    "nonzero": lambda f, a: f(a.v > 0, size=3),
    "argwhere": lambda f, a: f(a.v > 0, size=3),
    "flatnonzero": lambda f, a: f(a.v > 0, size=3),
    "ones": lambda f, a: f((3,)) * a.x,
    "pad": lambda f, a: f(a.x, 1, mode="reflect"),
    "partition": lambda f, a: f(a.v, 2),
    "permute_dims": lambda f, a: f(a.x, (1, 0)),
    "place": lambda f, a: f(a.v, a.v > 0, a.x[0], inplace=False),
    "polyfit": lambda f, a: f(a.v, jnp.sin(a.v), 2),
    "put": lambda f, a: f(a.v, a.i[:2], a.x[0, :2], inplace=False),
    "put_along_axis": lambda f, a: f(a.x, a.i[None], 0.3, 0, inplace=False),
    "quantile": lambda f, a: f(a.x, 0.3),
    "ravel_multi_index": lambda f, a: f((a.i, a.j), (3, 3), mode="clip"),
    "repeat": lambda f, a: f(a.x, 2),
    "reshape": lambda f, a: f(a.x, (9,)),
    "resize": lambda f, a: f(a.x, (2, 5)),
    "rollaxis": lambda f, a: f(a.image, 2),
    "roots": lambda f, a: f(a.v, strip_zeros=False),
    "setdiff1d": lambda f, a: f(a.i, a.j, size=2),
    "setxor1d": lambda f, a: f(a.i, a.j, size=3),
    "split": lambda f, a: f(a.v, 2),
    "swapaxes": lambda f, a: f(a.x, 0, 1),
    "tile": lambda f, a: f(a.x, 2),
    "tri": lambda f, a: f(3) * a.x,
    "tril_indices": lambda f, a: a.x[f(3)],
    "triu_indices": lambda f, a: a.x[f(3)],
    "union1d": lambda f, a: f(a.i, a.j, size=4),
    "unique": lambda f, a: f(a.v, size=6),
    "unique_all": lambda f, a: f(a.v, size=6),
    "unique_counts": lambda f, a: f(a.v, size=6),
    "unique_inverse": lambda f, a: f(a.v, size=6),
    "unique_values": lambda f, a: f(a.v, size=6),
    "unpackbits": lambda f, a: f(a.i.astype(np.uint8)),
    "vectorize": lambda f, a: f(lambda u: u.sum(), signature="(n)->()")(a.x),
    "vsplit": lambda f, a: f(a.image[0], 2),
    "zeros": lambda f, a: f((3,)) + a.x,
    "linalg.matrix_power": lambda f, a: f(a.x, 3),
    "linalg.multi_dot": lambda f, a: f([a.x, a.y, a.z]),
    "linalg.tensorinv": lambda f, a: f(a.x, 1),
    "linalg.tensorsolve": lambda f, a: f(a.x, a.y[0]),
    "fft.fftfreq": lambda f, a: f(6) * a.v,
    "fft.rfftfreq": lambda f, a: f(4) * a.x,
}

SCIPY: Mapping[str, Call] = {
    "linalg.cho_solve": lambda f, a: f((a.x, True), a.y),
    "linalg.convolution_matrix": lambda f, a: f(a.v, 3, "full"),
    "linalg.dft": lambda f, a: f(3) @ a.c,
    "linalg.eigh_tridiagonal": lambda f, a: f(a.v, a.v[1:], eigvals_only=True),
    "linalg.funm": lambda f, a: f(a.x, jnp.exp),
    "linalg.hadamard": lambda f, a: f(4) @ a.v[:4],
    "linalg.helmert": lambda f, a: f(3) @ a.x,
    "linalg.hilbert": lambda f, a: f(3) @ a.x,
    "linalg.invhilbert": lambda f, a: f(3) @ a.x,
    "linalg.invpascal": lambda f, a: f(3) @ a.x,
    "linalg.leslie": lambda f, a: f(a.v, a.v[1:]),
    "linalg.lu_solve": lambda f, a: f(jax.scipy.linalg.lu_factor(a.x), a.y),
    "linalg.pascal": lambda f, a: f(3) @ a.x,
    "ndimage.map_coordinates": lambda f, a: f(a.x, [a.v, a.v], 1),
    "optimize.minimize": lambda f, a: (
        f(lambda u: jnp.sum((u - a.v) ** 2), a.v * 0, method="BFGS", options={"maxiter": 2}).x
    ),
    "sparse.linalg.cg": lambda f, a: f(a.x @ a.x.T, a.y[0], maxiter=3),
    "sparse.linalg.bicgstab": lambda f, a: f(a.x, a.y[0], maxiter=2),
    "sparse.linalg.gmres": lambda f, a: f(a.x, a.y[0], maxiter=1, restart=2),
    "special.bernoulli": lambda f, a: f(5) * a.v,
    "special.bessel_jn": lambda f, a: f(a.v, v=3, n_iter=20),
    "special.multigammaln": lambda f, a: f(a.z + 2, 2),
    "special.sph_harm_y": lambda f, a: f(a.i, a.j, a.v[:3], a.v[:3], n_max=2),
}

NN: Mapping[str, Call] = {
    "glu": lambda f, a: f(a.v),
    "one_hot": lambda f, a: f(a.i, 3) * a.x,
    "dot_product_attention": lambda f, a: f(*(u[None, :, None] for u in (a.x, a.y, a.z))),
}

CALLS: Mapping[str, Call] = {
    f"jax.{room}.{name}": call
    for room, calls in (("lax", LAX), ("numpy", NUMPY), ("scipy", SCIPY), ("nn", NN))
    for name, call in calls.items()
}
"""How to call the functions that the usual arguments do not fit, or fit badly."""
