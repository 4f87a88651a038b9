"""Jaxprs gone through equation by equation, into everything that only calls another jaxpr."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from parity.frameworks.jax.jaxpr_places import spot_of, within
from parity.trace.graph import NOWHERE, Spot

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
}
"""Primitives that only call another jaxpr, and the parameter that holds it."""

Step = Callable[[Any, Sequence[Any], Spot], Sequence[Any]]
"""`step(equation, inputs, spot) -> outputs`: what to do with one equation."""


def evaluate(
    jaxpr: Any,
    consts: Sequence[Any],
    args: Sequence[Any],
    step: Step,
    literal: Callable[[Any], Any],
    spot: Spot,
) -> list[Any]:
    """Go through a jaxpr equation by equation, into everything that only calls.

    Args:
        jaxpr: the open jaxpr.
        consts: its constants, as the step wants them.
        args: its arguments, likewise.
        step: computes one equation.
        literal: turns a literal of the jaxpr into what the step wants.
        spot: the caller's place, which an equation without an author's frame of its own inherits.
    """
    env: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    env.update(zip(jaxpr.invars, args, strict=True))

    def read(atom: Any) -> Any:
        return literal(atom) if hasattr(atom, "val") else env[atom]

    last_use = {
        atom: i for i, eqn in enumerate(jaxpr.eqns) for atom in eqn.invars if not hasattr(atom, "val")
    }
    kept = {atom for atom in jaxpr.outvars if not hasattr(atom, "val")}
    for number, eqn in enumerate(jaxpr.eqns):
        inputs = [read(atom) for atom in eqn.invars]
        here = spot_of(eqn, spot)
        inner = callee(eqn)
        if inner is not None:
            closed_consts = [literal_of(literal, value) for value in getattr(inner, "consts", ())]
            body = getattr(inner, "jaxpr", inner)
            outs: Sequence[Any] = evaluate(
                body, closed_consts, inputs, step, literal, within(eqn, here, body)
            )
        else:
            outs = step(eqn, inputs, here)
        env.update(zip(eqn.outvars, outs, strict=True))
        for atom in eqn.invars:
            if not hasattr(atom, "val") and last_use[atom] == number and atom not in kept:
                env.pop(atom, None)
    return [read(atom) for atom in jaxpr.outvars]


class _Value:
    """A constant of a closed jaxpr, in the form of a literal."""

    def __init__(self, val: Any) -> None:
        self.val = val


def literal_of(literal: Callable[[Any], Any], value: Any) -> Any:
    """A constant of a closed jaxpr as the step wants it.

    Args:
        literal: turns a literal of the jaxpr into what the step wants.
        value: the constant.
    """
    return literal(_Value(value))


def callee(eqn: Any) -> Any:
    """The jaxpr that an equation only calls, or None.

    Args:
        eqn: an equation.
    """
    name = CALLS.get(eqn.primitive.name)
    return eqn.params.get(name) if name is not None else None


def inner_jaxprs(params: Mapping[str, Any]) -> Iterator[Any]:
    """All jaxprs among the parameters of an equation.

    Args:
        params: of an equation.
    """
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if hasattr(item, "eqns") or hasattr(item, "jaxpr"):
                yield item


def equations(jaxpr: Any, caller: Spot = NOWHERE) -> Iterator[tuple[Any, Spot]]:
    """All equations with their places, also those inside others.

    Args:
        jaxpr: an open jaxpr.
        caller: the place of what contains it.
    """
    for eqn in jaxpr.eqns:
        spot = spot_of(eqn, caller)
        yield eqn, spot._replace(line=abs(spot.line))
        for inner in inner_jaxprs(eqn.params):
            body = getattr(inner, "jaxpr", inner)
            yield from equations(body, within(eqn, spot, body))
