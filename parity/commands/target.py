"""The user's `FILE.py:FUNCTION`: found, imported, called, and its errors shown as the user's own."""

import contextlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

HARNESS = str(Path(__file__).resolve().parents[1])
"""The folder of this package: its frames are left out of what a user sees."""


class TargetFunction(NamedTuple):
    """A function in a file, as the user named it.

    Attributes:
        file: the Python file.
        function: name of the function.
        label: the user's own words, for messages.
        call: whose arguments it returns: "check" or "check_training" of `parity`.
    """

    file: Path
    function: str
    label: str
    call: str = "check"


class TargetError(ValueError):
    """What is wrong with the user's file or what its function returned, ready to be shown."""


Arguments = tuple[tuple[object, ...], dict[str, object]]
"""Positional and keyword arguments that a target returned."""


def parse(text: str, call: str = "check") -> TargetFunction:
    """Read `FILE.py:FUNCTION`, or `FILE.py` for the function `parity_check` or `parity_check_training`.

    Args:
        text: as the user wrote it.
        call: whose arguments the function returns: "check" or "check_training" of `parity`.

    Raises:
        TargetError: if there is no such file.
    """
    head, colon, tail = text.rpartition(":")
    if colon and (tail.isidentifier() or Path(head).is_file()):
        file, function = Path(head), tail
    else:
        file, function = Path(text), f"parity_{call}"
    if not file.is_file():
        kind = "a directory" if file.is_dir() else "not there"
        raise TargetError(f"{file} is {kind}; give FILE.py:FUNCTION, the function that returns the arguments")
    if not function.isidentifier():
        raise TargetError(f"{text}: {function!r} is not the name of a function; give FILE.py:FUNCTION")
    return TargetFunction(file, function, text, call)


@contextlib.contextmanager
def opened(target: TargetFunction) -> Iterator[Arguments]:
    """Import the file, call its function and yield the arguments that it returns.

    While the context is open the file's directory is the first on `sys.path`, so that modules beside it
    can be imported, then and when the models run. Relative paths are read from the current directory as
    Python does, and from the file's own where they are not found there. On exit `sys.path` is as before,
    and modules that came from that directory are forgotten: another file may have a `model.py`, too.

    Args:
        target: the function.

    Yields:
        Positional and keyword arguments.

    Raises:
        TargetError: if the file or its function raises (with the user's lines of the traceback), if
            there is no such function, or if it returns something else.
    """
    directory = target.file.resolve().parent
    before = set(sys.modules)
    sys.path.insert(0, str(directory))
    try:
        yield _arguments(target, _evaluated(target, directory))
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(directory))
        _forget(directory, before)


def by_name(target: TargetFunction, arguments: Arguments) -> dict[str, Any]:
    """Bring what a target returned to arguments by name.

    Args:
        target: the function.
        arguments: what it returned; the first three may come in order.

    Raises:
        TargetError: naming what the call does not take.
    """
    from parity.pipeline.arguments import CALLS, require_known

    call = CALLS[target.call]
    args, kwargs = arguments
    if len(args) > len(call.in_order):
        raise TargetError(
            f"{target.label} returned {len(args)} arguments in order; at most {len(call.in_order)} may be"
        )
    given = {**dict(zip(call.in_order, args, strict=False)), **kwargs}
    try:
        require_known(given, call)
    except ValueError as error:
        raise TargetError(f"{target.label} returned what {call.name} does not take: {error}") from None
    return {"name": target.label, **given}


def require_both_sides(target: TargetFunction, given: Mapping[str, object]) -> None:
    """Check that a target returned both models and what they are compared on.

    Args:
        target: the function.
        given: arguments by name.

    Raises:
        TargetError: naming what is missing.
    """
    from parity.pipeline.arguments import CALLS

    call = CALLS[target.call]
    if missing := [name for name in call.in_order if name not in given]:
        raise TargetError(f"{target.label} returned no {', '.join(map(repr, missing))}: {call.name} needs it")


def _evaluated(target: TargetFunction, directory: Path) -> object:
    """What the function returns."""
    try:
        try:
            return _call(target)
        except FileNotFoundError as error:
            if Path.cwd() == directory:
                raise
            with contextlib.chdir(directory):
                try:
                    return _call(target)
                except FileNotFoundError:
                    raise error from None
    except TargetError:
        raise
    except (Exception, SystemExit) as error:
        raise TargetError(f"{target.label} raised an error\n{users_traceback(error, target.file)}") from error


