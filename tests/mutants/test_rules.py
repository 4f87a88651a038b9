"""Each rule changes what it says, and shapes and dtypes stay."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxpr_as_fun

from tests.mutants.mutating import UnfitError, mutated
from tests.mutants.rules import RULES
from tests.mutants.sites import sites_of

A = np.arange(1, 10, dtype=np.float32).reshape(3, 3) / 4
B = np.sqrt(A.T + 2)


class Example(NamedTuple):
    """A function, and what one variant of a rule makes of it; the first argument counts as a weight."""

    rule: str
    text: str
    function: Callable[..., Any]
    becomes: Callable[..., Any]


def window(x: Any, low: int, high: int) -> Any:
    pads = ((low, high), (0, 0))
    return lax.reduce_window(x, 0.0, lax.add, (3, 1), (1, 1), pads)


EXAMPLES = [
    Example("operands", "operands exchanged", lambda a, b: a - b, lambda a, b: b - a),
    Example("operands", "operands exchanged", lambda a, b: a @ b, lambda a, b: b @ a),
    Example(
        "operands", "cases exchanged", lambda a, b: lax.select(a > b, a, b), lambda a, b: jnp.minimum(a, b)
    ),
    Example(
        "operands",
        "parts 0 and 1 exchanged",
        lambda a, b: lax.concatenate([a, b], 0),
        lambda a, b: jnp.concatenate([b, a]),
    ),
    Example("sign", "minus for plus", lambda a, b: a + b, lambda a, b: a - b),
    Example("sign", "negated", lambda a, b: jnp.tanh(a), lambda a, b: -jnp.tanh(a)),
    Example("term", "second term dropped", lambda a, b: a + b, lambda a, b: a),
    Example("term", "first factor twice", lambda a, b: a * b, lambda a, b: a * a * b),
    Example("term", "tanh left out", lambda a, b: jnp.tanh(a), lambda a, b: a),
    Example("comparison", "gt for lt", lambda a, b: a < b, lambda a, b: a > b),
    Example("comparison", "min for max", lambda a, b: lax.max(a, b), lambda a, b: jnp.minimum(a, b)),
    Example("index", "slice +1 along axis 0", lambda a, b: lax.slice(a, (0, 0), (2, 3)), lambda a, b: a[1:]),
    Example("index", "one more", lambda a, b: lax.argmax(a, 1, np.int32), lambda a, b: jnp.argmax(a, 1) + 1),
    Example("constant", "0.2 for 0.4", lambda a, b: a * 0.4, lambda a, b: a * 0.2),
    Example("constant", "0.0001 for 1e-05", lambda a, b: a + 1e-5, lambda a, b: a + 1e-4),
    Example("constant", "power 3 for 2", lambda a, b: a**2, lambda a, b: a**3),
    Example("cast", "rounded to bfloat16", lambda a, b: a * b, lambda a, b: (a * b).astype(jnp.bfloat16)),
    Example(
        "padding", "padding (2, 0) for (1, 1)", lambda a, b: window(a, 1, 1), lambda a, b: window(a, 2, 0)
    ),
    Example(
        "padding",
        "padding (0, 2) for (1, 1)",
        lambda a, b: lax.pad(a, np.float32(0), ((1, 1, 0), (0, 0, 0))),
        lambda a, b: jnp.pad(a, ((0, 2), (0, 0))),
    ),
    Example("permutation", "axes 0 and 1 exchanged", lambda a, b: a.T, lambda a, b: a),
    Example("permutation", "reversed along axis 1", lambda a, b: a @ b, lambda a, b: (a @ b)[:, ::-1]),
    Example("axis", "axes (0,) for (1,)", lambda a, b: a.sum(1), lambda a, b: a.sum(0)),
    Example("axis", "along axis 0", lambda a, b: lax.cumsum(a, 1), lambda a, b: jnp.cumsum(a, 0)),
    Example("axis", "sums over axis 1 for 0", lambda a, b: a @ b, lambda a, b: a @ b.T),
    Example("reduction", "mean for sum", lambda a, b: a.sum(0), lambda a, b: a.mean(0)),
    Example("reduction", "reduce_min for reduce_max", lambda a, b: a.max(0), lambda a, b: a.min(0)),
    Example("weight", "operand 1 is argument 0", lambda a, b: lax.sub(a, b), lambda a, b: a - a),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"{one.rule}-{one.text}")
def test_a_rule_changes_what_it_says(example: Example) -> None:
    closed = jax.make_jaxpr(example.function)(A, B)
    found = [
        (site, variant)
        for site in sites_of(closed, 2)
        for variant in RULES[example.rule].changes(site)
        if variant.text == example.text
    ]
    assert found
    site, variant = found[0]
    (value,) = jaxpr_as_fun(mutated(closed, site.path, variant.replace))(A, B)
    assert (value.shape, value.dtype) == (closed.out_avals[0].shape, closed.out_avals[0].dtype)
    np.testing.assert_allclose(value, np.asarray(example.becomes(A, B), value.dtype), rtol=1e-6)


def test_stop_gradient_leaves_the_value_and_takes_the_gradient() -> None:
    closed = jax.make_jaxpr(lambda a: a * 3)(A)
    (variant,) = RULES["stop_gradient"].changes(sites_of(closed, 1)[0])
    run = jaxpr_as_fun(mutated(closed, (0,), variant.replace))
    np.testing.assert_array_equal(run(A)[0], 3 * A)
    np.testing.assert_array_equal(jax.grad(lambda a: run(a)[0].sum())(A), 0 * A)


def test_every_rule_has_an_example_and_causes() -> None:
    assert {example.rule for example in EXAMPLES} | {"stop_gradient"} == set(RULES)
    assert all(rule.causes for rule in RULES.values())


def test_an_unsigned_number_stays_one() -> None:
    closed = jax.make_jaxpr(lambda a: a.astype(jnp.uint32) + jnp.uint32(0))(A)
    (site,) = [site for site in sites_of(closed, 0) if site.eqn.primitive.name == "add"]
    assert [variant.text for variant in RULES["constant"].changes(site)] == ["1 for 0"]


def test_whatever_a_rule_yields_keeps_shapes_or_says_that_it_does_not_fit() -> None:
    def port(a: Any, b: Any) -> Any:
        h = jnp.concatenate([jax.nn.gelu(a @ b), a.T[::-1]], axis=1)
        return jax.nn.softmax(jnp.where(h > 0.1, h, -1e9), axis=-1)[:, 1:5].reshape(6, 2) - b.mean()

    closed = jax.make_jaxpr(port)(A, B)
    fitting = 0
    for site in sites_of(closed, 2):
        for rule in RULES.values():
            for variant in rule.changes(site):
                try:
                    changed = mutated(closed, site.path, variant.replace)
                except UnfitError:
                    continue
                assert [a.shape for a in changed.out_avals] == [(6, 2)]
                fitting += 1
    assert fitting > 60
