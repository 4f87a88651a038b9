"""How each weight of a traced JAX program is first used, read from its jaxpr."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from parity.frameworks.jax.jaxpr_parts import body_of, shape_of
from parity.frameworks.jax.jaxpr_walk import callee, passed_on
from parity.frameworks.uses import Axes, known_axes, regrouped
from parity.trace.vocabulary import PARTS
from parity.weights import Use

Labelled = tuple[str, Axes] | None
"""A weight and where its axes lie; None for what is no weight, or `COUNTER`."""


COUNTER: tuple[str, Axes] = ("", ())
"""Stands for a number that depends on no input and no weight: an index that a loop counts."""


def jax_uses(closed: ClosedJaxpr, names: Sequence[str | None]) -> dict[str, Use]:
    """First uses of the weights of a traced JAX program, by path.

    Args:
        closed: the jaxpr.
        names: path of each argument that is a weight, None for the others.
    """
    uses: dict[str, Use] = {}
    counter = iter(range(1 << 62))
    arguments = [
        (name, tuple(range(len(shape_of(v))))) if name is not None else None
        for name, v in zip(names, closed.jaxpr.invars, strict=True)
    ]
    _visit(closed.jaxpr, arguments, uses, counter)
    return uses


def _visit(
    jaxpr: Jaxpr, arguments: Sequence[Labelled], uses: dict[str, Use], counter: Iterator[int]
) -> list[Labelled]:
    env: dict[Var, Labelled] = dict(zip(jaxpr.invars, arguments, strict=True))
    for eqn in jaxpr.eqns:
        given = [COUNTER if isinstance(v, Literal) else env.get(v) for v in eqn.invars]
        name, params = eqn.primitive.name, eqn.params
        position = next(counter)
        inner = callee(eqn)
        if inner is not None:
            env.update(
                zip(eqn.outvars, _visit(body_of(inner), passed_on(eqn, given), uses, counter), strict=True)
            )
            continue
        if all(held is COUNTER for held in given) and name not in ("scan", "while", "cond"):
            env.update(dict.fromkeys(eqn.outvars, COUNTER))
            continue
        if name == "scan":
            start = params["num_consts"] + params["num_carry"]
            rows = [g if i < start or g in (None, COUNTER) else (g[0], g[1][1:]) for i, g in enumerate(given)]
            body = params["jaxpr"].jaxpr
            _visit(body, _steady(body, rows, params["num_consts"], params["num_carry"]), uses, counter)
            _read_until(given, uses, next(counter))
            continue
        if name == "while":
            body, own = params["body_jaxpr"].jaxpr, given[params["cond_nconsts"] :]
            carried = len(own) - params["body_nconsts"]
            _visit(body, _steady(body, own, params["body_nconsts"], carried), uses, counter)
            _read_until(own, uses, next(counter))
            continue
        if name == "cond":
            _visit(params["branches"][0].jaxpr, given[1:], uses, counter)
            continue
        kept = _rearranged(eqn, given)
        if kept is not None:
            env[eqn.outvars[0]] = kept
            continue
        for index, held in enumerate(given):
            if held not in (None, COUNTER) and held[0] not in uses:
                at_once = name not in PARTS and 0 in held[1]
                uses[held[0]] = Use(position, *_jax_use(name, params, index, held[1]), at_once)
        _read_until(given, uses, position)
    return [COUNTER if isinstance(v, Literal) else env.get(v) for v in jaxpr.outvars]


def _read_until(given: Sequence[Labelled], uses: dict[str, Use], position: int) -> None:
    """What of some values is a weight is read up to a position."""
    for held in given:
        if held is not None and held[0] in uses:
            uses[held[0]] = uses[held[0]]._replace(until=position)


def _steady(body: Jaxpr, given: Sequence[Labelled], start: int, count: int) -> list[Labelled]:
    """What a loop's body reads, where a carried number that starts as a counter need not stay one."""
    own = list(given)
    while True:
        after = _visit(body, own, {}, iter(range(1 << 62)))[:count]
        lost = [
            start + i for i, held in enumerate(after) if own[start + i] is COUNTER and held is not COUNTER
        ]
        if not lost:
            return own
        for place in lost:
            own[place] = None


def _takes_one(eqn: JaxprEqn) -> bool:
    """Whether an equation takes one whole entry along an array's first axis: a layer of a stack."""
    if eqn.primitive.name not in ("dynamic_slice", "gather"):
        return False
    shape, sizes = shape_of(eqn.invars[0]), tuple(eqn.params["slice_sizes"])
    after = shape_of(eqn.outvars[0])
    return sizes == (1, *shape[1:]) and after in (shape[1:], (1, *shape[1:]))


def _rearranged(eqn: JaxprEqn, given: Sequence[Labelled]) -> Labelled:
    """The weight with its axes after an equation that only rearranges it, or None."""
    held = given[0] if given else None
    if held is None or held is COUNTER:
        return None
    name, axes = held
    if len(eqn.invars) != 1:
        is_layer = all(other is COUNTER for other in given[1:]) and _takes_one(eqn)
        return (
            (name, (None,) * (len(shape_of(eqn.outvars[0])) - len(axes) + 1) + axes[1:]) if is_layer else None
        )
    shape, after = shape_of(eqn.invars[0]), shape_of(eqn.outvars[0])
    match eqn.primitive.name:
        case "transpose":
            return name, tuple(axes[i] for i in eqn.params["permutation"])
        case "broadcast_in_dim":
            moved: list[int | None] = [None] * len(after)
            for axis, target in zip(axes, eqn.params["broadcast_dimensions"], strict=True):
                moved[target] = axis
            return name, tuple(moved)
        case "convert_element_type" | "copy" | "copy_p" | "stop_gradient" | "rev":
            return name, axes
        case "reshape" | "squeeze" | "expand_dims":
            return name, regrouped(axes, shape, after)
        case _:
            return None


def _jax_use(name: str, params: Mapping[str, Any], index: int, axes: Axes) -> tuple[str, tuple[int, ...]]:
    match name:
        case "dot_general":
            return "matmul", known_axes([axes[i] for i in params["dimension_numbers"][0][index]])
        case "conv_general_dilated":
            spec = params["dimension_numbers"].rhs_spec
            return "conv", known_axes([axes[i] for i in spec[1:]])
        case "gather" | "dynamic_slice":
            return "gather", ()
        case "add" | "sub" | "mul" | "div":
            return {"sub": "add", "div": "mul"}.get(name, name), ()
        case _:
            return "other", ()
