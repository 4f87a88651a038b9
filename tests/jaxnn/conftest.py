"""What the tests of `jaxnn` share: strict promotion, and every tolerance with its reason."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("jaxnn", derandomize=True, deadline=None, max_examples=20)
settings.load_profile("jaxnn")

# Two orders of summation of n terms differ by about sqrt(n) roundings of the largest partial sum; the
# sums here have at most some thousands of terms, and a few functions follow one another.
ROUNDINGS = 200
# Central differences with a step of eps^(1/3) err by about eps^(2/3) = 4e-11 in float64, times third
# derivatives of order one to a hundred.
DIFFERENCE = 1e-8


@pytest.fixture(autouse=True)
def strict_promotion():
    """Nothing may change dtype or rank on its own."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def optimised():
    """Asked for by tests that want programs compiled as users get them."""


@pytest.fixture(autouse=True)
def quick_compilation(request):
    """Leaves out most of the compiler's optimisations: the time here goes into compiling."""
    if "optimised" in request.fixturenames:
        jax.clear_caches()  # of what was compiled without
        yield
        return
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def x64():
    """Makes float64 the default of JAX."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def assert_rounding():
    """Asserts that two pytrees are equal to rounding, in structure, dtype, shape and values."""

    def check(*, actual, expected, dtype=np.float64, scale=1e-300):
        assert jax.tree.structure(actual) == jax.tree.structure(expected)
        for (path, a), e in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True):
            name = jax.tree_util.keystr(path)
            assert a.dtype == dtype, name
            assert a.shape == np.shape(e), name
            error = np.max(np.abs(np.asarray(a, np.float64) - np.asarray(e, np.float64)), initial=0.0)
            size = max(np.max(np.abs(e), initial=0.0), scale)
            assert error <= ROUNDINGS * np.finfo(dtype).eps * size, (name, error, size)

    return check


@pytest.fixture
def assert_derivative(x64):
    """Asserts that `jax.grad` of a function agrees with central differences, leaf by leaf."""

    def check(function, params, seed=0, num_directions=3):
        rng = np.random.default_rng(seed)
        grads = jax.tree.leaves(jax.jit(jax.grad(function))(params))
        leaves, structure = jax.tree.flatten(params)
        function = jax.jit(function)
        step = np.finfo(np.float64).eps ** (1 / 3)
        for i, (leaf, grad) in enumerate(zip(leaves, grads, strict=True)):
            assert grad.dtype == jnp.float64
            for _ in range(num_directions):
                direction = rng.standard_normal(leaf.shape)
                direction /= np.linalg.norm(direction)

                def moved(amount, i=i, direction=direction):
                    changed = [*leaves[:i], leaves[i] + amount * direction, *leaves[i + 1 :]]
                    return float(function(jax.tree.unflatten(structure, changed)))

                difference = (moved(step) - moved(-step)) / (2 * step)
                slope = float(np.sum(np.asarray(grad) * direction))
                assert abs(slope - difference) <= DIFFERENCE * max(1.0, abs(slope)), (i, slope, difference)

    return check
