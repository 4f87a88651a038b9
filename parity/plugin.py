"""The pytest plugin: the fixture `parity_check`, the marker `parity` and the option `--parity-html`.

    def test_port(parity_check):
        parity_check(torch_module, jax_model, {"x": x})

The call is that of `parity.check`; any verdict but pass fails the test with the report as its message.
Importing this module loads neither framework.
"""

import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parity.report.results import Report

PROPERTY = "parity_html"
"""Under this name a test's properties (in JUnit XML, too) have the pages that were written for it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--parity-html DIR`.

    Args:
        parser: pytest's.
    """
    parser.getgroup("parity", "PyTorch and JAX models compared").addoption(
        "--parity-html",
        metavar="DIR",
        help="write a page for every comparison of `parity_check` that does not pass into this directory",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and find out before the tests run whether the pages can be written.

    Args:
        config: pytest's.

    Raises:
        pytest.UsageError: if the directory of `--parity-html` cannot be made.
    """
    config.addinivalue_line(
        "markers",
        "parity(**arguments): compares models with `parity_check`, whose default arguments these are, e.g. "
        'dtypes=["float64"]. Tests that use the fixture have it by themselves: select them with -m parity',
    )
    directory = config.getoption("--parity-html")
    if directory is not None:
        if directory.startswith("-"):
            raise pytest.UsageError(f"--parity-html needs a directory; {directory!r} is none")
        try:
            Path(directory).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise pytest.UsageError(f"--parity-html: cannot make {directory}: {error.strerror}") from error


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use the fixture.

    Args:
        items: the collected tests.
    """
    for item in items:
        if "parity_check" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.parity)


@pytest.fixture
def parity_check(request: pytest.FixtureRequest) -> "Callable[..., Report]":
    """`parity.check`, failing the test with the report unless the verdict is pass.

    Arguments are those of `parity.check`, where the fields of `parity.Weights` and `parity.Settings` may be
    given flat; what the markers `parity` give is taken where a call does not say otherwise, the closest
    marker first.

    Args:
        request: pytest's.

    Returns:
        The function; it returns the report.

    Raises:
        Exception: the function raises what a model raises, with the harness's lines left out, and
            `HarnessError` for a bug of the harness; anything else fails the test.
    """
    defaults: dict[str, Any] = {}
    for marker in request.node.iter_markers("parity"):
        if marker.args:
            pytest.fail(
                "the marker `parity` takes named arguments only, those of parity.check", pytrace=False
            )
        defaults = {**marker.kwargs, **defaults}
    pages = 0

    def compare(*args: Any, **kwargs: Any) -> "Report":
        nonlocal pages
        __tracebackhide__ = True
        from parity.pipeline.arguments import require_known, sorted_arguments
        from parity.pipeline.check import check
        from parity.report.errors import HarnessError, on_purpose, without_the_harness
        from parity.report.results import Verdict
        from parity.report.sentences import answer

        positional = list(inspect.signature(check).parameters)[: len(args)]
        given = {name: value for name, value in defaults.items() if name not in positional}
        try:
            require_known({**given, **kwargs})
        except ValueError as error:
            pytest.fail(f"parity_check takes what parity.check does: {error}", pytrace=False)
        try:
            report = check(*args, **sorted_arguments({"name": request.node.name, **given, **kwargs}))
        except HarnessError:
            raise
        except Exception as error:
            if on_purpose(error):
                pytest.fail(f"parity_check: {error}", pytrace=False)
            raise error.with_traceback(without_the_harness(error.__traceback__)) from None
        if report.verdict is not Verdict.PASS:
            lines = [answer(report), str(report)]
            directory = request.config.getoption("--parity-html")
            if directory is not None:
                pages += 1
                page = Path(directory) / _file_name(request.node.nodeid, pages)
                report.save(page)
                request.node.user_properties.append((PROPERTY, str(page)))
                lines.append(f"  the whole report: {page}")
            pytest.fail("\n".join(lines), pytrace=False)
        return report

    return compare


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say at the end where the pages are.

    Args:
        terminalreporter: pytest's.
    """
    outcomes: Iterable[Any] = (r for reports in terminalreporter.stats.values() for r in reports)
    pages = [
        value
        for outcome in outcomes
        if getattr(outcome, "when", None) == "call"
        for name, value in outcome.user_properties
        if name == PROPERTY
    ]
    if pages:
        terminalreporter.section("parity: reports of what did not pass")
        for page in pages:
            terminalreporter.write_line(page)


def _file_name(nodeid: str, number: int) -> str:
    """A file name for a test: `tests/test_a.py::test_b[x/y]` becomes `tests-test_a.py-test_b-x-y.html`."""
    plain = re.sub(r"[^\w.]+", "-", nodeid).strip("-.")
    return f"{plain[-120:]}{'' if number == 1 else f'-{number}'}.html"
