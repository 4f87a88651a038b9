"""What a comparison found, as plain data: every stage fills these, every renderer reads them.

Nothing here imports a framework, and nothing here computes: a report can be pickled, written as JSON,
compared in a test or rendered by a tool that knows neither PyTorch nor JAX.
"""

import dataclasses
import enum
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from parity.report.sides import Sides

LIMIT = 10.0
"""Largest rho that passes. Honest networks measured at most 3.4 with noise on both sides, structural
faults at least 1e3 in float64; 10 lies between with room for both (measurements in the design)."""

AS_STORED = "as stored"
"""In place of a dtype for weights, which are compared as they are kept and not as a run rounds them."""


class Verdict(enum.StrEnum):
    """The four answers. Only `PASS` says that two programs agree.

    `exit_code` is what the command line returns: 0 pass, 1 fail, 2 error, 3 inconclusive.
    """

    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit_code(self) -> int:
        """Process exit status of this verdict."""
        return {"pass": 0, "fail": 1, "error": 2, "inconclusive": 3}[self.value]

    @staticmethod
    def worst(verdicts: Iterable["Verdict"]) -> "Verdict":
        """The gravest of several verdicts; nothing compared is an error, never a pass.

        >>> Verdict.worst([Verdict.PASS, Verdict.INCONCLUSIVE]).value
        'inconclusive'
        >>> Verdict.worst([]).value
        'error'
        """
        order = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
        return min(verdicts, key=order.index, default=Verdict.ERROR)


