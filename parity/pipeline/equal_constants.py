"""Float32 constants of both sides, made equal before anything is judged in float64.

A program that is lifted to float64 still holds constants that somebody rounded to float32, where the other
side may hold the same number in double precision, or compute it. Each such constant is one number: it is
looked for among what the other side holds and computes, and where that says nothing the number is solved for
that makes the outputs agree. Noise would move a constant as far, but by that alone it would also excuse every
other difference behind it.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from parity.frameworks.model import Program
from parity.numerics.arrays import EPS, Arrays
from parity.numerics.least_change import least_change
from parity.numerics.noise import ordinary
from parity.numerics.progress import Progress
from parity.pipeline.candidate import Candidate
from parity.pipeline.measuring import restricted
from parity.pipeline.reference import Reference
from parity.trace.computed_constants import Computed, Constants, settled_by, telling
from parity.trace.rounded_constants import HALF_ULP, Key, Settled, knowing, restore

MOST_NUMBERS = 4
"""An array with more numbers than this that differ is a table: its numbers are not solved for."""

MOST_UNKNOWNS = 32
"""How many numbers are solved for at most: each costs a forward pass."""

ROOM = 4.0
"""How many half ulps of float32 a number may lie from its constant, which may be the result of a few
roundings."""

ROWS = 2**16
"""How many entries of the outputs a solution is found from: those that differ most."""

NEWTON = 3
"""Steps of Newton's method: outputs are nearly linear in a move of half an ulp."""

SOLVED = 1e-3
"""A solution must leave at most this share of the difference: what is left is of another order."""

ROUNDING = 64 * EPS["float64"]
"""Outputs that differ by at most this much of their size do so by rounding."""


class _Side(NamedTuple):
    """One side, with what its constants are taken for.

    Attributes:
        framework: its name.
        program: its forward pass; it reads `settled`.
        weights: what it runs with.
        constants: of a lifted run.
        numbers: those of the other side, by which its constants are recognised.
        settled: what is known so far; changed while trying.
    """

    framework: str
    program: Program
    weights: Arrays
    constants: Constants
    numbers: tuple[float, ...]
    settled: dict[Key, Settled]

    def value(self, key: Key) -> Float[np.ndarray, "..."]:
        """What a constant is taken for now."""
        if key in self.settled:
            return self.settled[key].value
        with knowing(self.numbers):
            return restore(self.constants.own[key]).value

    def outputs(self, inputs: Arrays) -> Arrays:
        """The outputs in float64."""
        return self.program(self.weights, inputs, "float64")["outputs"]


class _Unknown(NamedTuple):
    """A number to be solved for: all entries of a constant that are equal."""

    side: _Side
    key: Key
    number: float

    @property
    def where(self) -> Bool[np.ndarray, "..."]:
        """The entries of the constant that are this number."""
        return np.asarray(self.side.constants.own[self.key] == np.float32(self.number))

    @property
    def shift(self) -> float:
        """How far what the number is taken for now lies from it, of its size."""
        return float(self.side.value(self.key)[self.where][0]) / self.number - 1

    def moved(self, half_ulps: float) -> Settled:
        """The constant with this number moved."""
        value = self.side.value(self.key)
        return Settled(np.where(self.where, value * (1 + half_ulps * HALF_ULP), value), True)

    @property
    def room(self) -> tuple[float, float]:
        """How far the number may move, in half ulps, and still be one that was rounded to the constant."""
        off = self.shift / HALF_ULP
        return -ROOM - off, ROOM - off


def with_equal_constants(
    reference: Reference, candidate: Candidate, progress: Progress
) -> tuple[Reference, Candidate]:
    """Both sides with their float32 constants made equal; what was taken for what is among the notes.

    Args:
        reference: live, or from a recording, whose own constants can no longer be changed.
        candidate: live.
        progress: called as each phase begins.
    """
    sides = _sides(reference, candidate)
    if not any(telling(own) for side in sides for own in side.constants.own.values()):
        return reference, candidate
    progress("comparing constants")
    notes = _recognised(sides)
    unknowns = _unknowns(sides)
    apart = candidate.apart is None or candidate.apart > ROUNDING
    if apart and 0 < len(unknowns) <= MOST_UNKNOWNS and len(sides) == 2:
        notes += _solved(sides, unknowns, reference.inputs[0])
    for unknown in unknowns:  # nobody moves it where outputs are judged
        value = unknown.side.value(unknown.key)
        unknown.side.settled.setdefault(unknown.key, Settled(value, known=False))
    own = sides[-1].settled
    candidate = dataclasses.replace(
        candidate, task=candidate.task._replace(settled=own), notes=(*candidate.notes, *notes)
    )
    if len(sides) == 2:
        task = reference.task._replace(settled=sides[0].settled, tables=_tables(reference, candidate))
        reference = dataclasses.replace(reference, task=task)
    return reference, candidate


def _tables(reference: Reference, candidate: Candidate) -> tuple[str, ...]:
    """Weights of the reference without a partner: constants, as far as the candidate is concerned."""
    plan = candidate.plan
    return tuple(
        name for name in (plan.missing if plan.reversed else plan.unused) if name in reference.weights
    )


def _sides(reference: Reference, candidate: Candidate) -> list[_Side]:
    """The reference, if it is here, and the candidate."""
    given = reference.inputs[0]
    sides = []
    tables = _tables(reference, candidate)
    if reference.model is not None:
        settled: dict[Key, Settled] = {}
        task = restricted(reference, candidate)._replace(loss=None, settled=settled, tables=tables)
        program = reference.program(task, trainable=())
        constants = program.constants(reference.weights, given, None if tables else reference.trace)
        sides.append(_Side(reference.framework, program, reference.weights, constants, (), settled))
    settled = {}
    program = candidate.model.program(candidate.task._replace(loss=None, settled=settled), trainable=())
    constants = program.constants(candidate.weights, given)
    sides.append(
        _Side(candidate.model.framework, program, candidate.weights, constants, reference.numbers, settled)
    )
    return sides


