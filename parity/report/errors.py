"""Whose error it is: the user's arguments, the user's model, or a bug of the harness."""

import contextlib
import opcode
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import parity

HERE = str(Path(parity.__file__).parent)

RAISED_BY = "raised by the"
"""How the note on an error of the user's model begins."""

_RAISE = opcode.opmap["RAISE_VARARGS"]


class HarnessError(RuntimeError):
    """A bug of the harness, not of the models compared; the message says what to report."""


@contextlib.contextmanager
def raised_by(framework: str, doing: str = "") -> Iterator[None]:
    """Give errors that the user's own code raises inside a note that names the model and what it was doing.

    Args:
        framework: whose model runs.
        doing: what it was doing, e.g. "in bfloat16".
    """
    try:
        yield
    except Exception as error:
        if not on_purpose(error) and not is_of_a_model(error):
            error.add_note(f"{RAISED_BY} {framework} model{f' {doing}' if doing else ''}")
        raise


@contextlib.contextmanager
def by_the_harness(doing: str) -> Iterator[None]:
    """Errors raised inside are bugs of the harness: the model itself runs, this step on it does not.

    Errors that the harness raises on purpose (bad input) pass as they are, and so do those of the user's
    own lines.

    Args:
        doing: the step, e.g. "lifting the reference to float64".

    Raises:
        HarnessError: from the original error, naming the step.
    """
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        if on_purpose(error) or is_of_a_model(error):
            raise
        raise HarnessError(
            f"a bug of the harness while {doing}, not of your model: {type(error).__name__}: {error}; please "
            "report it with this traceback and the operation it names"
        ) from error


def on_purpose(error: BaseException) -> bool:
    """Whether a line of the harness itself raised this, to say what is wrong with what it was given."""
    last = _last(error.__traceback__)
    if last is None or not last.tb_frame.f_code.co_filename.startswith(HERE):
        return False
    return last.tb_frame.f_code.co_code[last.tb_lasti] == _RAISE


def without_the_harness(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of the harness: what is left is the user's and the frameworks'.

    Args:
        traceback: of an error that a model raised.
    """
    if traceback is None:
        return None
    rest = without_the_harness(traceback.tb_next)
    if traceback.tb_frame.f_code.co_filename.startswith(HERE):
        return rest
    return TracebackType(rest, traceback.tb_frame, traceback.tb_lasti, traceback.tb_lineno)


def in_one_line(error: BaseException) -> str:
    r"""An error's class, and the first line of what it says.

    >>> in_one_line(ValueError("no such size\nsecond line"))
    'ValueError: no such size'

    Args:
        error: any.
    """
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


class Raised(NamedTuple):
    """What one of several attempts at the same came to.

    Attributes:
        error: what it raised.
        reached: how many operations of the model it had computed by then; None if the model could not be
            opened, as a module that draws its params from the inputs.
    """

    error: Exception
    reached: int | None


def why_unplaced(error: BaseException) -> str:
    """Why a place was not found, of an error on the way to it: that must not cost the verdict.

    Args:
        error: what was raised.
    """
    what = in_one_line(error)
    if on_purpose(error):
        return f"the place was not looked for: {what}"
    return (
        f"the place was not found because of a bug of the harness ({what}); please report it: set "
        "PARITY_DEBUG=1 for the traceback"
    )


def furthest(attempts: Sequence[Raised]) -> Exception:
    """The error of the attempt that got furthest: the other attempts were the wrong ones.

    What the harness says of weights or outputs comes after a run that succeeded. Of two errors of a model,
    that one got further before which more was computed, or which was raised at a later line, in the outermost
    function where they part. An error that cannot be compared so becomes a note on it.

    Args:
        attempts: at least one, in the order in which they were made.

    Returns:
        The first of those that got furthest.
    """
    best = max(attempts, key=_reached)
    others = [one for one in attempts if one is not best and not on_purpose(one.error)]
    if unsure := [one for one in others if on_purpose(best.error) or one.reached is None]:
        other = max(unsure, key=_reached)
        best.error.add_note(f"another attempt, with the axes in another order: {in_one_line(other.error)}")
    return best.error


def _reached(attempt: Raised) -> tuple[bool, int, list[int]]:
    """How far a model ran: whether all of it did, how much, and the lines on the way, outermost first."""
    lines = []
    step = attempt.error.__traceback__
    while step is not None:
        if not step.tb_frame.f_code.co_filename.startswith(HERE):
            lines.append(step.tb_lineno)
        step = step.tb_next
    return on_purpose(attempt.error), attempt.reached or 0, lines


def is_of_a_model(error: BaseException) -> bool:
    """Whether an error was raised by the user's own model, as `raised_by` noted.

    Args:
        error: that was caught.
    """
    return any(str(note).startswith(RAISED_BY) for note in getattr(error, "__notes__", ()))


def _last(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback
