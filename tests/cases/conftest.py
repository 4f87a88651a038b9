"""Nothing that JAX traced for one case is left for the next: cached lines would be another caller's."""

import jax
import pytest


@pytest.fixture(autouse=True)
def nothing_cached() -> None:
    jax.clear_caches()
