"""Public callables of JAX that are not lifted, and those that compute otherwise in float64, with reasons."""

from collections.abc import Mapping

NO_ARRAYS = "computes no arrays, but dtypes, shapes, settings or text"
HOST = "works on arrays whose values are there, not on traced ones"
TOKEN = "its value is a token, which holds no numbers"
DEVICES = "needs several devices or a mesh"
KERNEL = "holds a kernel for GPUs alone"
STATEFUL = "draws from the state of a device"
TYPES = "is no function, but a type's other name"

UNCALLED: Mapping[str, str] = {
    NO_ARRAYS: """
        jax.lax.axis_size
        jax.lax.broadcast_shapes
        jax.lax.conv_dimension_numbers
        jax.lax.conv_general_permutations
        jax.lax.conv_general_shape_tuple
        jax.lax.conv_shape_tuple
        jax.lax.conv_transpose_shape_tuple
        jax.lax.dce_sink
        jax.lax.dtype
        jax.lax.padtype_to_pads
        jax.lax.reduce_window_shape_tuple
        jax.lax.shape_as_value
        jax.numpy.broadcast_shapes
        jax.numpy.can_cast
        jax.numpy.einsum_path
        jax.numpy.isdtype
        jax.numpy.issubdtype
        jax.numpy.promote_types
        jax.numpy.result_type
        jax.numpy.get_printoptions
        jax.numpy.printoptions
        jax.numpy.set_printoptions
        jax.nn.get_scaled_dot_general_config
    """,
    HOST: """
        jax.numpy.array_repr
        jax.numpy.array_str
        jax.numpy.choose
        jax.numpy.compress
        jax.numpy.from_dlpack
        jax.numpy.frombuffer
        jax.numpy.fromfile
        jax.numpy.fromiter
        jax.numpy.fromstring
        jax.numpy.load
        jax.numpy.mask_indices
        jax.numpy.save
        jax.numpy.savez
        jax.numpy.trim_zeros
    """,
    TOKEN: """
        jax.lax.after_all
        jax.lax.create_token
    """,
    DEVICES: """
        jax.lax.pbroadcast
        jax.lax.pcast
        jax.lax.precv
        jax.lax.psend
        jax.lax.ragged_all_to_all
        jax.lax.with_sharding_constraint
    """,
    KERNEL: """
        jax.nn.scaled_dot_general
        jax.nn.scaled_matmul
    """,
    STATEFUL: """
        jax.lax.rng_uniform
    """,
    TYPES: """
        jax.lax.ConvGeneralDilatedDimensionNumbers
        jax.lax.PrecisionLike
    """,
}
"""Reason -> names of what is not lifted."""

CONSTANTS = "holds constants that are known to float32 only, or ends its iteration by float32's epsilon"
FLOAT32 = "computes in float32, or by an algorithm of float32, whatever it is given"
BROKEN = "JAX itself cannot run it with x64 after it ran without"

OTHERWISE: Mapping[str, str] = {
    CONSTANTS: """
        jax.lax.random_gamma_grad
        jax.numpy.degrees
        jax.numpy.rad2deg
        jax.scipy.linalg.eigh_tridiagonal
        jax.scipy.linalg.expm
        jax.scipy.linalg.expm_frechet
        jax.scipy.special.bernoulli
        jax.scipy.special.dawsn
        jax.scipy.special.erfcx
        jax.scipy.special.exp1
        jax.scipy.special.expi
        jax.scipy.special.expn
        jax.scipy.special.fresnel
        jax.scipy.special.gamma
        jax.scipy.special.hyp1f1
        jax.scipy.special.hyp2f1
        jax.scipy.special.loggamma
        jax.scipy.special.ndtri
        jax.scipy.special.polygamma
        jax.scipy.special.sici
        jax.scipy.special.spence
        jax.scipy.special.wofz
        jax.scipy.stats.norm.isf
        jax.scipy.stats.norm.ppf
        jax.scipy.linalg.pascal
    """,
    FLOAT32: """
        jax.numpy.histogram2d
        jax.numpy.nanpercentile
        jax.numpy.percentile
        jax.numpy.polyint
        jax.lax.scaled_dot
        jax.nn.dot_product_attention
        jax.lax.dot_general
    """,
    BROKEN: """
        jax.scipy.special.owens_t
    """,
}
"""Reason -> names of functions that JAX computes otherwise in float64 than their program lifted does."""


def reasons(table: Mapping[str, str]) -> dict[str, str]:
    """Name -> reason."""
    return {name: reason for reason, names in table.items() for name in names.split()}
