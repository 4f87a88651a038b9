"""Where two training runs part: the first step, and the first phase of it."""

import dataclasses
import enum


class Phase(enum.StrEnum):
    """The phases of a training step, in the order in which a fault spreads."""

    DATA = "data"
    OUTPUTS = "outputs"
    METRICS = "metrics"
    LOSS = "loss"
    GRADIENTS = "gradients"
    CLIPPING = "clipped gradients"
    SCHEDULE = "schedule"
    SLOTS = "optimiser state"
    UPDATE = "update"
    AVERAGES = "averaged weights"
    STATISTICS = "running statistics"


@dataclasses.dataclass(frozen=True)
class Parting:
    """The first step and phase in which two training runs differ by more than rounding.

    Attributes:
        step: from 0.
        phase: the first that differs.
        detail: what differs, in words.
        cause: why, where a change to the optimiser was tried and made all steps agree; else "".
    """

    step: int
    phase: Phase
    detail: str
    cause: str = ""

    def __str__(self) -> str:
        """The sentence that a report begins with."""
        cause = f"; {self.cause}" if self.cause else ""
        return f"parts at step {self.step}, phase {self.phase.value}: {self.detail}{cause}"
