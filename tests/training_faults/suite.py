"""What `check_training` says of every case: the verdict, and whether step, phase and cause are declared."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import parity
from parity.report.verdicts import Verdict
from tests.training_faults.cases import Case, batches, mean_square, mean_square_torch, network


class Row(NamedTuple):
    """One case.

    Attributes:
        name: of the case.
        case: what is declared.
        report: what was said of it.
    """

    name: str
    case: Case
    report: parity.Report

    @property
    def placed(self) -> bool:
        """Whether step and phase are those declared."""
        parting, case = self.report.parting, self.case
        if parting is None:
            return False
        return parting.phase is case.phase and case.step in (None, parting.step)

    @property
    def named(self) -> bool:
        """Whether the cause declared is the one that is named; a case without one is never named."""
        parting, cause = self.report.parting, self.case.cause
        return parting is not None and bool(cause) and re.search(cause, parting.cause) is not None


def report_of(case: Case, **options: Any) -> parity.Report:
    """The report on a case.

    Args:
        case: a set-up.
        **options: of `check_training`.
    """
    module, port, template = network()
    given = case.torch(module.parameters())
    average = case.average
    if isinstance(average, tuple) and callable(average[0]):
        average = (average[0](module), average[1])
    return parity.check_training(
        module,
        port,
        batches() * (2 if case.accumulate > 1 else 1),
        loss=case.losses or (mean_square_torch, mean_square),
        optimizer=given if case.optax is None else (given, case.optax),
        scheduler=case.scheduler,
        updates_per_step=case.every,
        clip=case.clip,
        accumulate=case.accumulate,
        average=average,
        candidate_batches=None if case.data is None else case.data(batches()),
        weights=parity.Weights(template=template),
        settings=parity.Settings(dtypes=["float64"]),
        **options,
    )


def rates(rows: Sequence[Row]) -> dict[str, str]:
    """The shares of faults found, placed and named, and of false alarms.

    Args:
        rows: of all cases.
    """
    faults = [row for row in rows if row.case.phase is not None]
    right = [row for row in rows if row.case.phase is None]
    return {
        "found": _share([row.report.verdict is Verdict.FAIL for row in faults]),
        "step and phase named": _share([row.placed for row in faults]),
        "cause named": _share([row.named for row in faults]),
        "false alarms": _share([row.report.verdict is not Verdict.PASS for row in right]),
    }


def _share(met: Sequence[bool]) -> str:
    return f"{sum(met)} of {len(met)} = {100 * sum(met) / len(met):.1f} %" if met else "0 of 0"
