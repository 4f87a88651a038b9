"""One way to change an equation, and what rules share."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.extend.core import JaxprEqn

from parity.frameworks.jax.wide_equations import apply
from tests.mutants.mutating import Replace


class Variant(NamedTuple):
    """One way to change an equation.

    Attributes:
        text: what is changed, in a few words.
        replace: computes the equation's results instead.
    """

    text: str
    replace: Replace


def of_results(eqn: JaxprEqn, text: str, change: Callable[[Any], Any]) -> Variant:
    """A variant that changes the results of an equation."""
    return Variant(text, lambda xs, _: [change(out) for out in apply(eqn.primitive, xs, eqn.params)])


def of_operands(text: str, change: Callable[..., Any]) -> Variant:
    """A variant that computes the one result from the operands."""
    return Variant(text, lambda xs, _: [change(*xs)])


def with_operands(eqn: JaxprEqn, text: str, change: Callable[[list[Any]], Sequence[Any]]) -> Variant:
    """The same operation on other operands."""
    return Variant(text, lambda xs, _: apply(eqn.primitive, list(change(list(xs))), eqn.params))


def with_params(eqn: JaxprEqn, text: str, **params: object) -> Variant:
    """The same operation with other parameters."""
    return Variant(text, lambda xs, _: apply(eqn.primitive, xs, {**eqn.params, **params}))


def exchanged(items: Sequence[Any], one: int, other: int) -> list[Any]:
    """A list with two items exchanged."""
    order = list(range(len(items)))
    order[one], order[other] = other, one
    return [items[i] for i in order]


def is_floating(eqn: JaxprEqn) -> bool:
    """Whether the first result is floating."""
    return bool(jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating))


def shape_of(eqn: JaxprEqn, operand: int = 0) -> tuple[int, ...]:
    """The shape of an operand."""
    return tuple(eqn.invars[operand].aval.shape)
