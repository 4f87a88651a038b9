"""All right ports: what the harness must pass without help."""

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.pairs import (  # noqa: F401  (they add their ports)
    attention,
    convolutions,
    dense,
    huggingface,
    language,
    norms,
    others,
    recurrent,
    vision,
)
from tests.pairs.ports import PORTS, Port


def _arguments(make: Callable[[], Port]) -> dict[str, Any]:
    return make().arguments()


PAIRS: dict[str, Callable[[], dict[str, Any]]] = {
    name: partial(_arguments, make) for name, make in PORTS.items()
}
"""Keyword arguments of `parity.check` by name."""
