"""The ports are right: with weights converted by hand both models agree, without the harness."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from parity.frameworks.jax.jax_model import read_jax
from parity.frameworks.jax.trees import flatten
from parity.frameworks.outputs import pair_outputs
from parity.frameworks.task import bind
from tests.kit.pairs import Pair
from tests.pairs.ports import ports

PORTS = ports()


def sampled(number: int, name: str) -> Any:
    """Every twentieth port by default, the rest with `-m by_hand`: what never runs breaks unseen."""
    return pytest.param(name, marks=() if number % 20 == 0 else (pytest.mark.by_hand,), id=name)


@pytest.mark.parametrize("name", [sampled(*numbered) for numbered in enumerate(PORTS)])
def test_port_is_right(name: str) -> None:
    port = PORTS[name]()
    ours, theirs = pair_outputs(run_torch(port), run_jax(port), port.outputs)
    assert set(ours) == set(theirs)
    for key, expected in ours.items():
        actual, wanted = np.asarray(theirs[key]), expected.numpy()
        assert actual.shape == wanted.shape, key
        assert np.isfinite(wanted).all()
        assert np.ptp(wanted) > 0.01, "an output that does not vary shows nothing"
        tolerance = 2e-5 if port.single else 1e-9
        np.testing.assert_allclose(actual, wanted, rtol=tolerance, atol=tolerance, err_msg=key)


def run_torch(port: Pair) -> Any:
    module = port.reference
    assert not module.training
    given = {
        n: torch.from_numpy(a).double() if a.dtype.kind == "f" else torch.from_numpy(a)
        for n, a in port.inputs.items()
    }
    args, kwargs = bind(module.forward, 0, given)
    with torch.no_grad():
        return module.double()(*args, **kwargs)


def run_jax(port: Pair) -> Any:
    inputs = {n: a.transpose((port.layout or {}).get(n, range(a.ndim))) for n, a in port.inputs.items()}
    read = read_jax(port.candidate, port.template, inputs)
    leaves, _ = flatten(port.params)
    assert {path: leaf.shape for path, leaf in read.weights.items()} == {
        p: np.shape(a) for p, a in leaves.items()
    }
    dtype = "float32" if port.single else "float64"
    with jax.enable_x64(not port.single):
        params = read.tree.build({path: jnp.asarray(leaf, dtype) for path, leaf in leaves.items()})
        given = {n: jnp.asarray(a, dtype if a.dtype.kind == "f" else None) for n, a in inputs.items()}
        args, kwargs = bind(read.target, read.skip, given)
        return jax.jit(read.call)(params, *args, **kwargs)
