"""Right ports to start from: the project's own, and pair files as `parity check` takes them."""

import contextlib
from collections.abc import Iterator
from typing import Any

from parity.commands.target import by_name, opened, parse, require_both_sides
from tests.kit.checking import arguments
from tests.pairs.ports import ports


def port_names(chosen: list[str]) -> list[str]:
    """The pair files among the names, and every port whose name starts with one of the others.

    Args:
        chosen: names; none for all ports.

    Raises:
        ValueError: if a name fits nothing.
    """
    known = sorted(ports())
    if not chosen:
        return known
    found: list[str] = []
    for name in chosen:
        fitting = [name] if is_file(name) else [one for one in known if one.startswith(name)]
        if not fitting:
            raise ValueError(f"{name!r} is neither a FILE.py nor the start of a port's name")
        found += fitting
    return list(dict.fromkeys(found))


def is_file(name: str) -> bool:
    """Whether a name is that of a pair file, perhaps with a function."""
    return name.endswith(".py") or ".py:" in name


@contextlib.contextmanager
def given(name: str) -> Iterator[dict[str, Any]]:
    """The arguments of `parity.check`, flat, of a port or a pair file; of a port without any help.

    Args:
        name: of a port, or FILE.py, or FILE.py:FUNCTION.
    """
    if not is_file(name):
        yield arguments(ports()[name]().unaided())
        return
    target = parse(name)
    with opened(target) as returned:
        found = by_name(target, returned)
        require_both_sides(target, found)
        if isinstance(found["inputs"], list) and isinstance(found["inputs"][0], dict):
            found["inputs"] = found["inputs"][0]  # one set is enough to find a mutant
        yield found