def _call(target: TargetFunction) -> object:
    module = _imported(target.file)
    function = getattr(module, target.function, None)
    if function is None:
        there = _functions(module)
        known = f"; it has {', '.join(there)}" if there else ""
        raise TargetError(f"{target.file} has no function {target.function!r}{known}; give FILE.py:FUNCTION")
    if not callable(function):
        raise TargetError(f"{target.label} is of type {type(function).__name__}; it must be a function")
    if needed := _needed(function):
        raise TargetError(
            f"{target.label} needs the arguments {', '.join(needed)}; it is called without any and "
            f"returns those of parity.{target.call}"
        )
    return function()


def _needed(function: Callable[..., object]) -> list[str]:
    """The arguments without which a function cannot be called."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some builtins have no signature: call and see
        return []
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]


def _imported(file: Path) -> ModuleType:
    """The file as a new module, under its own name unless a module of that name is loaded already."""
    name = file.stem if file.stem.isidentifier() and file.stem not in sys.modules else f"_target_{file.stem}"
    source = file.resolve()
    spec = importlib.util.spec_from_file_location(name, source)
    if spec is None or spec.loader is None:
        raise TargetError(f"{file} is not a Python file; give FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _functions(module: ModuleType) -> list[str]:
    """The functions that the file defines and that can be called without arguments."""
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and not _needed(value)
    ]


def _arguments(target: TargetFunction, value: object) -> Arguments:
    args: tuple[object, ...] = ()
    kwargs = value
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], tuple | list):
        args, kwargs = tuple(value[0]), value[1]
    if not isinstance(kwargs, Mapping):
        raise TargetError(
            f"{target.label} returned {_kind(value)}; it must return the arguments of parity.{target.call}: "
            "a dict, or (positional arguments, dict)"
        )
    return args, dict(kwargs)


def _kind(value: object) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {', '.join(type(item).__name__ for item in value) or 'nothing'}"
    return "None" if value is None else f"an object of type {type(value).__name__}"


def _forget(directory: Path, before: set[str]) -> None:
    """Unload the modules that were found in a directory since; packages loaded before keep all of theirs."""
    new = [name for name in sys.modules if name not in before and name.partition(".")[0] not in before]
    roots = {name.partition(".")[0] for name in new if _lies_in(directory, name)}
    for name in new:
        if name.partition(".")[0] in roots:
            del sys.modules[name]


def _lies_in(directory: Path, name: str) -> bool:
    module = sys.modules[name]
    origin = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    if origin is None:
        return False
    root = directory / name.partition(".")[0]
    place = Path(origin)
    return place == root.with_suffix(".py") or place.is_relative_to(root)


@contextlib.contextmanager
def running_models(target: TargetFunction) -> Iterator[None]:
    """Show what a model raises as it runs with the user's lines; what the harness says, as it is.

    Args:
        target: the function that made the models.

    Raises:
        TargetError: with the message to show.
    """
    from parity.report.errors import HarnessError, on_purpose

    try:
        yield
    except TargetError:
        raise
    except HarnessError as error:
        whole = "".join(traceback.format_exception(error)).rstrip()
        raise TargetError(f"{target.label}: {error}\n{whole}") from error
    except Exception as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        if on_purpose(error):
            raise TargetError(f"{error}{notes}") from error
        raise TargetError(f"{target.label}:\n{users_traceback(error, target.file)}") from error


def users_traceback(error: BaseException, file: Path) -> str:
    """A traceback from the user's file on, without the frames of the harness.

    Args:
        error: what was raised.
        file: the user's file.
    """
    summary = traceback.TracebackException.from_exception(error)
    seen: list[traceback.TracebackException | None] = [summary]
    while seen:
        one = seen.pop()
        if one is not None:
            # A file that cannot be compiled has no frame of its own: nothing but the message is the user's.
            none = len(one.stack) if isinstance(error, SyntaxError) else 0
            first = next((i for i, f in enumerate(one.stack) if f.filename == str(file.resolve())), none)
            kept = [frame for frame in one.stack[first:] if not _is_internal(frame.filename)]
            one.stack = traceback.StackSummary.from_list(kept)
            seen += [one.__cause__, None if one.__suppress_context__ else one.__context__]
    return "".join(summary.format()).rstrip()


def _is_internal(filename: str) -> bool:
    return filename.startswith(("<frozen importlib", HARNESS))
