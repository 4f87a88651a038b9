"""All right ports by name: pairs that the harness must pass without help."""

import importlib
from collections.abc import Callable
from pathlib import Path

from tests.kit.pairs import Pair

_PORTS: dict[str, Callable[[], Pair]] = {}


def port(name: str) -> Callable[[Callable[[], Pair]], Callable[[], Pair]]:
    """Decorator that adds a function that makes a pair to the ports."""

    def add(make: Callable[[], Pair]) -> Callable[[], Pair]:
        if name in _PORTS:
            raise ValueError(f"there are two ports of the name {name}")
        _PORTS[name] = make
        return make

    return add


def ports() -> dict[str, Callable[[], Pair]]:
    """Every port of every row module beside this file."""
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        if path.stem != "ports" and not path.stem.startswith("test_"):
            importlib.import_module(f"{__package__}.{path.stem}")
    return _PORTS
