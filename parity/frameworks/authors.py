"""Whose a line of code is: the model author's, or a framework's."""

import functools
import sysconfig
from collections.abc import Collection

FRAMEWORKS = (
    "jax",
    "jaxlib",
    "optax",
    "jaxtyping",
    "beartype",
    "chex",
    "einops",
    "parity",
    "torch",
)
"""Packages whose files are never the place of a fault: the author of the model is not among them."""


def is_framework(file: str, libraries: Collection[str] = ()) -> bool:
    """Whether a source file belongs to a framework, to a library on top of it, or to no file at all.

    Args:
        file: path of a source file.
        libraries: packages besides `FRAMEWORKS` whose files are never the place of a fault.
    """
    if file.startswith("<") or "importlib" in file:
        return True
    package = package_in(file)
    return package in FRAMEWORKS or package in libraries


@functools.cache
def package_in(file: str) -> str:
    """The top package of a source file of an installed library or of the harness; else "".

    Args:
        file: path of a source file.
    """
    import parity

    if file.startswith(parity.__path__[0] + "/"):
        return "parity"
    for marker in ("/site-packages/", "/dist-packages/"):
        if marker in file:
            return file.rpartition(marker)[2].partition("/")[0]
    return "jax" if file.startswith(sysconfig.get_path("stdlib") + "/") else ""
