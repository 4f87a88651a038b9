"""Clipping, accumulation and averages of weights, against PyTorch and against their definitions."""

import copy
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import optim
from torch.optim import swa_utils

from parity.optimizers import average_weights, clip_grad_norm, to_optax
from tests.parity.optimizers.training_kit import PLAN, drawn, loss, network, tree

ROUNDINGS = 50
"""Of float64, relative to the largest entry: sums of some tens of terms, in two orders."""


def assert_near(found, wanted):
    found, wanted = np.asarray(found), np.asarray(wanted)
    bound = ROUNDINGS * np.finfo(np.float64).eps * max(np.abs(wanted).max(initial=0.0), 1e-300)
    assert np.abs(found - wanted).max(initial=0.0) <= bound


@given(
    st.sampled_from([0.01, 1.0, 1e6]),
    st.sampled_from([1.0, 2.0, 3.5, math.inf]),
    st.sampled_from([1e-200, 1e-7, 1.0, 1e200, 0.0]),
)
def test_gradients_are_clipped_as_in_torch(max_norm, norm_type, size):
    rng = np.random.default_rng(0)
    grads = {name: size * rng.standard_normal(shape) for name, shape in (("a", (3, 4)), ("b", (5,)))}
    held = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in grads.values()]
    for p, g in zip(held, grads.values(), strict=True):
        p.grad = torch.from_numpy(g.copy())
    torch.nn.utils.clip_grad_norm_(held, max_norm, norm_type)
    with jax.enable_x64(True):
        clip = clip_grad_norm(max_norm, norm_type=norm_type)
        clipped, _ = clip.update(jax.tree.map(jnp.asarray, grads), clip.init(None))
    norm = max(np.abs(g).max() for g in grads.values())
    overflows = norm_type < math.inf and norm > 0 and norm_type * abs(math.log10(norm)) > 300
    for (name, grad), p in zip(grads.items(), held, strict=True):
        if norm_type == math.inf:
            assert_near(clipped[name], grad * min(1.0, max_norm / (norm + 1e-6)))
        if not overflows:  # PyTorch's powers leave the range of float64; ours do not
            assert_near(clipped[name], p.grad.numpy())


def test_clipping_asks_for_a_norm():
    with pytest.raises(ValueError, match="`max_norm` is 0; it must be above 0"):
        clip_grad_norm(0)
    with pytest.raises(ValueError, match="`norm_type` is nan"):
        clip_grad_norm(1.0, norm_type=math.nan)


def test_nothing_to_clip_is_left_alone():
    clip = clip_grad_norm(1.0)
    assert clip.update({}, clip.init(None))[0] == {}


def test_accumulated_gradients_make_torch_s_step():
    weights, inputs = drawn(8)
    with jax.enable_x64(True):
        module = network().double()
        module.load_state_dict({k: torch.from_numpy(w.astype(np.float64)) for k, w in weights.items()})
        params = tree(PLAN.to_leaves({k: w.astype(np.float64) for k, w in weights.items()}))
        optimizer = optim.AdamW(module.parameters(), lr=1e-2)
        inner = optax.chain(clip_grad_norm(0.5), to_optax(optimizer, params, PLAN, module=module))
        steps = optax.MultiSteps(inner, 4, accumulator_dtype=jnp.float64)
        state = steps.init(params)
        for number, (x, y) in enumerate(zip(inputs["x"], inputs["y"], strict=True)):
            x, y = x.astype(np.float64), y.astype(np.float64)
            (((module(torch.from_numpy(x)) - torch.from_numpy(y)) ** 2).mean() / 4).backward()
            if number % 4 == 3:
                torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
                optimizer.step()
                optimizer.zero_grad()
            updates, state = steps.update(jax.grad(loss)(params, x, y), state, params)
            params = optax.apply_updates(params, updates)
        for name, w in PLAN.to_leaves({k: p.detach().numpy() for k, p in module.named_parameters()}).items():
            layer, leaf = name.split("/")
            assert_near(params[layer][leaf], w)


@pytest.mark.parametrize("decay", [None, 0.0, 0.9, 0.999, 1.0])
def test_averages_are_those_of_torch(decay):
    rng = np.random.default_rng(0)
    module = torch.nn.Linear(3, 2).double()
    own = {} if decay is None else {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(decay)}
    averaged = swa_utils.AveragedModel(module, **own)
    with jax.enable_x64(True):
        averaging = average_weights(decay)
        state = averaging.init({"w": jnp.zeros((2, 3)), "steps": jnp.asarray(0)})
        update = jax.jit(averaging.update)
        for number in range(30):
            w = rng.standard_normal((2, 3))
            module.weight.data = torch.from_numpy(w.copy())
            averaged.update_parameters(module)
            state = update({"w": jnp.asarray(w), "steps": jnp.asarray(number)}, state)
            assert_near(state.average["w"], averaged.module.weight.detach().numpy())
    assert int(state.num_averaged) == 30
    assert int(state.average["steps"]) == 29  # whole numbers are not averaged
    assert update._cache_size() == 1


def test_statistics_of_batches_average_to_those_of_update_bn():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.BatchNorm1d(3)).double()
    batches = [torch.randn(8, 3, dtype=torch.float64) * 2 + 1 for _ in range(5)]
    swa_utils.update_bn(copy.copy(batches), module)
    with jax.enable_x64(True):
        averaging = average_weights()
        state = averaging.init({"mean": jnp.zeros(3), "var": jnp.ones(3)})
        for batch in batches:
            x = jnp.asarray(batch.numpy())
            state = averaging.update({"mean": x.mean(0), "var": x.var(0, ddof=1)}, state)
    assert_near(state.average["mean"], module[0].running_mean.numpy())
    assert_near(state.average["var"], module[0].running_var.numpy())


def test_an_average_of_half_precision_stays_in_it():
    state = average_weights().init(jnp.ones(2, jnp.bfloat16))
    assert average_weights().update(jnp.ones(2, jnp.bfloat16), state).average.dtype == jnp.bfloat16


def test_a_decay_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"`decay` is 1\.5; it must be from 0 to 1"):
        average_weights(1.5)
