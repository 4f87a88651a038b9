"""Jaxprs gone through equation by equation, into everything that only calls another jaxpr."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var
from jax.typing import ArrayLike

from parity.frameworks.jax.jaxpr_parts import AnyJaxpr, body_of, consts_of, is_jaxpr
from parity.frameworks.jax.jaxpr_places import TOP, Caller, caller_of, spot_of
from parity.trace.graph import Spot

CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_lin": "jaxpr",
    "custom_vmap_call": "call",
    "linear_call": "callee",
    "composite": "jaxpr",
}
"""Primitives that only call another jaxpr, and the parameter that holds it."""

SOLVES = "custom_linear_solve"
"""A primitive that holds four jaxprs, of which its value is that of one, the solver; the others are for its
derivative, and what was traced has been differentiated."""

Value = TypeVar("Value")
"""What stands for a value of the program: an array, the index of a node, a place."""

Step = Callable[[JaxprEqn, Sequence[Value], Spot], Sequence[Value]]
"""`step(equation, inputs, spot) -> outputs`: what to do with one equation."""

Constant = Literal | ArrayLike
"""A literal of an equation, or a constant that a jaxpr closes over."""


def evaluate(
    jaxpr: Jaxpr,
    consts: Sequence[Value],
    args: Sequence[Value],
    step: Step[Value],
    constant: Callable[[Constant], Value],
    caller: Caller,
) -> list[Value]:
    """Go through a jaxpr equation by equation, into everything that only calls.

    Args:
        jaxpr: the open jaxpr.
        consts: its constants, as the step wants them.
        args: its arguments, likewise.
        step: computes one equation.
        constant: turns a literal, or a constant of a jaxpr that is called, into what the step wants.
        caller: what calls it: an equation without an author's frame of its own inherits its place.
    """
    env: dict[Var, Value] = dict(zip(jaxpr.constvars, consts, strict=True))
    env.update(zip(jaxpr.invars, args, strict=True))

    def read(atom: Var | Literal) -> Value:
        return constant(atom) if isinstance(atom, Literal) else env[atom]

    last_use = {
        atom: i for i, eqn in enumerate(jaxpr.eqns) for atom in eqn.invars if not isinstance(atom, Literal)
    }
    kept = {atom for atom in jaxpr.outvars if not isinstance(atom, Literal)}
    for number, eqn in enumerate(jaxpr.eqns):
        inputs = [read(atom) for atom in eqn.invars]
        here = spot_of(eqn, caller)
        inner = callee(eqn)
        if inner is not None:
            body, closed_over = body_of(inner), [constant(value) for value in consts_of(inner)]
            outs: Sequence[Value] = evaluate(
                body, closed_over, passed_on(eqn, inputs), step, constant, caller_of(eqn, here, body)
            )
        else:
            outs = step(eqn, inputs, here)
        env.update(zip(eqn.outvars, outs, strict=True))
        for atom in eqn.invars:
            if not isinstance(atom, Literal) and last_use[atom] == number and atom not in kept:
                env.pop(atom, None)
    return [read(atom) for atom in jaxpr.outvars]


def callee(eqn: JaxprEqn) -> AnyJaxpr | None:
    """The jaxpr that an equation only calls, or None.

    Args:
        eqn: an equation.
    """
    if eqn.primitive.name == SOLVES:
        solver: AnyJaxpr = eqn.params["jaxprs"].solve
        return solver
    name = CALLS.get(eqn.primitive.name)
    return eqn.params.get(name) if name is not None else None


def passed_on(eqn: JaxprEqn, operands: Sequence[Value]) -> Sequence[Value]:
    """The operands of an equation that only calls a jaxpr which that jaxpr takes.

    Args:
        eqn: an equation with a `callee`.
        operands: all of them.
    """
    if eqn.primitive.name != SOLVES:
        return operands
    lengths = eqn.params["const_lengths"]
    before = lengths.matvec + lengths.vecmat
    return [*operands[before : before + lengths.solve], *operands[sum(lengths) :]]


def inner_jaxprs(params: Mapping[str, object]) -> Iterator[AnyJaxpr]:
    """All jaxprs among the parameters of an equation, also those in tuples.

    Args:
        params: of an equation.
    """
    for value in params.values():
        yield from _jaxprs_in(value)


def _jaxprs_in(value: object) -> Iterator[AnyJaxpr]:
    if is_jaxpr(value):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _jaxprs_in(item)


def equations(jaxpr: Jaxpr, caller: Caller = TOP) -> Iterator[tuple[JaxprEqn, Spot]]:
    """All equations with their places, also those inside others.

    Args:
        jaxpr: an open jaxpr.
        caller: what calls it.
    """
    for eqn in jaxpr.eqns:
        spot = spot_of(eqn, caller)
        yield eqn, spot
        for inner in inner_jaxprs(eqn.params):
            body = body_of(inner)
            yield from equations(body, caller_of(eqn, spot, body))
