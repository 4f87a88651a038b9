"""Names of operations by what they do, of PyTorch (aten) and JAX (LAX) alike.

A trace keeps the names of its own framework, and what reads traces must not care which one that is: every
set here holds both vocabularies. No name means different things in the two. Settings
of an operation for each axis are read here, too.
"""

from collections.abc import Sequence


def names(text: str) -> frozenset[str]:
    """The names in a text.

    >>> sorted(names("where select_n"))
    ['select_n', 'where']
    """
    return frozenset(text.split())


REPACKED = "repacked"
"""Gradients of weights, laid out as the other side packs those weights: no operation of a framework."""

REARRANGING = names(REPACKED) | names("""
    t transpose permute movedim view _unsafe_view reshape _reshape_alias flatten expand unsqueeze squeeze
    slice select narrow unbind split split_with_sizes chunk cat flip unfold as_strided constant_pad_nd
    clone detach alias copy contiguous lift_fresh lift_fresh_copy _to_copy

    broadcast_in_dim expand_dims rev dynamic_slice scan_slice concatenate pad convert_element_type copy_p
    stop_gradient sharding_constraint
""")
"""Operations that only move, repeat or select entries: of weights alone, the result is still a weight."""

CARRYING = REARRANGING | names("""
    where gather index_select index embedding masked_fill stack lift_fresh scalar_tensor full fill empty
    zeros ones zeros_like ones_like empty_like expand_as

    select_n gather reshape squeeze transpose slice copy copy_p iota
""")
"""Operations whose result holds no number but those of their inputs: in a narrow dtype they only round."""

EXACT = CARRYING | names("""
    relu neg abs sign maximum minimum amax amin cummax cummin max_pool2d_with_indices sort topk threshold
    masked_fill_ copy_ index_put index_put_ scatter slice_scatter select_scatter repeat roll
    threshold_backward

    max min reduce_max reduce_min reduce_window_max cumulative_max top_k dynamic_update_slice scan_stack
""")
"""Operations that give the same whether their operands are rounded before or their results after."""

SUMS = names("sum reduce_sum")
"""Sums of entries along axes."""

SUMMING = names("add add_ add_any")
"""Sums of two values."""

ACCUMULATING = names("reduce_sum cumsum reduce_window_sum scatter-add")
"""Operations of LAX that add up in the dtype of their result; a kernel of PyTorch adds up in float32."""

ROUNDED_ONCE = names("""
    sum mean var std norm linalg_vector_norm logsumexp cumsum mm bmm mv dot convolution
    avg_pool1d avg_pool2d _adaptive_avg_pool2d _adaptive_avg_pool3d
""")
"""Reductions of PyTorch whose kernels for narrow dtypes compute in float32 and round the result: measured
(`tests/parity/frameworks/test_narrow_kernels.py`), not believed."""

REPEATING = names("expand repeat _to_copy clone broadcast_in_dim convert_element_type")
"""Operations whose result says no more than their input."""

FITTING = names("""
    view _unsafe_view reshape expand unsqueeze squeeze clone copy _to_copy

    broadcast_in_dim expand_dims convert_element_type copy_p
""")
"""Operations that only fit shapes and dtypes."""

PARTS = names("""
    slice select narrow split split_with_sizes chunk unbind squeeze dynamic_slice gather scan_slice
""")
"""Operations that take a part of a value."""

MOVING = REARRANGING | PARTS
"""Operations that compute nothing: what they give agrees where all they read does."""

MASKING = names("where masked_fill masked_fill_ select_n")
"""Operations that replace entries where a mask is set."""

CHOOSING = names("index index_select gather take select argmax argmin sort topk top_k dynamic_slice")
"""Operations that pick entries by index or by rank."""

CASTS = names("_to_copy convert_element_type")
"""Operations that change a dtype and nothing else."""

ROUNDING = CASTS | names("round floor trunc reduce_precision")
"""Operations that narrow a value."""

ENTRYWISE = CASTS | names("""
    add add_any sub mul div rem pow integer_pow square neg abs max min sqrt rsqrt cbrt
    exp exp2 expm1 log log1p logistic erf erfc erf_inv lgamma digamma
    sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh
""")
"""Operations of LAX that compute each entry from the same entry of every operand."""

TILING = names("repeat repeat_interleave tile")
"""Operations that repeat entries along an axis."""

PADDING = names("constant_pad_nd reflection_pad1d reflection_pad2d replication_pad2d pad")
"""Operations that put a border around a value."""

BOUNDING = names("clamp clamp_min min max remainder rem")
"""Operations that keep an index in range."""

PRODUCTS = names("dot_general conv_general_dilated")
"""Products with a kernel, in the words of a candidate's trace."""

CONVOLUTIONS = names("convolution _convolution mkldnn_convolution conv_general_dilated")
"""Convolutions."""

COMPARISONS = names("lt le gt ge eq ne")
"""Operations that compare two values entry by entry."""


def each_axis(value: int | Sequence[int], count: int) -> tuple[int, ...]:
    """A setting for every axis: one number, or one for each.

    Args:
        value: a number, or a sequence with one or `count` numbers.
        count: how many axes there are.
    """
    values = [int(v) for v in value] if isinstance(value, Sequence) else [int(value)]
    return tuple(values * count if len(values) == 1 else values)