STAGES = ("weights", "forward", "gradients", "step", "curve")
"""The stages of a comparison, in the order in which a fault would spread."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """A quantity over time, point by point; the lists have one entry per epoch or step.

    Attributes:
        reference: the reference's values (of an array-valued metric: its largest magnitude).
        candidate: the candidate's values.
        yardstick: honest difference N + F + P at each point.
        rho: difference over yardstick at each point.
        first_failure: index of the first point whose verdict is fail, or None.
        horizon: index from which nothing can be said any more (noise too large), or None.
    """

    reference: tuple[float, ...]
    candidate: tuple[float, ...]
    yardstick: tuple[float, ...]
    rho: tuple[float, ...]
    first_failure: int | None = None
    horizon: int | None = None


@dataclasses.dataclass(frozen=True)
class Quantity:
    """One compared quantity: an output, a gradient leaf, an updated weight, a curve.

    All sizes are max norms over the tensor, in the units of the quantity.

    Attributes:
        stage: one of `STAGES`.
        group: what it is scaled with, e.g. all gradient leaves ("gradients") or a curve's own name.
        name: PyTorch's name of the leaf, e.g. "hidden.weight" or "train_loss".
        candidate_name: JAX's path of the same leaf when it has another one, else None.
        program: what was compared with the reference: "candidate", or an oracle such as "by hand".
        dtype: the precision of the run that is judged.
        verdict: see `parity.numerics.yardstick`.
        rho: difference divided by the yardstick; at most 10 passes. NaN where nothing was computed.
        difference: max |actual - expected|.
        scale: max of |expected| and |actual|.
        noise_reference, noise_candidate: largest move of each side under one-ulp noise (N_t, N_j).
        floor: F, the rounding of the quantity itself.
        rounding: P, the share of float32's rounding that float64 still shows (float64 only).
        accuracy: narrow dtypes only: |j - q64| / (|t - q64| + N + F), judged instead of rho; else None.
        shape: shape of the compared tensor.
        index: position of the largest difference, or None.
        notes: findings in words: what is known about the difference and what to do.
        curve: the points, for quantities over time.
    """

    stage: str
    group: str
    name: str
    dtype: str
    verdict: Verdict
    rho: float = math.nan
    difference: float = math.nan
    scale: float = math.nan
    noise_reference: float = 0.0
    noise_candidate: float = 0.0
    floor: float = 0.0
    rounding: float = 0.0
    accuracy: float | None = None
    candidate_name: str | None = None
    program: str = "candidate"
    shape: tuple[int, ...] = ()
    index: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    curve: Curve | None = None

    @property
    def yardstick(self) -> float:
        """N + F + P: how far two honest programs may lie apart, in units of the quantity."""
        return max(self.noise_reference, self.noise_candidate) + self.floor + self.rounding

    @property
    def relative_error(self) -> float:
        """Difference over scale; also the least `rtol` (with `atol=0`) that would have passed."""
        if self.difference == 0:
            return 0.0
        return self.difference / self.scale if self.scale else math.inf

    @property
    def relative_yardstick(self) -> float:
        """The yardstick over scale, to set beside `relative_error`."""
        return self.yardstick / self.scale if self.scale else 0.0


@dataclasses.dataclass(frozen=True)
class Place:
    """Where in a program an operation stands.

    Attributes:
        operation: the framework's name of it: "dot_general", "aten.native_layer_norm".
        module: module path ("encoder.layer.3.norm") or JAX's name stack; "" where there is none.
        file: source file of the model's author (framework frames left out); "" if unknown.
        line: line in it, from 1; 0 if unknown.
        code: that line of source, stripped.
        step: for an operation inside a loop, which iteration, e.g. "scan step 2"; else "".
    """

    operation: str
    module: str = ""
    file: str = ""
    line: int = 0
    code: str = ""
    step: str = ""


@dataclasses.dataclass(frozen=True)
class Cause:
    """Why two programs differ: a change of the JAX side that was tried and made it match.

    Attributes:
        name: what kind of fault, one of `parity.diagnose.CAUSES`, e.g. "epsilon", "padding".
        text: what differs and what to do, e.g. "eps is 1e-06 in JAX and 1e-05 in PyTorch".
        residual: relative difference that is left with the change applied.
    """

    name: str
    text: str
    residual: float


@dataclasses.dataclass(frozen=True)
class Divergence:
    """A place where two programs part: all that goes in agrees, what comes out does not.

    Attributes:
        stage: "forward" or "gradients".
        reference: the operations of the reference there, first the one that is most to blame; empty
            when the candidate computes something extra.
        candidate: the operations of the candidate there, likewise.
        kind: "value" (other numbers), "order" (the same numbers arranged differently), "extra" (only
            one side computes something), "dtype" (another precision than on the other side).
        detail: what is known in words, e.g. both orders of an operand.
        relative_error: max |j - t| over max |t| of the value that comes out; NaN if nothing pairs up.
        relative_yardstick: the honest difference there, in the same unit.
        shapes: of PyTorch's and JAX's value.
        cause: the hypothesis that made it match, or None.
    """

    stage: str
    reference: tuple[Place, ...]
    candidate: tuple[Place, ...]
    kind: str = "value"
    detail: str = ""
    relative_error: float = math.nan
    relative_yardstick: float = math.nan
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    cause: Cause | None = None

    def repeats(self, other: "Divergence") -> bool:
        """Whether this is the same fault as another: the same cause at the same lines, in another module."""

        def lines(divergence: Divergence) -> list[tuple[str, int]]:
            places = [*divergence.reference[:1], *divergence.candidate[:1]]
            return [(place.file, place.line) for place in places if place.file]

        if self.cause is None or other.cause is None or not lines(self):
            return False
        same_cause = (self.cause.name, self.cause.text) == (other.cause.name, other.cause.text)
        return same_cause and lines(self) == lines(other)


def once_each(divergences: Sequence[Divergence]) -> list[list[Divergence]]:
    """Every fault with the places where it shows: one line of code may be run by many modules."""
    faults: list[list[Divergence]] = []
    for divergence in divergences:
        known = next((fault for fault in faults if divergence.repeats(fault[0])), None)
        if known is None:
            faults.append([divergence])
        else:
            known.append(divergence)
    return faults


@dataclasses.dataclass(frozen=True)
class Growth:
    """How far the two sides are apart at one matched operation, in the order of computation.

    Attributes:
        stage: "forward" or "gradients".
        reference, candidate: the two operations.
        relative_error: max |j - t| over max |t| of their sorted entries.
        relative_yardstick: the honest difference there, in the same unit.
        matched: whether they agree.
    """

    stage: str
    reference: Place
    candidate: Place
    relative_error: float
    relative_yardstick: float
    matched: bool


@dataclasses.dataclass(frozen=True)
class Environment:
    """What ran where: versions, devices and the precision settings that were in force."""

    versions: Mapping[str, str]
    torch_device: str
    jax_device: str
    settings: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything one comparison found.

    Attributes:
        name: what was compared.
        quantities: all compared quantities, in the order of the stages.
        not_checked: what was not looked at, in words.
        plan: the weight plan as rows (PyTorch name, JAX path, how), as text.
        environment: versions, devices, settings; None when nothing ran.
        error: why the comparison stopped, when it did.
        seconds: wall time of the comparison.
        divergences: where the two sides part, the first one first.
        growth: the difference along the computation, one entry per matched operation.
        findings: what was noticed on the way and does not decide the verdict, in words.
        sides: what the two sides are called.
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
    sides: Sides = dataclasses.field(default_factory=Sides)

    @property
    def verdict(self) -> Verdict:
        """The gravest verdict of all quantities; error when nothing was compared."""
        if self.error is not None:
            return Verdict.ERROR
        return Verdict.worst(q.verdict for q in self.quantities)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The precisions that were run and judged, in order of appearance."""
        return tuple(dict.fromkeys(q.dtype for q in self.quantities if q.dtype != AS_STORED))

    def select(
        self, stage: str | None = None, dtype: str | None = None, verdict: Verdict | None = None
    ) -> tuple[Quantity, ...]:
        """The quantities of one stage, dtype and verdict (None: of all)."""
        return tuple(
            q
            for q in self.quantities
            if stage in (None, q.stage) and dtype in (None, q.dtype) and verdict in (None, q.verdict)
        )

    def failures(self, stage: str | None = None, dtype: str | None = None) -> tuple[Quantity, ...]:
        """The quantities that failed."""
        return self.select(stage, dtype, Verdict.FAIL)

    def worst(
        self, stage: str | None = None, dtype: str | None = None, program: str | None = None
    ) -> Quantity | None:
        """The quantity that decides the verdict: the gravest, then the one with the largest rho."""
        chosen = [q for q in self.select(stage, dtype) if program in (None, q.program)]
        gravest = Verdict.worst(q.verdict for q in chosen)
        return max((q for q in chosen if q.verdict is gravest), key=_severity, default=None)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data, with the derived figures that the tables show."""
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

        Raises:
            ValueError: if the ending is another one, or the directory of `path` does not exist.
        """
        kind = os.path.splitext(path)[1].lower()
        if kind == ".html":
            from parity.report.html import write_html

            write_html(self, path)
        elif kind == ".json":
            from parity.report.json import write_json

            write_json(self.as_dict(), path)
        elif kind == ".xml":
            from parity.report.junit import write_junit

            write_junit(self, path)
        else:
            raise ValueError(
                f"cannot write {os.fspath(path)}: the ending of `path` must be .html, .json or .xml (JUnit)"
            )

    def __str__(self) -> str:
        """Verdict first, then what failed, as plain text of at most 100 columns."""
        from parity.report.text import describe

        return describe(self)


def _severity(quantity: Quantity) -> float:
    return math.inf if math.isnan(quantity.rho) else quantity.rho


class ParityError(AssertionError):
    """Two programs do not compute the same thing. `report` has the evidence."""

    def __init__(self, report: Report) -> None:
        """Keep the report and use its text as the message."""
        super().__init__(str(report))
        self.report = report
