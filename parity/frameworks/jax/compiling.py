"""JAX programs that the harness runs a few times: compiled soon instead of well."""

from collections.abc import Callable
from typing import Any

import jax

SOON = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
"""Options of XLA by which a small program is compiled much sooner, to run somewhat longer."""

LARGE = 2**22
"""Entries that a program computes from which on it is compiled as usual, because it runs long."""


def compiled_soon(function: Callable[..., Any], *, entries: int = 0) -> Callable[..., Any]:
    """`jax.jit` of a program in float64 that runs a few times.

    What float64 tells does not hang on how a program is compiled: its yardstick is the noise of the same
    program. A user's program in its own dtype is never compiled this way: it is judged as it runs.

    Args:
        function: pure, of arrays.
        entries: how many it computes, where that is known; a large program is compiled as usual.
    """
    quick = entries < LARGE and jax.default_backend() == "cpu"
    return jax.jit(function, compiler_options=SOON if quick else None)
