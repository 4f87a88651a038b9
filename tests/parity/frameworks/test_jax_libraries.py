"""The libraries of JAX as modules of one package: found by lying there, asked in order."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jax.numpy as jnp
import numpy as np
import pytest

from parity.frameworks.jax import libraries
from parity.frameworks.jax.jax_model import read_jax
from parity.frameworks.jax.jax_program import JaxProgram
from parity.frameworks.jax.libraries import KnownBy, Library, library_of, library_packages
from parity.frameworks.task import Task

NEW = '''
"""Models of a library that nobody has heard of: dicts with their weights and a function."""

from parity.frameworks.jax.functional import from_tree
from parity.frameworks.jax.libraries import KnownBy

KNOWN_BY = KnownBy.CLASS
PACKAGES = ("unheard_of",)


def owns(model):
    return type(model).__name__ == "Unheard"


def called(model):
    return model.__call__


def open_model(model, params, inputs, modes):
    return from_tree({"kernel": model.kernel}, lambda tree, x: model.run(tree["kernel"], x))
'''


class Unheard:
    """A model of the new library, which could be taken for a function, or for an `init` and `apply`."""

    kernel = jnp.full((3, 2), 2.0)

    def __call__(self, x: jnp.ndarray) -> jnp.ndarray:
        return self.run(self.kernel, x)

    def run(self, kernel: jnp.ndarray, x: jnp.ndarray) -> jnp.ndarray:
        return sys.modules["unheard_of"].product(x, kernel)  # type: ignore[no-any-return]

    init = apply = __call__


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules belong to the package of the libraries, too."""
    monkeypatch.setattr(libraries, "__path__", [*libraries.__path__, str(tmp_path)])
    forget()
    yield tmp_path
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(f"{libraries.__name__}.{path.stem}", None)
        vars(libraries).pop(path.stem, None)
    forget()


def forget() -> None:
    importlib.invalidate_caches()
    libraries.libraries.cache_clear()
    library_packages.cache_clear()


def test_a_new_library_is_one_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert library_of(Unheard()).KNOWN_BY is KnownBy.ATTRIBUTES  # nobody's: it has `init` and `apply`
    (folder / "unheard.py").write_text(NEW)
    forget()
    assert library_of(Unheard()).PACKAGES == ("unheard_of",)
    inside = folder / "site-packages" / "unheard_of" / "layers.py"
    inside.parent.mkdir(parents=True)
    inside.write_text("def product(x, kernel):\n    return x @ kernel\n")
    module = ModuleType("unheard_of")
    exec(compile(inside.read_text(), str(inside), "exec"), vars(module))
    monkeypatch.setitem(sys.modules, "unheard_of", module)
    x = np.ones((4, 3), np.float32)
    model = read_jax(Unheard(), None, {"x": x})
    assert list(model.weights) == ["kernel"]
    program = JaxProgram(model, Task(("x",)))
    np.testing.assert_array_equal(program({}, {"x": x}, "float32")["outputs"]["output"], np.full((4, 2), 6.0))
    trace = program.trace({}, {"x": x})
    (product,) = [node for node in trace.nodes if node.operation == "dot_general"]
    assert product.spot.file == __file__  # a line of the library is never the place


def test_the_surest_sign_is_looked_for_first() -> None:
    order = [library.KNOWN_BY for library in libraries.libraries()]
    assert order == sorted(order)
    assert order[-2:] == [KnownBy.ATTRIBUTES, KnownBy.BEING_CALLABLE]
    assert all(isinstance(library, Library) for library in libraries.libraries())


def test_a_module_that_is_no_library_is_named(folder: Path) -> None:
    (folder / "unfinished.py").write_text("def owns(model):\n    return True\n")
    forget()
    with pytest.raises(TypeError, match=r"libraries\.unfinished is no library of JAX: it must define"):
        library_of(Unheard())
