"""A fixed sample of mutants is found and no right port fails; `python -m tests.mutants` has all of them."""

import json

import pytest

from tests.mutants.__main__ import kept, planned, rows_of
from tests.mutants.mutating import mutated
from tests.mutants.renamed import renamed_rows
from tests.mutants.rows import Outcome, Row, in_words
from tests.mutants.rules import RULES
from tests.mutants.settled import evaluated, settle
from tests.mutants.sites import sites_of
from tests.mutants.sources import given, port_names
from tests.mutants.table import by_rule, page
from tests.mutants.trying import mutants_of, refilled
from tests.mutants.working import Work

PORTS = ("linear/plain", "prelu/linen", "square/plain", "tied/plain", "layer-norm/plain", "conv1d/plain")
"""Small ports of different kinds."""

SECONDS = 60
"""That a check may take on a busy machine."""


@pytest.mark.filterwarnings("ignore")  # the models under test may warn
@pytest.mark.parametrize("name", PORTS)
def test_mutants_are_found_and_placed(name: str) -> None:
    rows = list(mutants_of(name, 0, 2, SECONDS))
    assert len(rows) == 2
    for row in rows:
        assert row.outcome in (Outcome.FOUND, Outcome.EQUIVALENT), in_words(row)


@pytest.mark.filterwarnings("ignore")  # the models under test may warn
@pytest.mark.parametrize("name", PORTS)
def test_the_right_port_passes_under_other_names(name: str) -> None:
    (row,) = renamed_rows(name, [1], SECONDS)
    assert row.outcome is Outcome.EQUIVALENT, in_words(row)
    assert row.verdict == "pass"


@pytest.mark.filterwarnings("ignore")  # the models under test may warn
def test_a_kernel_that_lies_the_other_way_changes_nothing() -> None:
    name = "square/plain"
    with given(name) as arguments:
        right = settle(arguments)
    site = next(
        site for site in sites_of(right.closed, len(right.paths)) if site.eqn.primitive.name == "dot_general"
    )
    (other,) = RULES["axis"].changes(site)
    (stopped,) = RULES["stop_gradient"].changes(site)
    base = evaluated(right, right.closed)
    assert refilled(right, mutated(right.closed, site.path, other.replace), base)
    assert not refilled(right, mutated(right.closed, site.path, stopped.replace), base)


def test_a_mutant_can_be_checked_again_by_its_id() -> None:
    name = "linear/plain:sign:0:0"
    (row,) = mutants_of("linear/plain", 5, 1, SECONDS, name)
    assert (row.id, row.rule, row.outcome, row.first) == (name, "sign", Outcome.FOUND, True)


def test_a_pair_file_is_a_port_too(tmp_path) -> None:
    file = tmp_path / "pair.py"
    file.write_text(
        "import jax, numpy as np, torch\n\n\n"
        "def port(params, x):\n"
        "    h = jax.numpy.tanh(x @ params['first']['kernel'])\n"
        "    return h @ params['second']['kernel']\n\n\n"
        "def parity_check():\n"
        "    net = torch.nn.Sequential(torch.nn.Linear(4, 6, bias=False), torch.nn.Tanh(),\n"
        "                              torch.nn.Linear(6, 3, bias=False))\n"
        "    shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, np.float32)\n"
        "    template = {'first': {'kernel': shape(4, 6)}, 'second': {'kernel': shape(6, 3)}}\n"
        "    x = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)\n"
        "    return {'reference': net, 'candidate': port, 'inputs': {'x': x}, 'template': template}\n"
    )
    assert port_names([str(file)]) == [str(file)]
    (row,) = mutants_of(str(file), 1, 1, SECONDS)
    assert row.outcome is Outcome.FOUND
    assert row.line.startswith(str(file))


def test_rows_are_kept_and_read_again(tmp_path) -> None:
    work = Work("linear/plain", 0, 1, (), 60.0)
    rows = [Row("p:1", "p", "", "right", "", Outcome.FOUND, "fail", seconds=1.5)]
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps([work, rows]) + "\n")
    assert dict(kept(file)) == {work: rows}
    assert list(rows_of([work], 1, None, file)) == rows


def test_a_name_that_fits_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="'nonesuch' is neither"):
        port_names(["nonesuch"])
    assert "linear/plain" in port_names(["linear"])


def test_the_plan_has_as_many_as_were_asked_for() -> None:
    work = planned(["a", "b", "c"], 3, 20, 7, 1.0)
    assert sum(one.count for one in work) == 20
    assert sum(len(one.seeds) for one in work) == 7
    assert planned(["a", "b", "c"], 3, 20, 7, 1.0) == work


def test_the_page_counts_and_shows_what_went_wrong() -> None:
    found = Row("p:sign:0:0", "p", "sign", "negated", "f.py:1", Outcome.FOUND, "fail", True, True, "f.py:1")
    rows = [
        found._replace(cause="operands", named=True),
        found._replace(id="p:sign:1:0", cause="mask", placed=False, first=False, where="f.py:9"),
        found._replace(id="p:term:2:0", rule="term", outcome=Outcome.MISSED, verdict="pass"),
        found._replace(id="p:term:3:0", rule="term", outcome=Outcome.EQUIVALENT),
        Row("q:1", "q", "", "right", "", Outcome.EQUIVALENT, "pass"),
        Row("q:2", "q", "", "right", "", Outcome.FOUND, "fail"),
    ]
    assert by_rule(rows)[-1].startswith(
        "| all | 4 | 1 | 2 (67 %) | 1 | 0 | 0 | 1 (50 %) | 1 (50 %) | 1 (50 %)"
    )
    text = page(rows, 7)
    assert "4 mutants of 1 right ports, seed 7" in text
    assert "| p:term:2:0 | negated | f.py:1 | pass |" in text.partition("## Missed")[2]
    assert "| p:sign:1:0 | negated | f.py:1 | mask |" in text.partition("## Misnamed")[2]
    assert "- false alarms: 1 of 2 = 50.0 %" in text
    assert "| q:2 | right |  | fail |" in text.partition("### False alarms")[2]
