"""What the house keeps to: few modules on top, one name for one file, few parameters, two neutral roles."""

import inspect
import tokenize

import parity
from parity.pipeline.check import check
from tests.house import figures

ROOT = figures.Path(parity.__file__).parents[1]


def test_few_modules_stand_directly_in_parity():
    assert figures.directly_inside(ROOT) == ["__init__.py", "__main__.py", "cli.py", "plugin.py"]


def test_no_two_modules_share_a_file_name():
    assert figures.shared_file_names(ROOT) == {}


def test_check_takes_at_most_ten_keywords():
    kinds = [p.kind for p in inspect.signature(check).parameters.values()]
    assert kinds.count(inspect.Parameter.KEYWORD_ONLY) <= 10


def test_every_public_function_has_the_sections_it_needs():
    _, lacking = figures.documented(ROOT)
    assert [f"{function.place}: {function.name}" for function in lacking] == []


def test_sides_are_called_reference_and_candidate():
    found = []
    for path in figures.modules(ROOT):
        with path.open("rb") as file:
            names = {
                token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.NAME
            }
        found += [f"{path.name}: {name}" for name in names if {"ours", "theirs"} & set(name.split("_"))]
    assert found == []
