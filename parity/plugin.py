"""The pytest plugin: two fixtures, the marker `parity` and the option `--parity-html`.

    def test_port(parity_check):
        parity_check(torch_module, jax_model, {"x": x})

    def test_training(parity_check_training):
        parity_check_training(torch_module, jax_model, batches, loss=..., optimizer=...)

The calls are those of `parity.check` and `parity.check_training`; any verdict but pass fails the test with
the report as its message.
Importing this module loads neither framework.
"""

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
        help="write a page for every comparison that does not pass into this directory",
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
        "parity(**arguments): compares models with `parity_check` or `parity_check_training`, whose default "
        'arguments these are, e.g. dtypes=["float64"]. Tests that use one have it: run them with -m parity',
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
        if {"parity_check", "parity_check_training"} & set(getattr(item, "fixturenames", ())):
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
    return _comparing(request, "check")


@pytest.fixture
def parity_check_training(request: pytest.FixtureRequest) -> "Callable[..., Report]":
    """`parity.check_training`, failing the test with the report unless the verdict is pass.

    As `parity_check`, with the arguments of `parity.check_training`.

    Args:
        request: pytest's.

    Returns:
        The function; it returns the report.

    Raises:
        Exception: as with `parity_check`.
    """
    return _comparing(request, "check_training")


def _comparing(request: pytest.FixtureRequest, function: str) -> "Callable[..., Report]":
    """What a fixture is: the function of `parity`, with the markers' arguments as defaults."""
    defaults: dict[str, Any] = {}
    for marker in request.node.iter_markers("parity"):
        if marker.args:
            pytest.fail(
                f"the marker `parity` takes named arguments only, those of parity.{function}", pytrace=False
            )
        defaults = {**marker.kwargs, **defaults}
    pages = 0

    def compare(*args: Any, **kwargs: Any) -> "Report":
        nonlocal pages
        __tracebackhide__ = True
        import parity
        from parity.pipeline.arguments import CALLS, require_known, sorted_arguments
        from parity.report.errors import HarnessError, on_purpose, without_the_harness
        from parity.report.results import Verdict
        from parity.report.sentences import answer

        call = CALLS[function]
        positional = call.in_order[: len(args)]
        given = {name: value for name, value in defaults.items() if name not in positional}
        try:
            require_known({**given, **kwargs}, call)
        except ValueError as error:
            pytest.fail(f"parity_{function} takes what {call.name} does: {error}", pytrace=False)
        try:
            flat = {"name": request.node.name, **given, **kwargs}
            report: Report = getattr(parity, function)(*args, **sorted_arguments(flat, call))
        except HarnessError:
            raise
        except Exception as error:
            if on_purpose(error):
                pytest.fail(f"parity_{function}: {error}", pytrace=False)
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
