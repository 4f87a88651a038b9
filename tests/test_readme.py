"""The README's Python runs, and says what it claims."""

import re
from pathlib import Path
from typing import Any

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_blocks_run_in_order() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    report = names["report"]
    assert report.failures("forward", "float64"), "the README says that the tanh GELU fails"
    assert report.failures("weights") == ()
    (divergence,) = report.divergences
    assert divergence.cause.name == "activation"
    assert divergence.candidate[0].file == "README.md"


def test_the_two_commands_are_marked_for_ci() -> None:
    for mark in ("main-job", "tests"):
        assert re.search(rf"<!-- {mark} -->\n```\n(.+\n)+```", README)
