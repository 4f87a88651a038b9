"""One compared quantity, with the figures that its verdict rests on."""

import dataclasses
import math

from parity.report.kinds import Stage
from parity.report.verdicts import Verdict

AS_STORED = "as stored"
"""In place of a dtype for weights, which are compared as they are stored, not as a run rounds them."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """A quantity over time, point by point; the tuples have one entry per epoch or step.

    Attributes:
        reference: the reference's values (of an array-valued metric: its largest magnitude).
        candidate: the candidate's values.
        yardstick: N + F + P at each point, in units of the quantity.
        rho: difference over yardstick at each point.
        first_failure: index of the first point whose verdict is fail, or None.
        horizon: index from which on noise is too large for a verdict, or None.
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
        stage: the stage it belongs to; the word for it will do, too.
        group: what it is scaled with, e.g. all gradient leaves ("gradients") or a curve's own name.
        name: the reference's name of the leaf, e.g. "hidden.weight" or "train_loss".
        candidate_name: the candidate's name of the same leaf where it has another one, else None.
        program: what was compared with the reference: "candidate", or an oracle such as "by hand".
        dtype: the precision of the run that is judged.
        verdict: see `parity.numerics.yardstick`.
        rho: difference divided by the yardstick; at most 10 passes. NaN where nothing was computed.
        difference: max |candidate - reference|.
        scale: the larger of max |reference| and max |candidate|.
        noise_reference, noise_candidate: largest move of each side under one-ulp noise (N_t, N_j).
        floor: F, the rounding of the quantity itself.
        rounding: P, the share of float32's rounding that float64 still shows (float64 only).
        accuracy: narrow dtypes only: |j - q64| / (|t - q64| + N + F), judged instead of rho; else None.
        shape: shape of the compared tensor.
        index: position of the largest difference, or None.
        notes: sentences on what is known about the difference and what to do.
        curve: the points, for quantities over time.
    """

    stage: Stage
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

    def __post_init__(self) -> None:
        """Take the stage as a word, too: rules and recordings hold it as text.

        Raises:
            ValueError: if there is no such stage.
        """
        object.__setattr__(self, "stage", Stage(self.stage))

    @property
    def yardstick(self) -> float:
        """N + F + P: the difference that rounding alone explains, in units of the quantity."""
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
