"""Both ways of running two loops of users' own, measured with and without noise, and judged."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from parity.frameworks.stepping import SteppedSide
from parity.numerics.arrays import Arrays
from parity.numerics.measured_leaf import Criterion
from parity.numerics.noise import Side, SideByDtype, Subject, measure
from parity.numerics.progress import Progress
from parity.numerics.yardstick import judge_quantities
from parity.pipeline.step_rows import AT, Entries, numbered, starting_at
from parity.pipeline.stepped_runs import SLOTS, freely, from_equal_weights
from parity.pipeline.stepped_views import Views, largest
from parity.pipeline.training_measured import NOTHING
from parity.report.results import Quantity

LABELS = ("reference", "candidate")


class ComparedLoops(NamedTuple):
    """What both ways of running give.

    Attributes:
        free: quantities of the free runs.
        stepped: quantities of the steps from equal weights, in float64.
        equal: the values of these, of the reference and the candidate.
        inputs: batches, and what every step begins with.
    """

    free: list[Quantity]
    stepped: list[Quantity]
    equal: tuple[Side, Side]
    inputs: Arrays


@dataclasses.dataclass(frozen=True)
class Loops:
    """Two loops and what they run on.

    Attributes:
        views: both sides by common names.
        batches: of all steps, by name.
        dtypes: to be judged.
        progress: called with a short description as each phase begins.
        hidden: entries that are not compared, by tensor and slot.
    """

    views: Views
    batches: Sequence[Arrays]
    dtypes: tuple[str, ...]
    progress: Progress
    hidden: Entries = dataclasses.field(default_factory=lambda: NOTHING)

    def compared(self) -> ComparedLoops:
        """Run both sides freely in all dtypes, and from equal weights in float64, and judge."""
        views = self.views
        scale = largest(views.start)
        batches = numbered([[batch] for batch in self.batches[: views.steps]])
        self.progress(f"{views.steps} steps, freely")
        free = self._measured([freely(side, self.hidden) for side in views.sides], batches, self.dtypes)
        rules = {
            "metrics": Criterion("curve", over_time=True),
            "weights": Criterion("curve", over_time=True, scale=scale),
        }
        quantities = judge_quantities(free["reference"], free["candidate"], rules)
        self.progress("every step from equal weights")
        first = free["reference"][self.dtypes[0]]
        behind = first.base if self.dtypes[0] == "float64" else first.other
        # Entries that are hidden lie where they lay: no other value depends on them.
        after = {
            name: np.where(self.hidden[name], views.start[name], rows) if name in self.hidden else rows
            for name, rows in behind["weights"].items()
        }
        stepped = {**batches, **starting_at(views.start, after)}
        if views.sides[0].own_slots is not None:
            for name, rows in behind.get("slots", {}).items():
                stepped |= {f"{step + 1}{AT}{SLOTS}{AT}{name}": row for step, row in enumerate(rows[:-1])}
        return ComparedLoops(quantities, *self._stepped(stepped), stepped)

    def stepped_again(self, found: ComparedLoops, side: SteppedSide) -> list[Quantity]:
        """Every step from equal weights, with another run of the candidate.

        Args:
            found: what was compared before.
            side: the candidate's.
        """
        again = dataclasses.replace(self, views=self.views.with_candidate(side))
        return again._stepped(found.inputs)[0]

    def _stepped(self, inputs: Arrays) -> tuple[list[Quantity], tuple[Side, Side]]:
        views = self.views
        ways = [from_equal_weights(side, views.statistics, self.hidden) for side in views.sides]
        equal = self._measured(ways, inputs, ("float64",))
        scale = largest(views.start)
        rules = {
            "metrics": Criterion("forward", over_time=True),
            "numbers": Criterion("step", over_time=True),
            "slots": Criterion("step", over_time=True, kind=lambda name: name.rpartition(".")[2]),
            "update": Criterion("step", over_time=True, scale=scale),
            "statistics": Criterion("step", over_time=True, scale=scale),
        }
        judged = judge_quantities(equal["reference"], equal["candidate"], rules)
        return judged, (equal["reference"]["float64"], equal["candidate"]["float64"])

    def _measured(
        self, ways: Sequence[object], inputs: Arrays, dtypes: tuple[str, ...]
    ) -> Mapping[str, SideByDtype]:
        subjects = {
            label: Subject(way, weights)  # type: ignore[arg-type]
            for label, way, weights in zip(LABELS, ways, self.views.weights, strict=True)
        }
        with np.errstate(over="ignore", invalid="ignore"):  # what diverges is judged as such
            return measure(subjects, inputs, dtypes, self.progress)
