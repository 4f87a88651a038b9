"""The random numbers that a traced JAX program draws: where, from which key, of which distribution.

Keys depend on neither weights nor floating inputs. So the jaxpr is gone through with these unknown: what
follows from constants and integers is computed, loops are unrolled where they draw, and each draw is met
with its key in numbers. All else stays unknown and costs nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var
from jax.typing import ArrayLike
from jaxtyping import Shaped

from parity.frameworks.jax.jaxpr_parts import body_of, consts_of, shape_of
from parity.frameworks.jax.jaxpr_places import TOP, Caller, caller_of, spot_of
from parity.frameworks.jax.jaxpr_walk import callee, inner_jaxprs, passed_on
from parity.frameworks.jax.lifted_constants import value_of
from parity.frameworks.jax.wide_dtypes import is_key
from parity.frameworks.jax.wide_equations import apply
from parity.numerics.draws import Distribution, Draw

Path = tuple[int, ...]
"""The equations that lead to one, itself last: a jaxpr that is called twice has two paths."""

Identity = tuple[bytes, tuple[int, ...], Distribution]
"""By which draws are the same: the numbers of the key, the shape, and what is read of the stream."""

LARGEST = 2**20
"""Entries of a constant that is computed, at most: keys are small."""

PRIMITIVES = frozenset({"random_bits", "random_gamma", "rng_bit_generator", "rng_uniform"})
"""Primitives that draw."""

SOURCES = {
    "_uniform": Distribution.UNIFORM,
    "_normal_real": Distribution.NORMAL,
    "_randint": Distribution.INTEGERS,
}
"""Functions of `jax.random` that all others are made of."""

MADE_OF = {"_gumbel": Distribution.GUMBEL, "_exponential": Distribution.EXPONENTIAL}
"""Functions of `jax.random` that draw uniform numbers, and what they make of them."""


class Unknown:
    """A value that depends on weights or floating inputs."""


class FromDraw(NamedTuple):
    """A value that was drawn, to see what it is compared with.

    Attributes:
        call: index of the call.
    """

    call: int


UNKNOWN = Unknown()

Value = ArrayLike | Unknown | FromDraw
"""What is known of a value."""


class Call(NamedTuple):
    """One draw as the program runs.

    Attributes:
        draw: what is drawn.
        key: the numbers of its key, flat; None of a draw that cannot be shared.
        source: what is read of the stream: uniform or normal numbers, or integers.
        standard: whether nothing scales the uniform numbers: they lie between 0 and 1.
    """

    draw: Draw
    key: Shaped[np.ndarray, " words"] | None = None
    source: Distribution = Distribution.OTHER
    standard: bool = False

    @property
    def identity(self) -> Identity | None:
        """By which a repeated draw is known; None of one that cannot be shared."""
        return None if self.key is None else (self.key.tobytes(), self.draw.shape, self.source)


class Drawn(NamedTuple):
    """The draws of a program.

    Attributes:
        calls: in the order in which they run.
        sites: path of an equation -> indices of its calls, several in a loop.
    """

    calls: list[Call]
    sites: Mapping[Path, list[int]]

    @property
    def draws(self) -> tuple[Draw, ...]:
        """The draws, each that repeats an earlier one with its index."""
        first: dict[Identity, int] = {}
        found = []
        for index, call in enumerate(self.calls):
            known = index if call.identity is None else first.setdefault(call.identity, index)
            found.append(call.draw._replace(same_as=None if known == index else known))
        return tuple(found)


def draws_anything(jaxpr: Jaxpr) -> bool:
    """Whether a jaxpr, or one inside it, draws.

    Args:
        jaxpr: an open jaxpr.
    """
    return any(
        eqn.primitive.name in PRIMITIVES
        or any(draws_anything(body_of(inner)) for inner in inner_jaxprs(eqn.params))
        for eqn in jaxpr.eqns
    )


def drawn_by(closed: ClosedJaxpr, arguments: Sequence[Value]) -> Drawn:
    """Go through a program, and note what it draws.

    Args:
        closed: the jaxpr.
        arguments: what is known of each: `UNKNOWN`, or its numbers.
    """
    walk = _Walk()
    with jax.ensure_compile_time_eval():
        walk.run(closed.jaxpr, list(closed.consts), list(arguments), (), TOP, None)
    return Drawn(walk.calls, walk.sites)


class _Walk:
    """Notes draws on the way through a program."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.sites: dict[Path, list[int]] = {}
        self._drawing: dict[int, tuple[Jaxpr, bool]] = {}  # with the jaxpr, so that its id is not reused

    def run(
        self,
        jaxpr: Jaxpr,
        consts: Sequence[Value],
        args: Sequence[Value],
        path: Path,
        caller: Caller,
        made: Distribution | None,
    ) -> list[Value]:
        """What is known of the results of a jaxpr.

        Args:
            jaxpr: the open jaxpr.
            consts: its constants.
            args: what is known of its arguments.
            path: the equations that lead to it.
            caller: where it is called from.
            made: what the function of `jax.random` that it belongs to makes of uniform numbers.
        """
        env: dict[Var, Value] = dict(zip(jaxpr.constvars, consts, strict=True))
        env.update(zip(jaxpr.invars, args, strict=True))

        def read(atom: Var | Literal) -> Value:
            return value_of(atom) if isinstance(atom, Literal) else env[atom]

        for eqn in jaxpr.eqns:
            inputs = [read(atom) for atom in eqn.invars]
            outs = self._equation(eqn, inputs, (*path, id(eqn)), caller, made)
            env.update(zip(eqn.outvars, outs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(
        self,
        eqn: JaxprEqn,
        inputs: Sequence[Value],
        path: Path,
        caller: Caller,
        made: Distribution | None,
    ) -> Sequence[Value]:
        unknown = [UNKNOWN] * len(eqn.outvars)
        called = str(eqn.params.get("name", ""))
        if not self._draws(eqn):
            self._compared(eqn, inputs)
            return _computed(eqn, inputs) if all(map(_is_known, inputs)) else unknown
        spot = spot_of(eqn, caller)
        inner = callee(eqn)
        if called in SOURCES and inner is not None:
            index = self._source(eqn, inputs, path, caller, SOURCES[called], made)
            return unknown if index is None else [FromDraw(index)]
        if eqn.primitive.name in PRIMITIVES:
            self._other(eqn.primitive.name.removeprefix("random_"), shape_of(eqn.outvars[-1]), eqn, caller)
            return unknown
        if called == "_shuffle":
            self._other("permutation", shape_of(eqn.outvars[0]), eqn, caller)
            return unknown
        if inner is not None:
            body = body_of(inner)
            return self.run(
                body,
                list(consts_of(inner)),
                list(passed_on(eqn, inputs)),
                path,
                caller_of(eqn, spot, body),
                MADE_OF.get(called, made),
            )
        match eqn.primitive.name:
            case "scan":
                return self._scan(eqn, inputs, path, Caller(spot))
            case "while":
                return self._while(eqn, inputs, path, caller, Caller(spot))
            case "cond" if _is_known(inputs[0]):
                branches = eqn.params["branches"]
                chosen = branches[int(np.clip(int(np.asarray(inputs[0])), 0, len(branches) - 1))]
                return self.run(chosen.jaxpr, chosen.consts, inputs[1:], path, Caller(spot), None)
        self._other(f"inside {eqn.primitive.name}", (), eqn, caller)
        return unknown

    def _draws(self, eqn: JaxprEqn) -> bool:
        if eqn.primitive.name in PRIMITIVES:
            return True
        for inner in inner_jaxprs(eqn.params):
            body = body_of(inner)
            if id(body) not in self._drawing:
                self._drawing[id(body)] = body, draws_anything(body)
            if self._drawing[id(body)][1]:
                return True
        return False

    def _source(
        self,
        eqn: JaxprEqn,
        inputs: Sequence[Value],
        path: Path,
        caller: Caller,
        source: Distribution,
        made: Distribution | None,
    ) -> int | None:
        """Note a draw of one of the `SOURCES`; None if it cannot be shared."""
        keys: list[Any] = [value for value in inputs if is_key(value)]
        shape = drawn_shape(eqn)
        bounds = [value for value in inputs if value is not UNKNOWN and not is_key(value)]
        numbers = [np.unique(np.asarray(value)) for value in bounds if not isinstance(value, FromDraw)]
        known = all(value.size == 1 for value in numbers) and len(numbers) == len(inputs) - 1
        whole = source is Distribution.UNIFORM or shape == shape_of(eqn.outvars[0])
        if len(keys) != 1 or not whole or (source is Distribution.INTEGERS and not known):
            self._other("from a key that depends on data", shape, eqn, caller)
            return None
        parameters = tuple(sorted(float(value[0]) for value in numbers)) if known else ()
        standard = source is Distribution.UNIFORM and parameters == (0.0, 1.0)
        distribution, parameters = (source, parameters) if made is None else (made, ())
        words = np.asarray(jax.random.key_data(keys[0])).reshape(-1)
        index = len(self.calls)
        draw = Draw(distribution, shape, parameters, _place(eqn, caller))
        self.calls.append(Call(draw, words, source, standard))
        self.sites.setdefault(path, []).append(index)
        return index

    def _other(self, name: str, shape: Sequence[int], eqn: JaxprEqn, caller: Caller) -> None:
        draw = Draw(Distribution.OTHER, tuple(shape), place=_place(eqn, caller), name=name)
        self.calls.append(Call(draw))

    def _compared(self, eqn: JaxprEqn, inputs: Sequence[Value]) -> None:
        """A uniform number that is compared with p is a Bernoulli mask."""
        if eqn.primitive.name != "lt" or not isinstance(inputs[0], FromDraw):
            return
        call = self.calls[inputs[0].call]
        chances = np.unique(np.asarray(inputs[1])) if _is_known(inputs[1]) else np.zeros(0)
        if call.draw.distribution is Distribution.UNIFORM:
            parameters = (float(chances[0]),) if chances.size == 1 else ()
            mask = call.draw._replace(distribution=Distribution.BERNOULLI, parameters=parameters)
            self.calls[inputs[0].call] = call._replace(draw=mask)

    def _scan(self, eqn: JaxprEqn, inputs: Sequence[Value], path: Path, caller: Caller) -> list[Value]:
        p = eqn.params
        fixed, carried, body = p["num_consts"], p["num_carry"], p["jaxpr"]
        consts, carry = list(inputs[:fixed]), list(inputs[fixed : fixed + carried])
        xs = inputs[fixed + carried :]
        order = range(p["length"])
        rows: list[list[Value]] = []
        for i in reversed(order) if p["reverse"] else order:
            row = [x[i] if _is_known(x) else UNKNOWN for x in xs]  # type: ignore[index]
            outs = self.run(body.jaxpr, body.consts, [*consts, *carry, *row], path, caller, None)
            carry = outs[:carried]
            rows.append(outs[carried:])
        rows = rows[::-1] if p["reverse"] else rows
        stacked: list[Value] = [UNKNOWN] * (len(eqn.outvars) - carried)
        for column, values in enumerate(zip(*rows, strict=True)):
            if all(map(_is_known, values)):  # keys that a forward pass keeps for the backward pass
                stacked[column] = jax.numpy.stack(values)
        return [*carry, *stacked]

    def _while(
        self, eqn: JaxprEqn, inputs: Sequence[Value], path: Path, outside: Caller, caller: Caller
    ) -> Sequence[Value]:
        p = eqn.params
        a, b = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
        test, body, carry = p["cond_jaxpr"], p["body_jaxpr"], list(inputs[b:])
        while True:
            (going_on,) = self.run(test.jaxpr, test.consts, [*inputs[:a], *carry], path, caller, None)
            if not _is_known(going_on) or np.ndim(going_on):  # type: ignore[arg-type]
                self._other("inside a loop whose length depends on data", (), eqn, outside)
                return [UNKNOWN] * len(eqn.outvars)
            if not going_on:
                return carry
            carry = self.run(body.jaxpr, body.consts, [*inputs[a:b], *carry], path, caller, None)


def drawn_shape(eqn: JaxprEqn) -> tuple[int, ...]:
    """The shape in which a call of one of the `SOURCES` draws, mapped axes first.

    Args:
        eqn: the call.
    """
    body = body_of(callee(eqn))  # type: ignore[arg-type]
    bits = next((inner for inner in body.eqns if inner.primitive.name == "random_bits"), None)
    return shape_of(eqn.outvars[0]) if bits is None else shape_of(bits.outvars[0])


def _place(eqn: JaxprEqn, caller: Caller) -> str:
    spot = spot_of(eqn, caller)
    return f"{spot.file}:{spot.line}" if spot.file else ""


def _is_known(value: Value) -> bool:
    return not isinstance(value, Unknown | FromDraw)


def _computed(eqn: JaxprEqn, inputs: Sequence[Value]) -> Sequence[Value]:
    """The results of an equation on known values; unknown where it cannot be run by itself."""
    size = max((int(np.prod(shape_of(out))) for out in eqn.outvars), default=0)
    if size > LARGEST:
        return [UNKNOWN] * len(eqn.outvars)
    try:
        return apply(eqn.primitive, inputs, eqn.params)  # type: ignore[arg-type]
    except Exception:  # an effect, or a primitive of the user's
        return [UNKNOWN] * len(eqn.outvars)
