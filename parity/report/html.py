"""A report as one HTML page that needs nothing else: no network, no library, no other file.

The page is complete without JavaScript; the script only sorts, filters and points. A template fills in
what the report says and escapes all of it, and the page's own policy forbids every script but ours, so
that a module named `<script>` stays a name.
"""

import base64
import hashlib
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup, escape

from parity.report import sentences
from parity.report.atomic import write_atomically
from parity.report.charts import Chart, curve_chart, growth_charts
from parity.report.divergence_text import agreement_in_words
from parity.report.divergences import Divergence, Place, once_each
from parity.report.kinds import STAGES, Stage
from parity.report.locations import location, printable, with_relative_paths
from parity.report.quantities import AS_STORED
from parity.report.report import Report
from parity.report.rounded import rounded, short
from parity.report.sides import Sides
from parity.report.table import Scale, rho_text, table_rows
from parity.report.verdicts import GRAVITY, LIMIT, Verdict

_HERE = Path(__file__).parent

MOST_CURVES = 6
"""Curves that are shown at once; the rest are folded away, unless they failed."""


def write_html(report: Report, path: str | os.PathLike[str]) -> None:
    """Write a report as a self-contained HTML page, atomically.

    Args:
        report: what to write.
        path: where to write.

    Raises:
        ValueError: if the directory of `path` does not exist.
    """
    write_atomically(path, page(report).encode())


def page(report: Report) -> str:
    """The HTML page of a report."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        finalize=_clean,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    environment.filters["quoted"] = _quoted
    script, style = ((_HERE / f"report.{kind}").read_text("utf-8") for kind in ("js", "css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    charts = [c for q in report.quantities if (c := curve_chart(q, report.sides)) is not None]
    charts.sort(key=lambda chart: not chart.bad)
    shown = max(MOST_CURVES, sum(chart.bad for chart in charts))
    scale = Scale.over(report.quantities)
    faults = once_each(report.divergences)
    rows = table_rows(report.quantities, scale, report.sides)
    text = environment.get_template("report.html.jinja").render(
        report=report,
        answer=sentences.answer(report),
        sides=report.sides,
        titles=[sentences.capitalised(title) for title in report.sides.titles],
        style=Markup(style),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        stages=_stages(report),
        facts=_facts(report),
        divergences=[
            _fault(fault, sentences.ordinal(i, len(faults)), report.sides) for i, fault in enumerate(faults)
        ],
        rows=rows,
        limit=scale.place(LIMIT),
        limit_value=f"{LIMIT:g}",
        rho_range=tuple(short(10.0**exponent) for exponent in scale),
        choices={
            "Stage": [s for s in STAGES if report.select(s)],
            "Precision": list(dict.fromkeys(q.dtype for q in report.quantities)),
            "Verdict": [v.value for v in GRAVITY if report.select(verdict=v)],
        },
        curves=[("", charts[:shown]), (f"{len(charts) - shown} more curves", charts[shown:])],
        growth=growth_charts(report),
        starred=any(row.rho.text.endswith("*") for row in rows),
        findings=[with_relative_paths(line) for line in report.observations],
        doubts=report.doubts if report.verdict is not Verdict.PASS else (),
        zip=zip,
        readout=_readout,
        figures=lambda chart: {"rows": [[printable(cell) for cell in row] for row in chart.rows]},
    )
    return text.lstrip()


def _stages(report: Report) -> list[dict[str, Any]]:
    """The overview: every stage with its gravest verdict and its worst rho."""
    cards = []
    for stage in STAGES:
        worst = report.worst(stage)
        if worst is None:
            continue
        exact = stage is Stage.WEIGHTS and worst.difference == 0
        cards.append(
            {
                "stage": stage,
                "noun": stage.noun,
                "verdict": worst.verdict.value,
                "count": len(report.select(stage)),
                "failed": len(report.failures(stage)),
                "rho": "exact" if exact else "" if stage is Stage.INIT else f"worst rho {rho_text(worst)}",
            }
        )
    return cards


def _facts(report: Report) -> list[str]:
    counts = {v: len(report.select(verdict=v)) for v in (Verdict.FAIL, Verdict.INCONCLUSIVE)}
    facts = [f"{len(report.quantities)} quantities compared"]
    facts += [f"{n} {'failed' if v is Verdict.FAIL else v.value}" for v, n in counts.items() if n]
    if report.dtypes:
        facts.append(", ".join(d for d in report.dtypes if d != AS_STORED))
    if report.seconds:
        facts.append(f"{report.seconds:.3g} s")
    return facts


def _fault(fault: Sequence[Divergence], title: str, sides: Sides) -> dict[str, Any]:
    """One divergence as the template shows it, with the other places of the same fault."""
    divergence = fault[0]
    error, rounding = divergence.relative_error, divergence.relative_yardstick
    size = ""
    if not math.isnan(error):
        size = f"{rounded(error)} relative to the size of the value"
    if error > 0 and rounding > 0:
        times = short(error / rounding)
        size += f"; rounding alone explains a difference of up to {short(rounding)} here, {times} times less"
    cause = divergence.cause
    places = divergence.reference, divergence.candidate
    titles = [sentences.capitalised(title) for title in sides.titles]
    return {
        "title": sentences.capitalised(title),
        "stage": divergence.stage.noun,
        "headline": sentences.capitalised(sentences.headline(divergence, sides)),
        "sides": [(side, _sites(found)) for side, found in zip(titles, places, strict=True)],
        "size": size,
        "shapes": divergence.shapes,
        "detail": sentences.capitalised(divergence.detail),
        "also_in": ", ".join(sentences.also_in(fault)),
        "cause": cause,
        "agreement": "" if cause is None else agreement_in_words(cause),
        "formulas": list(zip(titles, divergence.formulas or (), strict=False)),
        "in_brackets": sentences.capitalised(sentences.in_brackets(divergence.formulas or (), sides) or ""),
        "advice": sentences.advice(divergence),
        "beside": cause and sentences.beside(cause, sides),
    }


class _Site(NamedTuple):
    """A line of source, with the operations on it that diverge."""

    module: str
    directory: str
    location: str
    code: str
    operations: str


def _sites(places: Sequence[Place]) -> list[_Site]:
    found: dict[_Site, list[str]] = {}
    for place in places:
        layer = f"{place.module}: {place.layer}" if place.module and place.layer else place.module
        module = " ".join(filter(None, (layer, place.step and f"({place.step})")))
        line = location(place)
        directory = location(place, full=True).removesuffix(line)
        site = _Site(module, directory, line, place.code, "")
        found.setdefault(site, []).append(place.operation)
    return [site._replace(operations=", ".join(dict.fromkeys(ops))) for site, ops in found.items()]


def _readout(chart: Chart) -> int:
    """The position whose figures are shown first: the first failure, else the last."""
    last = len(chart.rows) - 1
    return last if chart.failure is None else min(last, int(chart.failure / 100 * len(chart.rows)))


def _breakable(name: str) -> Markup:
    """A dotted name or a path that may be broken after its separators."""
    text = escape(printable(name))
    return Markup(text.replace(".", Markup(".<wbr>")).replace("/", Markup("/<wbr>")))


def _quoted(sentence: str) -> Markup:
    """A sentence in which names between backticks are set as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(printable(sentence)))))


def _clean(value: Any) -> Any:
    """No control characters in what the template inserts; markup of our own passes as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
