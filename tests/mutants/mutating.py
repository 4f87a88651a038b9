"""A jaxpr with one of its equations replaced; all others keep their lines."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax._src import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from parity.frameworks.jax.jaxpr_parts import body_of, consts_of
from parity.frameworks.jax.wide_equations import apply
from tests.mutants.sites import Path, inside

Replace = Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]]
"""`replace(operands, arguments) -> results`; the arguments are those of the jaxpr around the equation."""


class UnfitError(ValueError):
    """A change that does not give values of the shapes and dtypes that there were."""


def mutated(closed: ClosedJaxpr, path: Path, replace: Replace) -> ClosedJaxpr:
    """The same jaxpr with the equation at `path` replaced.

    A custom derivative around the equation is left out: its rule would be that of the right function.

    Args:
        closed: the jaxpr.
        path: of the equation.
        replace: computes its results instead.

    Raises:
        UnfitError: if the results have other shapes or dtypes.
    """

    def run(*args: Any) -> list[Any]:
        return _evaluate(closed.jaxpr, closed.consts, args, path, replace)

    again = jax.make_jaxpr(run)(*[jax.ShapeDtypeStruct(a.shape, a.dtype) for a in closed.in_avals])
    if [(a.shape, a.dtype) for a in again.out_avals] != [(a.shape, a.dtype) for a in closed.out_avals]:
        raise UnfitError("the results have other shapes or dtypes")
    # With its debug information a function of a framework stays known as one.
    return ClosedJaxpr(again.jaxpr.replace(debug_info=closed.jaxpr.debug_info), again.consts)


def _evaluate(
    jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any], path: Path, replace: Replace
) -> list[Any]:
    env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else env[atom]

    for number, eqn in enumerate(jaxpr.eqns):
        inputs = [read(atom) for atom in eqn.invars]
        names = source_info_util.current_name_stack() + eqn.source_info.name_stack
        with source_info_util.user_context(eqn.source_info.traceback, name_stack=names), eqn.ctx.manager:
            if number != path[0]:
                outs: Sequence[Any] = apply(eqn.primitive, inputs, eqn.params)
            elif len(path) == 1:
                outs = _fitting(eqn, replace(inputs, args))
            else:
                outs = _changed_inside(eqn, inputs, path[1:], replace)
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _changed_inside(eqn: JaxprEqn, inputs: Sequence[Any], path: Path, replace: Replace) -> Sequence[Any]:
    """An equation with a jaxpr inside it changed."""
    name, item, inner = inside(eqn)[path[0]]
    if eqn.primitive.name.startswith("custom_"):
        return _evaluate(body_of(inner), consts_of(inner), inputs, path[1:], replace)
    is_closed = isinstance(inner, ClosedJaxpr)
    changed = mutated(inner if is_closed else ClosedJaxpr(inner, ()), path[1:], replace)
    if changed.consts and not consts_of(inner):
        raise UnfitError("the change closes over an array")
    value: Any = changed if is_closed else changed.jaxpr
    if item is not None:
        value = tuple(value if i == item else one for i, one in enumerate(eqn.params[name]))
    return apply(eqn.primitive, inputs, {**eqn.params, name: value})


def _fitting(eqn: JaxprEqn, outs: Sequence[Any]) -> list[Any]:
    """Results of the shapes and dtypes of an equation: scalars are spread."""
    fitted = []
    for variable, out in zip(eqn.outvars, outs, strict=True):
        shape, dtype = variable.aval.shape, variable.aval.dtype
        array = jax.lax.convert_element_type(out, dtype)
        if array.shape == () and shape:
            array = jax.lax.broadcast(array, shape)
        if array.shape != shape:
            raise UnfitError(f"{array.shape} where {shape} is needed")
        fitted.append(array)
    return fitted
