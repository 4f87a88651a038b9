"""The report: everything one comparison found, as plain data.

Nothing here imports a framework, and nothing here computes: a report can be pickled, written as JSON,
compared in a test or rendered by a tool that knows neither PyTorch nor JAX.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any

from parity.report import writers
from parity.report.divergences import Divergence, Growth
from parity.report.partings import Parting
from parity.report.quantities import AS_STORED, Quantity
from parity.report.sides import TORCH_AND_JAX, Sides
from parity.report.verdicts import Verdict


@dataclasses.dataclass(frozen=True)
class Environment:
    """What ran where, and how.

    Attributes:
        versions: of Python and the packages, by name.
        devices: by the name of the framework that ran there, e.g. {"PyTorch": "cpu (2 cores)"}.
        settings: the precision settings that were in force, by name.
    """

    versions: Mapping[str, str]
    devices: Mapping[str, str]
    settings: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything one comparison found.

    Attributes:
        name: what was compared.
        quantities: all compared quantities, in the order of the stages.
        not_checked: what was left out, as sentences.
        plan: the weight plan as rows (the reference's name, the candidate's name, how), as text.
        environment: versions, devices, settings; None when nothing ran.
        error: why the comparison stopped, when it did.
        seconds: wall time of the comparison.
        divergences: where the two sides part, the first one first.
        growth: the difference along the computation, one entry per matched operation.
        findings: observations that do not decide the verdict, as sentences.
        sides: what the two sides are called.
        doubts: the rows of the plan that rest on little, with the reason in place of how.
        unplaced: which of the findings says why no place is named; "" where none does.
        parting: the first step and phase in which two training runs differ, where they do.
        conditions: which of the findings say how the weights must lie for the two to agree, where neither
            names nor shapes nor usual layouts say so.
    """

    name: str
    quantities: tuple[Quantity, ...]
    not_checked: tuple[str, ...] = ()
    plan: tuple[tuple[str, str, str], ...] = ()
    environment: Environment | None = None
    error: str | None = None
    seconds: float = 0.0
    divergences: tuple[Divergence, ...] = ()
    growth: tuple[Growth, ...] = ()
    findings: tuple[str, ...] = ()
    sides: Sides = TORCH_AND_JAX
    doubts: tuple[tuple[str, str, str], ...] = ()
    unplaced: str = ""
    parting: Parting | None = None
    conditions: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The gravest verdict of all quantities; error when nothing was compared."""
        if self.error is not None:
            return Verdict.ERROR
        return Verdict.worst(q.verdict for q in self.quantities)

    @property
    def observations(self) -> tuple[str, ...]:
        """Where two training runs part, if they do, and all findings."""
        parting = () if self.parting is None else (str(self.parting),)
        return (*parting, *self.findings)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The precisions that were run and judged, in order of appearance."""
        return tuple(dict.fromkeys(q.dtype for q in self.quantities if q.dtype != AS_STORED))

    def select(
        self, stage: str | None = None, dtype: str | None = None, verdict: Verdict | None = None
    ) -> tuple[Quantity, ...]:
        """The quantities of one stage, dtype and verdict (None: of all).

        Args:
            stage: a `Stage`, by its value.
            dtype: name of a precision.
            verdict: a verdict.
        """
        return tuple(
            q
            for q in self.quantities
            if stage in (None, q.stage) and dtype in (None, q.dtype) and verdict in (None, q.verdict)
        )

    def failures(self, stage: str | None = None, dtype: str | None = None) -> tuple[Quantity, ...]:
        """The quantities that failed, of one stage and dtype (None: of all).

        Args:
            stage: a `Stage`, by its value.
            dtype: name of a precision.
        """
        return self.select(stage, dtype, Verdict.FAIL)

    def worst(
        self, stage: str | None = None, dtype: str | None = None, program: str | None = None
    ) -> Quantity | None:
        """The quantity that decides the verdict: the gravest, then the one with the largest rho.

        Args:
            stage: of which stage; None: of all.
            dtype: of which precision; None: of all.
            program: of which program; None: of all.

        Returns:
            The quantity, or None where there is none to look at.
        """
        chosen = [q for q in self.select(stage, dtype) if program in (None, q.program)]
        gravest = Verdict.worst(q.verdict for q in chosen)
        return max((q for q in chosen if q.verdict is gravest), key=_severity, default=None)

    def raise_if_failed(self) -> "Report":
        """Raise unless the verdict is pass, for tests and scripts.

        Returns:
            The report itself.

        Raises:
            ParityError: if the verdict is fail, error or inconclusive, with this report.
        """
        if self.verdict is not Verdict.PASS:
            raise ParityError(self)
        return self

    def as_dict(self) -> dict[str, Any]:
        """The report as dicts, lists and numbers, with the derived figures that the tables show."""
        data = dataclasses.asdict(self)
        data["verdict"] = self.verdict.value
        for row, quantity in zip(data["quantities"], self.quantities, strict=True):
            row["verdict"] = quantity.verdict.value
            row["yardstick"] = quantity.yardstick
            row["relative_error"] = quantity.relative_error
            row["relative_yardstick"] = quantity.relative_yardstick
        return data

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report to a file whose ending says how: .html, .json or .xml (JUnit).

        The file is written whole or not at all. The HTML page needs no network.

        Args:
            path: where to write; an existing file is replaced.

        Raises:
            ValueError: if the ending is another one, or the directory of `path` does not exist.
        """
        writers.save(self, path)

    def __str__(self) -> str:
        """Verdict first, then what failed, as plain text."""
        return writers.as_text(self)


def _severity(quantity: Quantity) -> float:
    return math.inf if math.isnan(quantity.rho) else quantity.rho


class ParityError(AssertionError):
    """Two programs do not compute the same thing. `report` has the evidence."""

    def __init__(self, report: Report) -> None:
        """Keep the report and use its text as the message."""
        super().__init__(str(report))
        self.report = report
