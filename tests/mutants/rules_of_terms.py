"""Rules on operands and terms: exchanged, of the other sign, dropped, doubled, cast, without gradient."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from parity.frameworks.jax.wide_equations import apply
from tests.mutants.sites import Site
from tests.mutants.variant import (
    Variant,
    exchanged,
    is_floating,
    of_operands,
    of_results,
    shape_of,
    with_operands,
)

UNARY = ("tanh", "logistic", "exp", "log", "log1p", "erf", "rsqrt", "sqrt", "abs", "sin", "cos", "square")
"""Functions of one operand that can be left out."""

TWICE = ("tanh", "logistic", "sqrt", "erf", "sin", "cos")
"""Those that can be applied twice without leaving what they are defined for."""


def operands(site: Site) -> Iterator[Variant]:
    """Two operands in the other order."""
    eqn, name = site.eqn, site.eqn.primitive.name
    if name in ("sub", "div", "pow", "rem", "atan2") or (
        name == "dot_general" and shape_of(eqn) == shape_of(eqn, 1)
    ):
        yield with_operands(eqn, "operands exchanged", lambda xs: xs[::-1])
    if name == "select_n" and len(eqn.invars) == 3:
        yield with_operands(eqn, "cases exchanged", lambda xs: exchanged(xs, 1, 2))
    if name == "concatenate":
        for a, b in itertools.combinations(range(len(eqn.invars)), 2):
            if shape_of(eqn, a) == shape_of(eqn, b):
                change = functools.partial(exchanged, one=a, other=b)
                yield with_operands(eqn, f"parts {a} and {b} exchanged", change)


def sign(site: Site) -> Iterator[Variant]:
    """The other sign of a term or a result."""
    eqn, name = site.eqn, site.eqn.primitive.name
    if not is_floating(eqn):
        return
    if name in ("add", "add_any"):
        yield of_operands("minus for plus", lax.sub)
    elif name == "sub":
        yield of_operands("plus for minus", lax.add)
    elif name == "neg":
        yield of_operands("sign left out", lambda x: x)
    elif name in ("mul", "div", "dot_general", "conv_general_dilated", "tanh", "erf", "reduce_sum"):
        yield of_results(eqn, "negated", lax.neg)


def term(site: Site) -> Iterator[Variant]:
    """A term, a factor or a function dropped or taken twice."""
    eqn, name = site.eqn, site.eqn.primitive.name
    if not is_floating(eqn):
        return
    if name in ("add", "mul", "add_any"):
        part = "factor" if name == "mul" else "term"
        yield of_operands(f"second {part} dropped", lambda a, b: a)
        yield of_operands(f"first {part} dropped", lambda a, b: b)
        again = lax.mul if name == "mul" else lax.add
        yield of_results_with(site, f"second {part} twice", 1, again)
        yield of_results_with(site, f"first {part} twice", 0, again)
    elif name in ("sub", "div"):
        yield of_operands("second operand dropped", lambda a, b: a)
        yield of_results_with(site, "second operand twice", 1, lax.sub if name == "sub" else lax.div)
    elif name in UNARY:
        yield of_operands(f"{name} left out", lambda x: x)
        if name in TWICE:
            yield of_results(eqn, f"{name} twice", lambda out: apply(eqn.primitive, [out], eqn.params)[0])


def of_results_with(site: Site, text: str, operand: int, combine: Callable[[Any, Any], Any]) -> Variant:
    """A variant that combines the result with an operand once more."""
    eqn = site.eqn

    def replace(xs: Sequence[Any], _: Sequence[Any]) -> list[Any]:
        return [combine(apply(eqn.primitive, xs, eqn.params)[0], xs[operand])]

    return Variant(text, replace)


def cast(site: Site) -> Iterator[Variant]:
    """A result rounded to a narrow dtype and back."""
    if is_floating(site.eqn):
        for dtype in (jnp.bfloat16, jnp.float16):
            change = functools.partial(_rounded, dtype=dtype)
            yield of_results(site.eqn, f"rounded to {jnp.dtype(dtype).name}", change)


def _rounded(value: Any, dtype: Any) -> Any:
    return lax.convert_element_type(lax.convert_element_type(value, dtype), value.dtype)


def stop_gradient(site: Site) -> Iterator[Variant]:
    """A result through which no gradient flows."""
    if is_floating(site.eqn):
        yield of_results(site.eqn, "gradient stopped", lax.stop_gradient)


def weight(site: Site) -> Iterator[Variant]:
    """Another weight of the same shape."""
    for operand, others in site.others.items():
        for number in others:

            def replace(
                xs: Sequence[Any], args: Sequence[Any], operand: int = operand, number: int = number
            ) -> list[Any]:
                given = [args[number] if i == operand else x for i, x in enumerate(xs)]
                return apply(site.eqn.primitive, given, site.eqn.params)

            yield Variant(f"operand {operand} is argument {number}", replace)
