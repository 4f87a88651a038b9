"""JUnit XML: what build servers read, and that no name can break it."""

import dataclasses
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from parity.report.junit import write_junit
from parity.report.results import Report, Verdict
from tests.parity.report.sample_reports import EXAMPLES, failed, hostile, passed, quantity, stopped

CHILDREN = {
    "testsuites": ["testsuite"],
    "testsuite": ["properties", "testcase", "system-out"],
    "properties": ["property"],
    "testcase": ["failure", "error", "skipped"],
}
"""Which elements each element may hold, in this order."""

REQUIRED = {
    "testsuites": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testcase": {"classname", "name", "time"},
    "property": {"name", "value"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message"},
}


def written(path: Path, *reports: Report) -> Element:
    write_junit(list(reports), path)
    return ElementTree.parse(path).getroot()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_file_has_the_elements_and_attributes_of_the_format(tmp_path: Path, name: str) -> None:
    root = written(tmp_path / "r.xml", EXAMPLES[name](), failed())
    for element in root.iter():
        assert set(element.attrib) == REQUIRED.get(element.tag, set()), element.tag
        order = [CHILDREN.get(element.tag, []).index(child.tag) for child in element]
        assert order == sorted(order)
        if element.tag == "testcase":
            assert len(element) <= 1
        if element.tag.startswith("testsuite"):
            cases = list(element.iter("testcase"))
            assert int(element.attrib["tests"]) == len(cases) > 0
            for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
                assert int(element.attrib[attribute]) == sum(case.find(tag) is not None for case in cases)


def test_every_quantity_is_a_case_of_its_stage_with_its_verdict(tmp_path: Path) -> None:
    report = failed()
    root = written(tmp_path / "r.xml", report)
    suites = {suite.attrib["name"]: suite for suite in root}
    assert list(suites) == [f"bert-base, Flax port.{s}" for s in ("weights", "forward", "gradients")]
    for stage in ("weights", "forward", "gradients"):
        cases = suites[f"bert-base, Flax port.{stage}"].findall("testcase")
        results = ["".join(child.tag for child in case) for case in cases]
        words = {Verdict.PASS: "", Verdict.FAIL: "failure", Verdict.INCONCLUSIVE: "skipped"}
        assert results == [words[q.verdict] for q in report.select(stage)]
        names = [case.attrib["name"] for case in cases]
        assert len(names) == len(set(names))
    assert root.attrib["time"] == "93.200"


def test_the_place_and_the_cause_are_told_once_at_the_first_failure(tmp_path: Path) -> None:
    failures = [e.text or "" for e in written(tmp_path / "r.xml", failed()).iter("failure")]
    assert ["model_jax.py:88" in text for text in failures] == [True] + [False] * (len(failures) - 1)
    assert "epsilon is 1e-12 in JAX" in failures[0]


def test_what_stopped_or_compared_nothing_is_an_error(tmp_path: Path) -> None:
    for report, reason in ((stopped(), "TypeError: dot_general"), (Report("r", ()), "nothing was compared")):
        root = written(tmp_path / "r.xml", report)
        assert (root.attrib["errors"], root.attrib["failures"]) == ("1", "0")
        (error,) = root.iter("error")
        assert reason in error.attrib["message"]
        assert "\n" not in error.attrib["message"]


def test_a_quantity_that_raised_is_an_error_and_a_pass_is_nothing(tmp_path: Path) -> None:
    report = Report("r", (quantity("a", 1.0), quantity("b", 1.0, verdict=Verdict.ERROR)))
    root = written(tmp_path / "r.xml", report)
    assert [[child.tag for child in case] for case in root.iter("testcase")] == [[], ["error"]]


def test_versions_devices_and_settings_are_properties(tmp_path: Path) -> None:
    suite = written(tmp_path / "r.xml", passed())[0]
    properties = {p.attrib["name"]: p.attrib["value"] for p in suite.iter("property")}
    assert properties["torch device"] == "cpu (2 cores)"
    assert properties["jax device"] == "cpu"
    assert properties["jax"] == "0.10.2"
    assert properties["torch matmul fp32"] == "ieee"


def test_hostile_names_are_text(tmp_path: Path) -> None:
    root = written(tmp_path / "r.xml", hostile())
    names = [case.attrib["name"] for case in root.iter("testcase")]
    assert any("<script>alert(1)</script>" in name and r"\x1b[31m" in name for name in names)
    assert {e.tag for e in root.iter()} <= {*CHILDREN, *REQUIRED, "system-out"}


def test_one_report_or_several_and_a_directory_that_is_missing(tmp_path: Path) -> None:
    write_junit(passed(), tmp_path / "one.xml")
    assert (tmp_path / "one.xml").read_bytes().startswith(b"<?xml version='1.0' encoding='utf-8'?>")
    both = written(tmp_path / "two.xml", passed(), stopped())
    assert [suite.attrib["name"].split(".")[0] for suite in both][-1] == "encoder"
    with pytest.raises(ValueError, match="does not exist; make it first"):
        write_junit(passed(), tmp_path / "missing" / "r.xml")


def test_doubts_of_the_plan_are_told_where_the_verdict_is_not_pass(tmp_path: Path) -> None:
    doubts = (("w (2, 2)", "kernel (2, 2)", "as it is: settled by running"),)
    for make, told in ((failed, True), (passed, False)):
        write_junit(dataclasses.replace(make(), doubts=doubts), tmp_path / "report.xml")
        assert ("settled by running" in (tmp_path / "report.xml").read_text()) is told
