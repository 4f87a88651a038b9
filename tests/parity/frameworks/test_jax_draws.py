"""Draws of a traced JAX program: found with their keys, and read from the shared stream."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from parity.frameworks.jax.jax_drawn import UNKNOWN, Drawn, drawn_by
from parity.frameworks.jax.jax_draws import shares_by_key, sharing
from parity.numerics import draws
from parity.numerics.draws import Distribution, Share

KEY = jax.random.key(3)
X = jnp.linspace(-1, 1, 6).reshape(2, 3)


def traced(function: Callable[..., Any], *args: Any) -> tuple[ClosedJaxpr, Drawn]:
    closed = jax.make_jaxpr(function)(*args)
    return closed, drawn_by(closed, [UNKNOWN] * len(args))


def shared(function: Callable[..., Any], *args: Any, shares: tuple[Share, ...] = ()) -> list[Any]:
    closed, drawn = traced(function, *args)
    rewritten = sharing(closed, drawn, shares_by_key(drawn, shares))
    assert rewritten.in_avals == closed.in_avals
    assert rewritten.out_avals == closed.out_avals
    flat = jax.tree.leaves(args)
    eager, compiled = (run(*flat) for run in (jaxpr_as_fun(rewritten), jax.jit(jaxpr_as_fun(rewritten))))
    for one, other in zip(eager, compiled, strict=True):
        assert np.allclose(one, other)
    return list(map(np.asarray, eager))


@pytest.mark.parametrize(
    ("function", "distribution", "parameters"),
    [
        (lambda x: jax.random.bernoulli(KEY, 0.75, x.shape), Distribution.BERNOULLI, (0.75,)),
        (lambda x: jax.random.uniform(KEY, x.shape) < 0.25, Distribution.BERNOULLI, (0.25,)),
        (lambda x: jax.random.uniform(KEY, x.shape), Distribution.UNIFORM, (0.0, 1.0)),
        (lambda x: jax.random.uniform(KEY, x.shape, minval=-2, maxval=3), Distribution.UNIFORM, (-2.0, 3.0)),
        (lambda x: jax.random.normal(KEY, x.shape), Distribution.NORMAL, ()),
        (lambda x: jax.random.exponential(KEY, x.shape), Distribution.EXPONENTIAL, ()),
        (lambda x: jax.random.gumbel(KEY, x.shape), Distribution.GUMBEL, ()),
        (lambda x: jax.random.categorical(KEY, x), Distribution.GUMBEL, ()),
        (lambda x: jax.random.randint(KEY, x.shape, 2, 9), Distribution.INTEGERS, (2.0, 9.0)),
    ],
)
def test_every_draw_is_found(
    function: Callable[..., Any], distribution: Distribution, parameters: tuple[float, ...]
) -> None:
    (draw,) = traced(function, X)[1].draws
    assert (draw.distribution, draw.shape) == (distribution, (2, 3))
    assert draw.parameters == pytest.approx(parameters)
    assert draw.place.rpartition(":")[0] == __file__


def test_what_is_drawn_is_what_the_stream_says() -> None:
    def every(x: jax.Array) -> tuple[jax.Array, ...]:
        a, b, c, d, e = jax.random.split(KEY, 5)
        return (
            jax.random.bernoulli(a, 0.75, x.shape),
            jax.random.uniform(b, x.shape, minval=-2, maxval=3),
            jax.random.normal(c, x.shape),
            jax.random.randint(d, x.shape, 2, 9),
            jax.random.exponential(e, x.shape),
        )

    mask, spread, normal, whole, waiting = shared(every, X)
    assert np.array_equal(mask, draws.below(Share(0), (2, 3), 0.75))
    assert np.allclose(spread, 5 * draws.uniform(Share(1), (2, 3)) - 2)
    assert np.array_equal(normal, draws.normal(Share(2), (2, 3)))
    assert np.array_equal(whole, draws.integers(Share(3), (2, 3), 2, 9))
    assert np.allclose(waiting, draws.exponential(Share(4), (2, 3)))


def test_one_key_gives_the_same_numbers_twice() -> None:
    def twice(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.random.normal(KEY, x.shape), jax.random.normal(KEY, x.shape)

    assert [draw.same_as for draw in traced(twice, X)[1].draws] == [None, 0]
    first, second = shared(twice, X)
    assert np.array_equal(first, second)


def test_mapped_draws_are_one() -> None:
    def mapped(x: jax.Array) -> jax.Array:
        keys = jax.random.split(KEY, len(x))
        return jax.vmap(lambda row, key: jax.random.normal(key, row.shape))(x, keys)

    assert [draw.shape for draw in traced(mapped, X)[1].draws] == [(2, 3)]
    assert np.array_equal(shared(mapped, X)[0], draws.normal(Share(0), (2, 3)))


def in_scan(x: jax.Array) -> jax.Array:
    def step(carry: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return carry, jax.random.normal(key, carry.shape)

    return lax.scan(step, x, jax.random.split(KEY, 3))[1]


def in_while(x: jax.Array) -> jax.Array:
    def turn(i: jax.Array, rows: jax.Array) -> jax.Array:
        return rows.at[i].set(jax.random.normal(jax.random.fold_in(KEY, i), (2, 3)))

    return lax.fori_loop(0, 3, turn, jnp.zeros((3, 2, 3)) * x.sum())


def in_a_scan_of_scans(x: jax.Array) -> jax.Array:
    def outer(carry: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return carry, lax.scan(
            lambda c, k: (c, jax.random.normal(k, c.shape)), carry, jax.random.split(key, 1)
        )[1][0]

    return lax.scan(outer, x, jax.random.split(KEY, 3))[1]


@pytest.mark.parametrize("loop", [in_scan, in_while, in_a_scan_of_scans])
def test_every_turn_of_a_loop_draws_its_own(loop: Callable[[jax.Array], jax.Array]) -> None:
    expected = np.stack([draws.normal(Share(number), (2, 3)) for number in range(3)])
    assert np.array_equal(shared(loop, X)[0], expected)


def test_one_function_called_twice_draws_twice() -> None:
    noise = jax.jit(lambda key, x: x + jax.random.normal(key, x.shape))

    def both(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, second = jax.random.split(KEY)
        return noise(first, x), noise(second, x)

    first, second = shared(both, X)
    assert np.allclose(first - X, draws.normal(Share(0), (2, 3)), atol=1e-6)
    assert np.allclose(second - X, draws.normal(Share(1), (2, 3)), atol=1e-6)


@pytest.mark.parametrize("wrapped", [lambda f: f, jax.checkpoint, jax.jit])
def test_the_backward_pass_sees_the_same_mask(wrapped: Callable[..., Any]) -> None:
    def loss(x: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(x) * jax.random.bernoulli(KEY, 0.5, x.shape))

    forward = traced(loss, X)[1]
    closed, drawn = traced(jax.grad(wrapped(loss)), X)
    (grad,) = jaxpr_as_fun(sharing(closed, drawn, shares_by_key(forward, ())))(X)
    assert np.allclose(grad, jnp.cos(X) * draws.below(Share(0), (2, 3), 0.5))


def test_the_traced_program_is_not_changed() -> None:
    def noisy(x: jax.Array) -> jax.Array:
        return x + jax.random.normal(KEY, x.shape)

    before = noisy(X)
    compiled = jax.jit(noisy)
    compiled(X)
    shared(compiled, X)
    assert np.allclose(compiled(X), before)


def until_negative(x: jax.Array) -> jax.Array:
    return lax.while_loop(lambda v: v.sum() > 0, lambda v: v - jax.random.uniform(KEY, v.shape), x)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: jax.random.permutation(KEY, x), "permutation"),
        (lambda x: jax.random.gamma(KEY, jnp.abs(x) + 1), "gamma"),
        (lambda x: jax.random.bits(KEY, x.shape), "bits"),
        (until_negative, "inside a loop whose length depends on data"),
        (
            lambda x: lax.cond(x.sum() > 0, lambda v: v + jax.random.normal(KEY, v.shape), lambda v: v, x),
            "inside cond",
        ),
        (
            lambda x: jax.random.normal(jax.random.key(x.astype(int)[0, 0]), x.shape),
            "from a key that depends on data",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_shared_keeps_its_own_numbers(function: Callable[..., Any], name: str) -> None:
    draw = traced(function, X)[1].draws[0]
    assert (draw.distribution, draw.name) == (Distribution.OTHER, name)
    assert np.allclose(shared(function, X)[0], function(X))


def test_a_branch_that_is_known_is_gone_into() -> None:
    def chosen(x: jax.Array) -> jax.Array:
        draw = lambda v: v + jax.random.normal(KEY, v.shape)  # noqa: E731
        return lax.switch(jnp.asarray(1), [lambda v: v, draw], x)

    assert [d.distribution for d in traced(chosen, X)[1].draws] == [Distribution.NORMAL]
    assert np.allclose(shared(chosen, X)[0], X + draws.normal(Share(0), (2, 3)), atol=1e-6)
