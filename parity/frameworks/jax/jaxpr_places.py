"""The model author's file and line of an equation of a jaxpr."""

import os
from typing import Any

from parity.frameworks.authors import is_framework
from parity.trace.graph import Spot

ENTRY = os.path.join("parity", "frameworks", "jax", "jax_program.py")
"""The file from which models are called."""


def spot_of(eqn: Any, caller: Spot) -> Spot:
    """The model author's file and line of an equation; without one, the caller's.

    Args:
        eqn: an equation.
        caller: the place of what contains it.
    """
    file, line = frame_of(eqn.source_info.traceback)
    names = str(eqn.source_info.name_stack)
    module = f"{caller.module}/{names}" if names and caller.module else names or caller.module
    if not file or caller.line < 0:  # inside a function of a framework: its caller's line
        file, line = caller.file, abs(caller.line)
    return Spot(module, file, line, caller.step)


def within(eqn: Any, here: Spot, body: Any) -> Spot:
    """The place that equations inside a called jaxpr inherit; a negative line means: all of them.

    JAX traces a jitted function once and keeps it, with the frames of its first caller. Inside a
    function of a framework those are wrong for every later caller.

    Args:
        eqn: an equation that only calls.
        here: its own place.
        body: the jaxpr that it calls.
    """
    source = str(getattr(getattr(body, "debug_info", None), "func_src_info", "") or "")
    foreign = " at " in source and is_framework(source.partition(" at ")[2].rpartition(":")[0])
    custom = eqn.primitive.name.startswith("custom_") and foreign
    return here._replace(line=-abs(here.line)) if foreign or custom else here


def frame_of(traceback: Any) -> tuple[str, int]:
    """(file, line) of the innermost frame that belongs to no framework.

    Args:
        traceback: of an equation, as JAX keeps it; None where it keeps none.

    Returns:
        The file and line; "" and 0 without such a frame.
    """
    if traceback is not None:
        codes, positions = traceback.raw_frames()
        for code, position in zip(codes, positions, strict=True):
            if code.co_filename.endswith(ENTRY):  # what lies above is who called the check
                break
            if not is_framework(code.co_filename):
                return code.co_filename, type(traceback).code_addr2location(code, position)[0]
    return "", 0
