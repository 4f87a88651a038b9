"""The equations of a traced port that can be changed, each with its line and the lines next to it."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from parity.frameworks.jax.jaxpr_parts import AnyJaxpr, body_of, is_jaxpr
from parity.frameworks.jax.jaxpr_places import TOP, Caller, caller_of, spot_of
from parity.frameworks.jax.jaxpr_walk import callee

Path = tuple[int, ...]
"""Number of an equation in the outermost jaxpr, then turn by turn the number of a jaxpr inside it and of an
equation there."""

Line = tuple[str, int]
"""File and line."""


class Site(NamedTuple):
    """An equation that can be changed.

    Attributes:
        path: where it stands.
        eqn: the equation.
        line: of the author's code.
        near: its own line, those of the equations that made its operands, and of those that take its results.
        others: number of an operand that is a weight -> numbers of the arguments of the jaxpr around it that
            are other weights of the same shape.
    """

    path: Path
    eqn: JaxprEqn
    line: Line
    near: frozenset[Line]
    others: dict[int, tuple[int, ...]]


class _Value(NamedTuple):
    """What made a value: the number of an equation, or nothing; a weight has its own number."""

    made_by: int | None = None
    weight: int | None = None


class _Found(NamedTuple):
    sites: list[Site]
    edges: set[tuple[int, int]]


def sites_of(closed: ClosedJaxpr, weights: int) -> list[Site]:
    """Every equation that computes something, those inside loops, branches and called functions included.

    Equations without a line of the author's are left out.

    Args:
        closed: the traced forward pass.
        weights: how many of its first arguments are weights.
    """
    found = _Found([], set())
    count = len(closed.jaxpr.invars)
    args = [_Value(weight=i if i < weights else None) for i in range(count)]
    _follow(found, closed.jaxpr, args, TOP, ())
    near: list[set[Line]] = [{site.line} for site in found.sites]
    for one, other in found.edges:
        near[one].add(found.sites[other].line)
        near[other].add(found.sites[one].line)
    return [
        site._replace(near=frozenset(line for line in lines if line[0]))
        for site, lines in zip(found.sites, near, strict=True)
        if site.line[0]
    ]


def inside(eqn: JaxprEqn) -> list[tuple[str, int | None, AnyJaxpr]]:
    """The jaxprs inside an equation: the parameter, the place in it if that is a tuple, and the jaxpr."""
    found: list[tuple[str, int | None, AnyJaxpr]] = []
    for name, value in sorted(eqn.params.items()):
        if is_jaxpr(value):
            found.append((name, None, value))
        elif isinstance(value, tuple | list):
            found += [(name, i, item) for i, item in enumerate(value) if is_jaxpr(item)]
    return found


def _follow(found: _Found, jaxpr: Jaxpr, args: Sequence[_Value], caller: Caller, path: Path) -> list[_Value]:
    """Go through a jaxpr; returns what made its results."""
    env: dict[Var, _Value] = dict(zip(jaxpr.invars, args, strict=True))

    def read(atom: Any) -> _Value:
        return _Value() if isinstance(atom, Literal) else env.get(atom, _Value())

    for number, eqn in enumerate(jaxpr.eqns):
        inputs = [read(atom) for atom in eqn.invars]
        here = spot_of(eqn, caller)
        outs: list[_Value] | None = None
        for which, body, given in _bodies(eqn, inputs):
            called = caller_of(eqn, here, body) if callee(eqn) is not None else Caller(here)
            outs = _follow(found, body, given, called, (*path, number, which))
        if outs is None:
            index = len(found.sites)
            others = dict(_other_weights(jaxpr, eqn, inputs, args))
            line = (here.file, here.line)
            found.sites.append(Site((*path, number), eqn, line, frozenset(), others))
            found.edges.update((value.made_by, index) for value in inputs if value.made_by is not None)
            outs = [_Value(index) for _ in eqn.outvars]
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _bodies(eqn: JaxprEqn, inputs: list[_Value]) -> Iterator[tuple[int, Jaxpr, list[_Value]]]:
    """The jaxprs that an equation runs whose results are its own, with the values they are given."""
    called = callee(eqn)
    for which, (name, _, inner) in enumerate(inside(eqn)):
        body = body_of(inner)
        if inner is called or eqn.primitive.name == "scan":
            yield which, body, inputs
        elif eqn.primitive.name == "cond":
            yield which, body, inputs[1:]
        elif eqn.primitive.name == "while" and name == "body_jaxpr":
            yield which, body, inputs[eqn.params["cond_nconsts"] :]


def _other_weights(
    jaxpr: Jaxpr, eqn: JaxprEqn, inputs: Sequence[_Value], args: Sequence[_Value]
) -> Iterator[tuple[int, tuple[int, ...]]]:
    for operand, value in enumerate(inputs):
        if value.weight is None:
            continue
        aval = eqn.invars[operand].aval
        others = tuple(
            number
            for number, (arg, variable) in enumerate(zip(args, jaxpr.invars, strict=True))
            if arg.weight not in (None, value.weight)
            and (variable.aval.shape, variable.aval.dtype) == (aval.shape, aval.dtype)
        )
        if others:
            yield operand, others