def _recognised(sides: Sequence[_Side]) -> tuple[str, ...]:
    """Settle what the other side holds or computes; a note for each table."""
    if len(sides) < 2:
        return ()
    notes = []
    for side, other in zip(sides, reversed(sides), strict=True):
        for key, own in side.constants.own.items():
            if not telling(own):
                continue
            if key in other.constants.own:  # the same float32 number on both sides
                side.settled[key] = Settled(_restored(own), known=True)
                continue
            held = [  # what was taken for this table already is this table
                Computed(other.settled[k].value if k in other.settled else _restored(c), c)
                for k, c in other.constants.own.items()
                if c.size > 1
            ]
            found = _as_written(own, side.numbers) or settled_by(own, [*held, *other.constants.computed])
            if found is not None:
                side.settled[key] = found
                if own.size > 1 and not np.array_equal(found.value, own):
                    notes.append(
                        f"a table that the {side.framework} model holds in float32, {own.shape}, is taken "
                        f"for what the {other.framework} model computes"
                    )
    return tuple(dict.fromkeys(notes))


def _restored(own: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """A float32 constant as it was written, if all of it is plain; else the numbers that it holds."""
    value, uncertain = restore(own)
    return np.asarray(own, np.float64) if uncertain.any() else value


def _as_written(own: Shaped[np.ndarray, "..."], numbers: Sequence[float]) -> Settled | None:
    """A number that is written on the other side in double precision, where only one such is.

    An average is written with both of its shares, or with one and what that lacks to one.
    """
    rounded = np.float32(own.flat[0])
    if not (own == rounded).all():
        return None
    for written in (numbers, [1 - number for number in numbers if 0 < number < 1]):
        with np.errstate(over="ignore"):
            meant = {n for n in written if np.float32(n) == rounded and n != float(rounded)}
        if meant:
            only = meant.pop()
            return None if meant else Settled(np.full(own.shape, only, np.float64), known=True)
    return None


def _unknowns(sides: Sequence[_Side]) -> list[_Unknown]:
    """The numbers of constants that are neither settled nor tables."""
    found = []
    for side in sides:
        for key, own in side.constants.own.items():
            if key in side.settled or not telling(own):
                continue
            numbers = [n for n in np.unique(own) if telling(np.asarray([n]))]
            if len(numbers) <= MOST_NUMBERS:
                found += [_Unknown(side, key, float(number)) for number in numbers]
    return found


def _solved(sides: Sequence[_Side], unknowns: Sequence[_Unknown], inputs: Arrays) -> tuple[str, ...]:
    """Solve for the numbers that make the outputs agree, and settle them if they do."""
    before = _difference(sides, inputs)
    if before is None or not _differs(*before):
        return ()
    apart, scale = before
    rows = np.argsort(-np.abs(apart))[:ROWS]
    columns = []
    for unknown in unknowns:
        unknown.side.settled[unknown.key] = unknown.moved(1.0)
        moved = _difference(sides, inputs)
        del unknown.side.settled[unknown.key]
        if moved is None or moved[0].shape != apart.shape:
            return ()
        columns.append((moved[0] - apart)[rows])
    matrix = np.stack(columns, axis=1)
    room = [unknown.room for unknown in unknowns]
    enough = max(SOLVED * float(np.abs(apart).max()), ROUNDING * scale)
    steps, left = np.zeros(len(unknowns)), apart
    for _ in range(NEWTON):
        steps = least_change(matrix, left[rows] - matrix @ steps, room, enough)
        _settle(unknowns, steps)
        after = _difference(sides, inputs)
        left = np.full_like(apart, np.inf) if after is None else after[0]
        if after is None:
            break
    if not float(np.abs(left).max(initial=0.0)) <= enough:
        _settle(unknowns, np.zeros(len(unknowns)))
        return ()
    return tuple(
        f"a constant of the {unknown.side.framework} model, {unknown.number:.9g} in float32, is taken for "
        f"{unknown.number * (1 + unknown.shift):.15g}: with that the outputs agree"
        for unknown, step in zip(unknowns, steps, strict=True)
        if step
    )


def _settle(unknowns: Sequence[_Unknown], steps: Float[np.ndarray, " unknowns"]) -> None:
    """Take each constant for itself moved by these steps; one that does not move is not settled."""
    for unknown in unknowns:
        unknown.side.settled.pop(unknown.key, None)
    for unknown, step in zip(unknowns, steps, strict=True):
        if step:
            unknown.side.settled[unknown.key] = unknown.moved(float(step))


def _difference(sides: Sequence[_Side], inputs: Arrays) -> tuple[Float[np.ndarray, " entries"], float] | None:
    """The candidate's outputs minus the reference's, entry by entry, and how large these are."""
    first, second = (side.outputs(inputs) for side in sides)
    gaps, scale = [], 0.0
    for name in [name for name in first if name in second]:
        a, b = np.asarray(first[name]), np.asarray(second[name])
        if a.shape != b.shape:
            return None
        if a.dtype.kind != "f":
            continue
        usual = ordinary(a) & np.isfinite(a) & np.isfinite(b)
        gaps.append(np.where(usual, b - a, 0.0).reshape(-1))
        scale = max(scale, float(np.abs(a[usual]).max(initial=0.0)))
    return (np.concatenate(gaps), scale) if gaps else None


def _differs(apart: Float[np.ndarray, " entries"], scale: float) -> bool:
    """Whether the outputs differ by more than rounding in float64."""
    return float(np.abs(apart).max(initial=0.0)) > ROUNDING * scale
