import jax
import numpy as np
import pytest

from jaxnn import mesh as meshes
from jaxnn import placement


@pytest.mark.parametrize("order", [None, np.array([1, 0], np.int32)])
def test_what_is_placed_comes_back_without_the_filling(order):
    mesh = meshes.make()
    train = (np.arange(22, dtype=np.float32).reshape(11, 2), np.arange(11, dtype=np.int32))
    val = (np.ones((3, 2), np.float32), np.array([2, 1, 0], np.int32))
    params, filled, filled_val, indices = placement.placed(
        {"w": np.ones(2, np.float32)}, train, val, order, mesh
    )
    assert params["w"].is_fully_replicated
    assert [len(a) for a in (*filled, *filled_val)] == [16, 16, 8, 8]
    assert (indices is None) == (order is None)
    own = jax.jit(lambda *samples: placement.without_filling(*samples, (11, 3), mesh))(filled, filled_val)
    jax.tree.map(np.testing.assert_array_equal, own, (train, val))
