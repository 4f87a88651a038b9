"""Every loss of `torch.nn`: values and gradients in float64, at random and at every edge."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.jaxnn import loss_cases
from tests.jaxnn.loss_cases import EDGES, TWINS


def is_float(x):
    return isinstance(x, np.ndarray) and x.dtype == np.float64


def by_torch(twin, arguments, options, reduction):
    """Losses, and their gradients with respect to every floating array, along the cotangent 1, 2, 3, ..."""
    leaves = [torch.tensor(x) if isinstance(x, np.ndarray) else x for x in arguments]
    floats = [leaf.requires_grad_() for x, leaf in zip(arguments, leaves, strict=True) if is_float(x)]
    options = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what "mean" will once mean in KLDivLoss
        value = twin.torch(*leaves, **options, reduction=reduction)
    cotangent = 1.0 + torch.arange(value.numel(), dtype=value.dtype).reshape(value.shape)
    if not value.requires_grad:  # p = 0: the distance has no graph at all
        return value.numpy(), [np.zeros(leaf.shape) for leaf in floats]
    grads = torch.autograd.grad(value, floats, cotangent, materialize_grads=True)
    return value.detach().numpy(), [grad.numpy() for grad in grads]


def by_jax(twin, arguments, options, reduction):
    """The same."""
    options = {k: jnp.asarray(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    places = [i for i, x in enumerate(arguments) if is_float(x)]

    def loss(*floats):
        filled = [jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in arguments]
        for place, x in zip(places, floats, strict=True):
            filled[place] = x
        return twin.jax(*filled, **options, reduction=reduction)

    value, pull = jax.vjp(loss, *(jnp.asarray(arguments[place]) for place in places))
    cotangent = 1.0 + jnp.arange(value.size, dtype=value.dtype).reshape(value.shape)
    return value, pull(cotangent)


def assert_equal(actual, expected, assert_rounding, scale=0.0):
    """To rounding where both are finite, exactly elsewhere."""
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.where(finite, 0, actual), np.where(finite, 0, expected))
    known = {"scale": max(scale, 1e-300)}
    assert_rounding(actual=jnp.where(finite, actual, 0), expected=np.where(finite, expected, 0), **known)


def assert_twins(name, arguments, options, assert_rounding):
    """In all reductions; a sum may cancel, and is measured by its terms."""
    twin = TWINS[name]
    scales = [twin.size] * (1 + sum(map(is_float, arguments)))
    for reduction in twin.reductions:
        value, grads = by_torch(twin, arguments, options, reduction)
        port_value, port_grads = by_jax(twin, arguments, options, reduction)
        for i, (port, reference) in enumerate(zip((port_value, *port_grads), (value, *grads), strict=True)):
            if reduction == "none":
                scales[i] = np.max(np.abs(reference), where=np.isfinite(reference), initial=twin.size)
            assert_equal(port, reference, assert_rounding, scales[i])


@pytest.mark.parametrize(("name", "i"), list(loss_cases.random_cases()))
def test_random_inputs(name, i, x64, assert_rounding):
    twin = TWINS[name]

    @settings(max_examples=3, phases=[Phase.generate])
    @given(st.tuples(*twin.drawn))
    def check(arguments):
        assert_twins(
            name,
            [np.asarray(x) if not isinstance(x, float) else x for x in arguments],
            twin.options[i],
            assert_rounding,
        )

    check()


@pytest.mark.parametrize(
    ("name", "i"),
    [pytest.param(name, i, id=f"{name}: {EDGES[name][i][0]} {i}") for name, i in loss_cases.edge_cases()],
)
def test_edges(name, i, x64, assert_rounding):
    _, arguments, options = EDGES[name][i]
    assert_twins(name, arguments, options, assert_rounding)
