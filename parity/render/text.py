"""A report as plain text: what `str(report)` and the message of a `ParityError` say."""

import math

from parity.result import STAGES, Quantity, Report, Verdict

MOST = 12
"""Quantities listed per verdict; the rest are counted."""


def describe(report: Report) -> str:
    """Verdict first, then every quantity that did not pass, what was not checked, and the environment."""
    lines = [f"{report.name}: {report.verdict.value.upper()}"]
    if report.error is not None:
        lines.append(f"  {report.error}")
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        found = report.select(verdict=verdict)
        lines += [f"  {line}" for quantity in found[:MOST] for line in describe_quantity(quantity)]
        if len(found) > MOST:
            lines.append(f"  ... and {len(found) - MOST} more with verdict {verdict.value}")
    for stage in STAGES:
        worst = report.worst(stage)
        if worst is not None:
            count = len(report.select(stage))
            lines.append(f"  {stage}: {count} compared, worst rho {number(worst.rho)} ({label(worst)})")
    findings = [f"{label(q)}: {note}" for q in report.select(verdict=Verdict.PASS) for note in q.notes]
    lines += [f"  note: {line}" for line in findings[:MOST]]
    lines += [f"  not checked: {line}" for line in report.not_checked]
    if report.environment is not None:
        lines.append(f"  {environment_line(report)}")
    return "\n".join(lines)


def describe_quantity(quantity: Quantity) -> list[str]:
    """One quantity in a line of figures and a line for each note."""
    figures = ""
    if not math.isnan(quantity.rho):
        figures = (
            f": rho {number(quantity.rho)}, error {number(quantity.relative_error)}, "
            f"yardstick {number(quantity.relative_yardstick)} (both relative)"
        )
    where = "" if quantity.index in (None, ()) else f", worst at {list(quantity.index or ())}"
    head = f"{quantity.verdict.value.upper()} {quantity.stage}, {quantity.dtype}: {label(quantity)}"
    lines = [head + figures + where]
    if quantity.curve is not None and quantity.curve.first_failure is not None:
        step = quantity.curve.first_failure
        expected, actual = quantity.curve.expected[step], quantity.curve.actual[step]
        lines.append(f"    first at point {step}: PyTorch {expected:.8g}, JAX {actual:.8g}")
    return lines + [f"    {note}" for note in quantity.notes]


def label(quantity: Quantity) -> str:
    """The quantity's name on both sides and, for an oracle, which program it was."""
    name = quantity.name
    if quantity.jax_name not in (None, quantity.name):
        name += f" <-> {quantity.jax_name}"
    return name if quantity.program == "jax" else f"{name} ({quantity.program})"


def number(value: float) -> str:
    """A figure in at most seven characters: 0, 0.013, 3.4, 1.2e+14, inf.

    >>> [number(x) for x in (0.0, 0.0134, 3.44, 123.4, 1.23e14, float("inf"))]
    ['0', '0.013', '3.4', '123', '1.2e+14', 'inf']
    """
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return str(value)
    if 0.001 <= abs(value) < 1000:
        return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
    return f"{value:.1e}"


def environment_line(report: Report) -> str:
    """Versions, devices and settings in one line."""
    if report.environment is None:
        return "nothing ran"
    e = report.environment
    versions = ", ".join(f"{name} {version}" for name, version in e.versions.items())
    settings = ", ".join(f"{name} {value}" for name, value in e.settings.items())
    return f"{versions}; torch on {e.torch_device}, jax on {e.jax_device}; {settings}"
