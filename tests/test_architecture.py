"""The pages on how the house is built say what is so: rooms, imports, files, functions, links."""

import ast
import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def rooms() -> dict[str, set[str]]:
    """The rooms of the picture, in order, with what each is said to import."""
    picture = re.search(r"<!-- rooms -->\n```\n(.*?)```", ARCHITECTURE, re.DOTALL)
    assert picture
    head, rule, *lines = picture[1].splitlines()
    start = rule.index(" -") + 1, rule.rindex(" -") + 1
    assert head[start[1] :] == "imports"
    found: dict[str, set[str]] = {}
    for line in lines:
        if line[0] != " ":
            found[line.split()[0]] = set()
        found[list(found)[-1]] |= set(line[start[1] :].split())
    return found


def contract(container: str) -> list[list[str]]:
    """The layers of a container in pyproject's contracts, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [one["layers"] for one in contracts if one.get("containers") == [container]]
    return [layer.split(" | ") for layer in layers]


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports when it runs, inside functions as well."""
    tree = ast.parse(path.read_text())
    typing = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and isinstance(test.test, ast.Name) and test.test.id == "TYPE_CHECKING"
        for inner in test.body
        for node in ast.walk(inner)
    }
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_the_picture_has_the_rooms_of_the_contract_in_its_order() -> None:
    order = [room for layer in contract("parity") for room in layer]
    assert list(rooms()) == order
    there = {path.stem for path in (ROOT / "parity").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert there - {"__init__", "__pycache__", "py"} - set(order) == set()


def test_the_picture_says_what_each_room_imports() -> None:
    for room, said in rooms().items():
        place = ROOT / "parity" / room
        files = list(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
        names = {name for file in files for name in imported(file)}
        real = {name.split(".")[1] for name in names if name.startswith("parity.")}
        assert (real & set(rooms())) - {room} == said, room


@pytest.mark.parametrize("package", ["experiments", "data", "jaxnn", "torchref"])
def test_the_packages_import_what_is_said(package: str) -> None:
    (line,) = re.findall(rf"^{package}  .*$", ARCHITECTURE, re.MULTILINE)
    names = {name.split(".")[0] for file in (ROOT / package).rglob("*.py") for name in imported(file)}
    ours = {"parity", "experiments", "data", "jaxnn", "torchref"} - {package}
    assert names & ours == ({"experiments"} if "experiments;" in line else set())
    other = {"jaxnn": {"torch"}, "torchref": {"jax", "flax", "optax"}}
    assert not names & other.get(package, {"torch", "jax", "flax", "optax"})


def defined(tree: ast.Module) -> Iterator[str]:
    """Names that a module defines, those of classes with a dot."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    target = getattr(inner, "target", None)
                    name = getattr(inner, "name", getattr(target, "id", None))
                    if name:
                        yield f"{node.name}.{name}"
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_and_names_exist(page: Path) -> None:
    text = page.read_text()
    for file, name in re.findall(r"`([\w./]+\.py):(\w[\w.]*)`", text):
        path = ROOT / file
        assert path.is_file(), file
        assert name in set(defined(ast.parse(path.read_text()))), f"{file}:{name}"
    packages = "parity|jaxnn|torchref|data|experiments|tests|docs"
    for file in re.findall(rf"`((?:{packages})/[a-z0-9_./]*\w/?)`", text):
        assert (ROOT / file).exists(), file


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        if file.startswith("http"):
            continue
        assert (page.parent / file).exists(), target
        if anchor:
            linked = (page.parent / file).read_text() if file else text
            heads = re.findall(r"^#+ (.*)$", linked, re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_guide_has_every_field_of_weights_and_settings() -> None:
    from parity.pipeline.request import Settings, Weights

    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "guide.md").read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    for group in (Weights, Settings):
        assert {field.name for field in dataclasses.fields(group)} <= named


def test_the_changelog_has_every_renamed_argument() -> None:
    from parity.pipeline.arguments import RENAMED

    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    for old, new in RENAMED.items():
        assert any(
            re.search(rf"\b{old}\b", before) and all(name in now for name in new.split(" and "))
            for before, now in rows
        ), old


NARROW = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/guide.md", "docs/architecture.md")
"""Pages that are read in a terminal, of 80 columns."""


@pytest.mark.parametrize("name", [*NARROW, "docs/networks.md", "docs/limits.md"])
def test_pages_fit_a_terminal(name: str) -> None:
    lines = [line for line in (ROOT / name).read_text().splitlines() if len(line) > 80]
    assert [line for line in lines if "](" not in line and "pip install" not in line] == []
