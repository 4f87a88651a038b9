"""The model author's file and line of an equation of a jaxpr."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import CodeType
from typing import NamedTuple, Protocol

from jax.extend.core import Jaxpr, JaxprEqn

from parity.frameworks.authors import is_framework, package_in
from parity.frameworks.jax.libraries import library_packages
from parity.trace.graph import NOWHERE, Frame, Spot

ENTRY = os.path.join("parity", "frameworks", "jax", "jax_passes.py")
"""The file from which models are called."""

MOST_CALLERS = 6
"""Callers whose lines are kept with an operation."""


class Caller(NamedTuple):
    """Where a jaxpr is called from.

    Attributes:
        spot: the place of the equation that calls it.
        framework_file: the framework's file whose function is called; empty for a user's function. Frames
            of the stack from that function outwards are its first caller's.
    """

    spot: Spot = NOWHERE
    framework_file: str = ""


TOP = Caller()
"""Of the program itself: nothing calls it."""


class Frames(Protocol):
    """The call stack of an equation, as JAX keeps it."""

    def raw_frames(self) -> tuple[Sequence[CodeType], Sequence[int]]:
        """The code of each frame and the instruction that it was at, the innermost first."""

    @staticmethod
    def code_addr2location(code: CodeType, instruction: int, /) -> tuple[int, int, int, int]:
        """First line, first column, last line and last column of an instruction.

        Args:
            code: of a frame.
            instruction: that it was at.
        """


def spot_of(eqn: JaxprEqn, caller: Caller) -> Spot:
    """The model author's file and line of an equation; without one, the caller's.

    Args:
        eqn: an equation.
        caller: what calls the jaxpr that contains it.
    """
    outer = caller.spot
    names = str(eqn.source_info.name_stack)
    module = f"{outer.module}/{names}" if names and outer.module else names or outer.module
    lines = frames_of(eqn.source_info.traceback, caller.framework_file)
    if not lines:
        lines = [Frame(outer.file, outer.line, outer.function), *outer.callers]
    (file, line, function), *callers = lines
    return Spot(module, file, line, outer.step, function=function, callers=tuple(callers))


def caller_of(eqn: JaxprEqn, here: Spot, body: Jaxpr) -> Caller:
    """What a called jaxpr is called from.

    JAX traces a jitted function once and keeps it, with the frames of its first caller. Inside a
    function of a framework those are wrong for every later caller, whose place, if it has one, holds instead.
    What a framework's function calls itself, as that of `eqx.filter_jit` does the user's, lies further in.

    Args:
        eqn: an equation that only calls.
        here: its own place.
        body: the jaxpr that it calls.
    """
    source = str(getattr(getattr(body, "debug_info", None), "func_src_info", "") or "")
    file = source.partition(" at ")[2].rpartition(":")[0]
    foreign = bool(file) and here.line > 0 and _is_framework(file)
    return Caller(here, file if foreign else "")


def frame_of(traceback: Frames | None) -> tuple[str, int]:
    """(file, line) of the innermost frame that belongs to no framework.

    Args:
        traceback: of an equation; None where JAX keeps none.

    Returns:
        The file and line; "" and 0 without such a frame.
    """
    return next(((frame.file, frame.line) for frame in frames_of(traceback)), ("", 0))


def frames_of(traceback: Frames | None, framework_file: str = "") -> list[Frame]:
    """The frames that belong to no framework, the innermost first.

    Args:
        traceback: of an equation; None where JAX keeps none.
        framework_file: a file at which the search ends, as at the entry.
    """
    found: list[Frame] = []
    if traceback is not None:
        codes, positions = traceback.raw_frames()
        for code, position in zip(codes, positions, strict=True):
            if code.co_filename.endswith(ENTRY) or code.co_filename == framework_file:
                break  # what lies above is who called the check, or who called the function first
            if not _is_framework(code.co_filename):
                line = type(traceback).code_addr2location(code, position)[0]
                found.append(Frame(code.co_filename, line, code.co_qualname))
                if len(found) > MOST_CALLERS:
                    break
    return found


def package_of(eqn: JaxprEqn) -> str:
    """The package, of a library on top of JAX, whose code an equation is; "" for the user's own.

    Args:
        eqn: an equation.
    """
    traceback: Frames | None = eqn.source_info.traceback
    for code in traceback.raw_frames()[0] if traceback is not None else ():
        if code.co_filename.endswith(ENTRY):
            break
        if not is_framework(code.co_filename):
            package = package_in(code.co_filename)
            return package if package in library_packages() else ""
    return ""


def has_norms_of_a_library(eqns: Iterable[JaxprEqn]) -> bool:
    """Whether some equations are those of a normalisation that a library on top of JAX has.

    Args:
        eqns: of a program.
    """
    tracebacks: list[Frames | None] = [eqn.source_info.traceback for eqn in eqns]
    files = {code.co_filename for one in tracebacks if one is not None for code in one.raw_frames()[0]}
    return any("norm" in Path(file).name and package_in(file) in library_packages() for file in files)


def _is_framework(file: str) -> bool:
    return is_framework(file, library_packages())
