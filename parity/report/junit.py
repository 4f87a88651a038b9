"""Reports as JUnit XML, the format in which build servers read the results of tests."""

import os
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from parity.report.atomic import write_atomically
from parity.report.divergence_text import describe_divergences
from parity.report.folding import folded
from parity.report.kinds import STAGES, Stage
from parity.report.locations import printable, with_relative_paths
from parity.report.plan_text import describe_doubts
from parity.report.quantities import Quantity
from parity.report.report import Report
from parity.report.rounded import rounded
from parity.report.sentences import answer
from parity.report.sides import Sides
from parity.report.text import describe_quantity, environment_line, label, package
from parity.report.verdicts import Verdict

_TAGS = {Verdict.FAIL: "failure", Verdict.ERROR: "error", Verdict.INCONCLUSIVE: "skipped"}
_COUNTS = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def write_junit(reports: Report | Sequence[Report], path: str | os.PathLike[str]) -> None:
    """Write reports as JUnit XML, atomically: a suite per report and stage, a test case per quantity.

    A fail is a `failure` and an error an `error`. What is inconclusive is `skipped`, with the reason: it
    is neither a pass nor a fault; the command's exit status tells it apart. A comparison that stopped,
    or compared nothing, is an `error` of its own.

    Args:
        reports: one report or several.
        path: where to write.

    Raises:
        ValueError: if the directory of `path` does not exist.
    """
    several = [reports] if isinstance(reports, Report) else list(reports)
    root = Element("testsuites", name="parity")
    for report in several:
        _add_suites(root, report)
    _count(root, list(root.iter("testcase")))
    root.set("time", f"{sum(report.seconds for report in several):.3f}")
    ElementTree.indent(root)
    content: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    write_atomically(path, content + b"\n")


def _add_suites(root: Element, report: Report) -> None:
    stages = [stage for stage in STAGES if report.select(stage)]
    suites = []
    if report.error is not None or not stages:
        suites.append(suite := _suite(root, report, "comparison"))
        case = SubElement(suite, "testcase", classname=suite.get("name", ""), name="comparison", time="0.000")
        reason = report.error or answer(report)
        _result(case, Verdict.ERROR, reason.partition("\n")[0], [reason])
    for stage in stages:
        suites.append(suite := _suite(root, report, stage))
        evidence = (
            describe_divergences(report, verbose=True) if stage is _stage_of_divergences(report) else []
        )
        for quantity in report.select(stage):
            _add_case(suite, quantity, report.sides, evidence)
            if quantity.verdict is Verdict.FAIL:
                evidence = []  # once, at the first failure
    suites[0].set("time", f"{report.seconds:.3f}")  # that of the whole comparison, once
    told = describe_doubts(report, 10_000, verbose=True)
    told += [f"finding: {with_relative_paths(line)}" for line in report.observations]
    told += [f"not checked: {line}" for line in report.not_checked]
    SubElement(suites[-1], "system-out").text = _clean([answer(report), *told, environment_line(report)])
    for suite in suites:
        _count(suite, suite.findall("testcase"))


def _suite(root: Element, report: Report, stage: str) -> Element:
    suite = SubElement(root, "testsuite", name=printable(f"{report.name}.{stage}"), time="0.000")
    if report.environment is not None:
        environment = report.environment
        devices = {f"{package(name)} device": device for name, device in environment.devices.items()}
        properties = SubElement(suite, "properties")
        for name, value in {**environment.versions, **devices, **environment.settings}.items():
            SubElement(properties, "property", name=printable(name), value=printable(value))
    return suite


def _stage_of_divergences(report: Report) -> Stage | None:
    """The first stage that failed: its first failure says where the two sides part."""
    return next((stage for stage in STAGES if report.failures(stage)), None)


def _add_case(suite: Element, quantity: Quantity, sides: Sides, evidence: Sequence[str]) -> None:
    name = printable(f"{label(quantity)}, {quantity.dtype}")
    case = SubElement(suite, "testcase", classname=suite.get("name", ""), name=name, time="0.000")
    if quantity.verdict is Verdict.PASS:
        return
    figures = f"rho {rounded(quantity.rho)}, relative error {rounded(quantity.relative_error)}"
    message = "; ".join([*([] if quantity.stage is Stage.INIT else [figures]), *quantity.notes])
    shown = evidence if quantity.verdict is Verdict.FAIL else ()
    _result(case, quantity.verdict, message, [*describe_quantity(quantity, sides), *shown])


def _result(case: Element, verdict: Verdict, message: str, lines: Iterable[str]) -> None:
    result = SubElement(case, _TAGS[verdict], message=_clean([message]))
    if verdict is not Verdict.INCONCLUSIVE:
        result.set("type", verdict.value)
    result.text = _clean(lines)


def _clean(lines: Iterable[str]) -> str:
    """Text without the characters that XML forbids."""
    return "\n".join(folded(lines, 10_000))


def _count(suite: Element, cases: Sequence[Element]) -> None:
    suite.set("tests", str(len(cases)))
    for attribute, tag in _COUNTS.items():
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
