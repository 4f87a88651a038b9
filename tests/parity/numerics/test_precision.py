"""The precision context: what it sets, and that everything is put back."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from parity.numerics.precision import jax_device, pinned, require_device, running


def test_pinned_sets_both_frameworks_and_restores_them_after_an_exception() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    threads = torch.get_num_threads()
    python, numpy, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        with pytest.raises(KeyError), pinned(seed=3, threads=1):  # noqa: PT012
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
            assert torch.backends.cudnn.deterministic
            assert torch.get_num_threads() == 1
            assert jax.config.jax_default_matmul_precision == "highest"
            first = torch.rand(1).item()
            raise KeyError
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.backends.cuda.matmul.fp32_precision = "none"
    assert torch.get_num_threads() == threads
    assert jax.config.jax_default_matmul_precision is None
    assert random.getstate() == python
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), numpy, strict=True))  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)
    with pinned(seed=3):
        assert torch.rand(1).item() == first
    with pinned(seed=4):
        assert torch.rand(1).item() != first


def test_running_switches_64_bit_types_per_dtype() -> None:
    with running("float64"):
        assert jnp.ones(1).dtype == jnp.float64
    with running("float32"):
        assert jnp.ones(1).dtype == jnp.float32
    assert not jax.config.jax_enable_x64


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`threads` is 0"), pinned(threads=0):
        pass
    with pytest.raises(ValueError, match="must be one of cpu, cuda"):
        jax_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="'cuda'"):
            require_device("cuda")
