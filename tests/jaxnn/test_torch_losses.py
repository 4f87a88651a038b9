"""Every loss of `torch.nn`: values and gradients in float64, at random and at every edge."""

import functools
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


def by_jax(twin, arguments, options, reductions):
    """The same in several reductions, as one program that takes other floats; integers may change as well."""
    options = {k: jnp.asarray(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    fixed = [None if isinstance(x, np.ndarray) else x for x in arguments]

    @jax.jit
    def run(floats, integers):
        def loss(floats, reduction):
            filled = [floats.get(i, integers.get(i, x)) for i, x in enumerate(fixed)]
            return twin.jax(*filled, **options, reduction=reduction)

        results = {}
        for reduction in reductions:
            value, pull = jax.vjp(functools.partial(loss, reduction=reduction), floats)
            cotangent = 1.0 + jnp.arange(value.size, dtype=value.dtype).reshape(value.shape)
            (grads,) = pull(cotangent)
            results[reduction] = value, list(grads.values())
        return results

    return run


def split(arguments):
    """Arrays by their position: floating ones, and the others."""
    arrays = {i: x for i, x in enumerate(arguments) if isinstance(x, np.ndarray)}
    floats = {i: jnp.asarray(x) for i, x in arrays.items() if is_float(x)}
    return floats, {i: jnp.asarray(x) for i, x in arrays.items() if i not in floats}


def assert_equal(actual, expected, assert_rounding, scale=0.0):
    """To rounding where both are finite, exactly elsewhere."""
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.where(finite, 0, actual), np.where(finite, 0, expected))
    known = {"scale": max(scale, 1e-300)}
    assert_rounding(actual=jnp.where(finite, actual, 0), expected=np.where(finite, expected, 0), **known)


def assert_twins(run, twin, arguments, options, assert_rounding):
    """In the reductions of `run`; a sum may cancel, and is measured by its terms."""
    candidates = run(*split(arguments))
    scales = [twin.size] * (1 + sum(map(is_float, arguments)))
    for reduction in sorted(candidates, key=twin.reductions.index):  # "none" first: it sets the scales
        value, grads = by_torch(twin, arguments, options, reduction)
        candidate, port_grads = candidates[reduction]
        for i, (port, reference) in enumerate(zip((candidate, *port_grads), (value, *grads), strict=True)):
            if reduction == "none":
                finite = np.isfinite(reference)
                scales[i] = np.max(np.abs(reference), where=finite, initial=twin.size)
            assert_equal(port, reference, assert_rounding, scales[i])


@pytest.mark.parametrize(("name", "i"), list(loss_cases.random_cases()))
def test_random_inputs(name, i, x64, assert_rounding):
    twin = TWINS[name]
    options = twin.options[i]
    # A sum is a mean without its divisor: once per loss suffices, of what is weighted and what is not.
    reductions = twin.reductions if i in (0, len(twin.options) - 1) else twin.reductions[:2]
    programs = []

    @settings(max_examples=5, phases=[Phase.generate])
    @given(st.tuples(*twin.drawn))
    def check(drawn):
        arguments = [x if isinstance(x, float) else np.asarray(x) for x in drawn]
        programs.append(programs[0] if programs else by_jax(twin, arguments, options, reductions))
        assert_twins(programs[0], twin, arguments, options, assert_rounding)

    check()


NAMES = [pytest.param(name, i, id=f"{name}: {EDGES[name][i][0]} {i}") for name, i in loss_cases.edge_cases()]


@pytest.mark.parametrize(("name", "i"), NAMES)
def test_edges(name, i, x64, assert_rounding):
    twin = TWINS[name]
    _, arguments, options = EDGES[name][i]
    run = by_jax(twin, arguments, options, twin.reductions[:2])
    assert_twins(run, twin, arguments, options, assert_rounding)
