"""An equation replaced: it alone is, wherever it stands, and every line stays where it was."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from tests.mutants.mutating import UnfitError, mutated
from tests.mutants.sites import Site, sites_of
from tests.mutants.variant import of_results

X = np.linspace(-1, 2, 6, dtype=np.float32).reshape(2, 3)


def scanned(x: Any) -> Any:
    return lax.scan(lambda carry, row: (carry * row, carry), x[0], x)[0]


def chosen(x: Any) -> Any:
    return lax.cond(x[0, 0] > 0, jnp.sin, lambda x: x * 3, x)


def repeated(x: Any) -> Any:
    return lax.fori_loop(0, 3, lambda i, y: y * x, x)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda x: x * 3,
    "jitted": lambda x: jax.jit(lambda y: y * 3)(x),
    "custom derivative": lambda x: jax.nn.silu(x) * 3,
    "rematerialised": lambda x: jax.checkpoint(lambda y: y * 3)(x),
    "scanned": scanned,
    "chosen": chosen,
    "repeated": repeated,
}


def one_of(closed: ClosedJaxpr, name: str) -> Site:
    return [site for site in sites_of(closed, 0) if site.eqn.primitive.name == name][-1]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_equation_is_replaced_and_every_line_kept(name: str) -> None:
    closed = jax.make_jaxpr(FUNCTIONS[name])(X)
    site = one_of(closed, "mul")
    assert site.line[0] == __file__
    changed = mutated(closed, site.path, of_results(site.eqn, "one more", lambda out: out + 1).replace)
    before, after = jaxpr_as_fun(closed)(X)[0], jaxpr_as_fun(changed)(X)[0]
    assert before.shape == after.shape
    assert not np.allclose(before, after)
    assert sorted(lines(closed)) == sorted(lines(changed))


def lines(closed: ClosedJaxpr) -> set[tuple[str, int]]:
    return {site.line for site in sites_of(closed, 0)}


def test_the_derivative_is_that_of_the_changed_function() -> None:
    closed = jax.make_jaxpr(lambda x: jax.nn.relu(x))(X)
    site = one_of(closed, "max")
    changed = mutated(closed, site.path, lambda xs, _: [lax.min(*xs)])
    slope = jax.grad(lambda x: jaxpr_as_fun(changed)(x)[0].sum())(X)
    np.testing.assert_array_equal(slope, np.where(X < 0, 1.0, 0.0))


def test_other_shapes_do_not_fit() -> None:
    closed = jax.make_jaxpr(lambda x: x * 3)(X)
    with pytest.raises(UnfitError, match="is needed"):
        mutated(closed, (0,), lambda xs, _: [xs[0][0]])


def test_sites_know_the_lines_next_to_them_and_other_weights() -> None:
    def port(one: Any, other: Any, x: Any) -> Any:
        a = one + x
        b = jnp.sin(a)
        return other * b

    first, second, third = sites_of(jax.make_jaxpr(port)(X, X, X), 2)
    start = port.__code__.co_firstlineno
    assert {line - start for _, line in first.near} == {1, 2}
    assert {line - start for _, line in second.near} == {1, 2, 3}
    assert first.others == {0: (1,)}
    assert second.others == {}
    assert third.others == {0: (0,)}
