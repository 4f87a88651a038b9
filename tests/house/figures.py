"""Figures of the house's order, read from source files: nothing is imported."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Function(NamedTuple):
    """A public function, or a public method of a public class.

    Attributes:
        place: file and line.
        name: with the class in front.
        node: its syntax tree.
    """

    place: str
    name: str
    node: ast.FunctionDef | ast.AsyncFunctionDef


def modules(root: Path) -> list[Path]:
    """The modules of `parity`."""
    return sorted((root / "parity").rglob("*.py"))


def directly_inside(root: Path) -> list[str]:
    """Names of the modules that lie directly in `parity`."""
    return sorted(path.name for path in (root / "parity").glob("*.py"))


def shared_file_names(root: Path) -> dict[str, int]:
    """File names that several modules have."""
    counts = Counter(path.name for path in modules(root) if not path.name.startswith("__"))
    return {name: count for name, count in sorted(counts.items()) if count > 1}


def shared_names(root: Path) -> dict[str, list[str]]:
    """Public classes and functions that several modules define under one name."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in modules(root):
        for node in ast.parse(path.read_text()).body:
            public = isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
            if public:
                found[node.name].append(path.relative_to(root).as_posix())
    return {name: where for name, where in sorted(found.items()) if len(where) > 1}


def any_per_hundred_lines(root: Path) -> float:
    """Uses of `Any`, imports left out, per hundred lines."""
    uses = lines = 0
    for path in modules(root):
        for line in path.read_text().splitlines():
            lines += 1
            if not re.match(r"\s*(from|import)\s", line):
                uses += len(re.findall(r"\bAny\b", line))
    return 100 * uses / lines


def widest_function(root: Path) -> tuple[str, int]:
    """The public function with the most parameters, and how many it has (commands of click left out)."""
    counts = {f.name: len(_parameters(f)) for f in functions(root) if "/commands/" not in f.place}
    return max(counts.items(), key=lambda item: item[1])


def documented(root: Path) -> tuple[list[Function], list[Function]]:
    """Public functions whose docstrings must have sections, and those of them that lack one.

    `Args` is needed where there are two parameters or more to explain, one that the first line names in
    backticks left out, and `Raises` where a `raise` stands in the body. `Returns` is not counted: whether the
    first line says it is for a reader to judge. Commands of click are left out: their options carry the help.
    """
    needing, lacking = [], []
    for function in functions(root):
        if any("click.command" in ast.unparse(mark) for mark in function.node.decorator_list):
            continue
        doc = ast.get_docstring(function.node) or ""
        first = doc.partition("\n")[0]
        named = [name for name in _parameters(function) if f"`{name}" not in first]
        needs = {"Args:"} if len(named) > 1 else set()
        own = [n for n in ast.walk(function.node) if isinstance(n, ast.Raise) and n.exc is not None]
        needs |= {"Raises:"} if own else set()
        if needs:
            needing.append(function)
            if any(section not in doc for section in needs):
                lacking.append(function)
    return needing, lacking


def functions(root: Path) -> Iterator[Function]:
    """Every public function and public method."""
    for path in modules(root):
        place = path.relative_to(root).as_posix()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield Function(f"{place}:{node.lineno}", node.name, node)
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                        yield Function(f"{place}:{inner.lineno}", f"{node.name}.{inner.name}", inner)


def _parameters(function: Function) -> list[str]:
    arguments = function.node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [argument.arg for argument in every if argument.arg not in ("self", "cls")]
