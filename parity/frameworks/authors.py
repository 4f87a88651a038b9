"""Whose a line of code is: the model author's, or a framework's."""

FRAMEWORKS = (
    "jax",
    "jaxlib",
    "flax",
    "equinox",
    "haiku",
    "optax",
    "jaxtyping",
    "beartype",
    "chex",
    "einops",
    "parity",
    "torch",
)
"""Packages whose files are never the place of a fault: the author of the model is not among them."""

_known: dict[str, bool] = {}


def is_framework(file: str) -> bool:
    """Whether a source file belongs to one of `FRAMEWORKS`, or to no file at all.

    Args:
        file: path of a source file.
    """
    if file not in _known:
        _known[file] = file.startswith("<") or "importlib" in file or _package(file) in FRAMEWORKS
    return _known[file]


def _package(file: str) -> str:
    """The top package of a source file of an installed library or of the harness; else ""."""
    import parity

    if file.startswith(parity.__path__[0] + "/"):
        return "parity"
    for marker in ("/site-packages/", "/dist-packages/"):
        if marker in file:
            return file.rpartition(marker)[2].partition("/")[0]
    import sysconfig

    return "jax" if file.startswith(sysconfig.get_path("stdlib") + "/") else ""
