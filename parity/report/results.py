"""The data of a report, for the other rooms: the stages of a comparison fill these, the writers read them."""

from parity.report.divergences import CALLED, Cause, Divergence, Growth, Place, once_each
from parity.report.kinds import STAGES, CauseKind, Kind, Stage
from parity.report.quantities import AS_STORED, Curve, Quantity
from parity.report.report import Environment, ParityError, Report
from parity.report.verdicts import LIMIT, Verdict

__all__ = [
    "AS_STORED",
    "CALLED",
    "LIMIT",
    "STAGES",
    "Cause",
    "CauseKind",
    "Curve",
    "Divergence",
    "Environment",
    "Growth",
    "Kind",
    "ParityError",
    "Place",
    "Quantity",
    "Report",
    "Stage",
    "Verdict",
    "once_each",
]
