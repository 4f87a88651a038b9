"""Settings for the tests of torchref: Hypothesis without chance, and random arrays from a seed."""

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("torchref", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("torchref")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
