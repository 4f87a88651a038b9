"""`check_init`: do two models start from weights of the same distribution?"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from parity.frameworks.environment import environment
from parity.frameworks.model import Model
from parity.numerics.arrays import EPS
from parity.numerics.draw_samples import SKETCHED, Sample
from parity.numerics.draw_statistics import SCALED, Gauge, Measure, gauge_for
from parity.numerics.precision import SIDES, pinned
from parity.numerics.progress import Progress
from parity.numerics.two_samples import (
    LEAST_DRAWS,
    MOST_DRAWS,
    copies,
    fixed_levels,
    sample_levels,
    smallest_level,
)
from parity.pipeline.initial_blocks import Block, blocks_of, require_planned
from parity.pipeline.initial_causes import Told, copied, sentences
from parity.pipeline.initial_draws import Factory
from parity.pipeline.outcome import Outcome
from parity.pipeline.planning import plan_between
from parity.pipeline.request import Weights
from parity.report.results import AS_STORED, ParityError, Quantity, Report, Stage, Verdict
from parity.report.sides import Sides
from parity.weights import Plan

FALSE_ALARMS = 1e-4
"""How often a check of two models that start alike may fail."""

ROUNDING = 1e-5
"""Relative difference of two statistics that rounding in float32 explains."""


class Compared(NamedTuple):
    """A block with the draws of both sides."""

    block: Block
    reference: Sample
    candidate: Sample


def check_init(
    reference: Callable[..., object],
    candidate: Callable[..., object],
    *,
    draws: int = 64,
    seed: int = 0,
    weights: Weights | None = None,
    plan: Plan | None = None,
    false_alarms: float = FALSE_ALARMS,
    name: str = "init",
    progress: Progress = lambda text: None,
) -> Report:
    """Compare how two models draw their initial weights, leaf by leaf, without sharing any.

    Both are drawn many times, each time from a seed of its own. Of every leaf and draw the mean, standard
    deviation, extremes, shape of the distribution, angles between rows, norms of rows and the size of every
    part are measured, and the two sides' draws of each are compared by their ranks. Entries that one side
    always sets to the same number (zeros, a padding row) must be that number on the other side. Leaves that
    are copies of each other on one side must be so on the other.

    The draws are taken to be independent and nothing else is assumed: entries of a leaf may depend on one
    another in any way. So a pair that draws alike fails at most once in `1 / false_alarms` checks, over all
    leaves and statistics together (Bonferroni). With 64 draws, of a leaf of n independent entries a
    standard deviation that is off by ``1.2 / sqrt(n)`` of itself (normal), or ``0.8 / sqrt(n)`` (uniform), is
    found in nine of ten checks of a model of ten leaves: 4 % and 2.5 % at n = 1,000.

    Args:
        reference: what builds a fresh model of either framework, or its params: a function or class that
            takes nothing, or one argument. `seed` gets an integer, `rngs` an `nnx.Rngs`, any other a JAX key;
            the global generators of PyTorch, NumPy and Python are seeded, too.
        candidate: likewise, e.g. `lambda key: module.init(key, x)` of Linen.
        draws: models drawn of each side. 64 make the smallest level 1e-37, which a model of a million leaves
            can use, and cost about a second for a small model.
        seed: decides all seeds; the two sides never get the same one.
        weights: `pins`, `unused` and `missing`, where the plan needs them; see `parity.Weights`.
        plan: which leaf is which, from `parity.plan_weights`; None: found from kinds, names and shapes.
        false_alarms: how often a check of two models that start alike may fail, at most.
        name: of the report.
        progress: called with a short description as each phase begins.

    Returns:
        The report, with a quantity for each pair of leaves; its notes say what differs and what to do.

    Raises:
        TypeError: if a side is a model and not what builds one.
        ValueError: if an argument cannot be used, a side ignores its seed, its shapes differ from draw to
            draw, or `draws` are too few for so many leaves.
        WeightError: if the weights do not pair up.
        Exception: what a side raises, with a note that names it.
    """
    started = time.perf_counter()
    _require(draws, seed, false_alarms, weights, plan)
    factories = Factory.of(reference, "reference"), Factory.of(candidate, "candidate")
    seeds = np.random.SeedSequence(seed).generate_state(2 * draws) >> 1  # NumPy, JAX without x64: 31 bits
    with pinned(seed=seed, sides=_loaded()):
        progress("drawing the first models")
        models = factories[0].draw(int(seeds[0])), factories[1].draw(int(seeds[1]))
        if plan is None:
            plan = plan_between(*models, weights, try_plan=lambda tried: _likeness(tried, *models))
        else:
            require_planned(plan, models[0].weights, models[1].weights)
        sides = Sides.of(models[0].framework, models[1].framework)
        blocks = blocks_of(plan, inputs_last="PyTorch" in (models[0].framework, models[1].framework))
        compared = [
            one for one in (_compared(block, *models) for block in blocks) if one.reference.first.size
        ]
        _require_resolution(draws, false_alarms, compared)
        for index in range(draws):
            progress(f"draw {index + 1} of {draws}")
            if index:
                drawn = [factories[side].draw(int(seeds[2 * index + side])) for side in (0, 1)]
                for first, now, factory in zip(models, drawn, factories, strict=True):
                    _require_same_shapes(first, now, factory.role)
            else:
                drawn = list(models)
            for one in compared:
                _add(one, *drawn)
        outcome = Outcome(name, sides=sides)
        outcome.environment = environment("cpu", _running(models))
    quantities = _judged(compared, false_alarms)
    if any(q.verdict is not Verdict.PASS for q in quantities):
        _require_seeds_used(compared)
    outcome.quantities = quantities
    outcome.plan, outcome.doubts = plan.rows(), plan.doubts()
    outcome.findings = (
        f"{draws} draws of each side; two models that start alike fail in at most 1 of "
        f"{1 / false_alarms:,.0f} checks",
    )
    left = [*plan.unused, *plan.missing]
    outcome.not_checked = (
        *([f"the weights that have no partner: {', '.join(left)}"] if left else []),
        "how the entries of different leaves depend on one another, but for copies",
    )
    return outcome.report(time.perf_counter() - started)


def assert_init_parity(*args: object, **kwargs: object) -> Report:
    """`check_init`, raising `ParityError` with the whole report unless the verdict is pass.

    Args:
        *args: of `check_init`.
        **kwargs: of `check_init`.

    Returns:
        The report, which passed.

    Raises:
        ParityError: an AssertionError; its `report` has the evidence.
    """
    report = check_init(*args, **kwargs)  # type: ignore[arg-type]
    if report.verdict is not Verdict.PASS:
        raise ParityError(report)
    return report


def _require(draws: int, seed: int, false_alarms: float, weights: Weights | None, plan: Plan | None) -> None:
    if isinstance(draws, bool) or not isinstance(draws, int) or not LEAST_DRAWS <= draws <= MOST_DRAWS:
        raise ValueError(
            f"`draws` is {draws!r}; it must be a whole number from {LEAST_DRAWS} to {MOST_DRAWS}: each is a "
            "model, and with fewer nothing can be told from chance"
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"`seed` is {seed!r}; it must be a whole number of at least 0")
    if not 0 < false_alarms < 1:
        raise ValueError(f"`false_alarms` is {false_alarms!r}; it must lie between 0 and 1, e.g. 1e-4")
    if weights is not None and not isinstance(weights, Weights):
        raise TypeError(f"`weights` is of type {type(weights).__name__}; it must be a parity.Weights")
    if plan is not None and not isinstance(plan, Plan):
        raise TypeError(
            f"`plan` is of type {type(plan).__name__}; it must be what parity.plan_weights returns"
        )
    if weights is not None and plan is not None:
        raise ValueError("`weights` says how to find a plan, and `plan` is one: give either")
    held = ("template", "params", "reference_params", "weights_file")
    if given := [field for field in held if weights is not None and getattr(weights, field) is not None]:
        raise ValueError(
            f"`weights` has {', '.join(given)}: weights that exist are not compared here, but what "
            "`reference` and `candidate` draw; of `parity.Weights`, pins, unused and missing are used"
        )


def _loaded() -> tuple[str, ...]:
    return tuple(side for side in SIDES if side in sys.modules)


def _running(models: Sequence[Model]) -> tuple[str, ...]:
    titles = {model.framework for model in models}
    return tuple(name for name, title in SIDES.items() if title in titles)


def _likeness(plan: Plan, reference: Model, candidate: Model) -> float:
    """How alike in size paired entries are, 0 to 1: settles what names and shapes leave open."""
    shares = []
    for block in blocks_of(plan, inputs_last=True):
        pair = block.arrays(reference.weights, candidate.weights)
        small, large = sorted(float(np.sqrt(np.mean(np.square(one)))) for one in pair)
        shares.append(small / large if large > 0 else 1.0)
    return sum(shares) / max(1, len(shares))


def _compared(block: Block, reference: Model, candidate: Model) -> Compared:
    """A block before the first draw is added; both first draws are known, for entries to be compared with."""
    first, second = block.arrays(reference.weights, candidate.weights)
    gauge = gauge_for(first.shape)
    dtypes = {model.dtypes.get(name) for model in (reference, candidate) for name in block.arrays_named}
    tolerance = 4 * max(EPS["float32"], *(EPS.get(str(dtype), 0.0) for dtype in dtypes))
    return Compared(block, Sample(first, gauge, tolerance), Sample(second, gauge, tolerance))


def _add(one: Compared, reference: Model, candidate: Model) -> None:
    pair = one.block.arrays(reference.weights, candidate.weights)
    for role, array, name in zip(("reference", "candidate"), pair, one.block.names, strict=True):
        if np.isnan(array).any():
            raise ValueError(f"the {role} draws NaN in {name}: nothing can be compared with that; correct it")
    entries = one.block.first_entries(reference.weights, candidate.weights, SKETCHED)
    one.reference.add(pair[0], one.candidate.first, entries[0])
    one.candidate.add(pair[1], one.reference.first, entries[1])


def _require_same_shapes(first: Model, now: Model, role: str) -> None:
    before = {name: array.shape for name, array in first.weights.items()}
    after = {name: array.shape for name, array in now.weights.items()}
    if before != after:
        changed = sorted({name for name, _ in before.items() ^ after.items()})
        raise ValueError(
            f"the {role} draws other weights from another seed: {', '.join(changed)} differ in shape or are "
            "not there; names and shapes must not depend on the seed"
        )


def _require_seeds_used(compared: Sequence[Compared]) -> None:
    """A side that draws the same weights every time, though they look drawn, ignores its seed."""
    for role, samples in (
        ("reference", [one.reference for one in compared]),
        ("candidate", [one.candidate for one in compared]),
    ):
        laws = [sample.law() for sample in samples]
        if all(law.fixed for law in laws) and not all(law.filled for law in laws):
            raise ValueError(
                f"the {role} draws the same weights from every seed: build a new model in each call, from "
                "the key that it is given or from the global generator, and set no seed of your own in it"
            )


def _require_resolution(draws: int, false_alarms: float, compared: Sequence[Compared]) -> None:
    needed = _thresholds(compared, false_alarms)
    if smallest_level(draws) >= min(needed):
        enough = next((d for d in range(draws, MOST_DRAWS) if smallest_level(d) < min(needed)), MOST_DRAWS)
        raise ValueError(
            f"`draws` is {draws}: with so many leaves and a false-alarm rate of {false_alarms:g} no "
            f"difference could be found; {enough} are enough"
        )


def _thresholds(compared: Sequence[Compared], false_alarms: float) -> tuple[float, float]:
    """Levels below which an entry, and a statistic, fails: half of the false alarms each, shared equally."""
    entries = sum(one.reference.first.size for one in compared)
    statistics = 2 * sum(len(one.reference.gauge.measures) for one in compared)
    return false_alarms / 2 / max(1, 2 * entries), false_alarms / 2 / max(1, statistics)


def _judged(compared: Sequence[Compared], false_alarms: float) -> list[Quantity]:
    rng = np.random.default_rng(0)  # breaks ties alone
    for_entries, for_statistics = _thresholds(compared, false_alarms)
    notes = _copy_notes(compared)
    quantities = []
    for index, one in enumerate(compared):
        odd = _odd_entries(one, for_entries)
        failed = _failed_measures(one, for_statistics, rng)
        told = list(notes.get(index, ()))
        if odd.any() or failed:
            told = [*sentences(Told(one.block, one.reference, one.candidate, odd, failed)), *told]
        quantities.append(
            Quantity(
                Stage.INIT,
                "weights",
                one.block.names[0],
                AS_STORED,
                Verdict.FAIL if told else Verdict.PASS,
                candidate_name=one.block.names[1],
                shape=one.reference.first.shape,
                notes=tuple(told),
            )
        )
    return quantities


def _odd_entries(one: Compared, level: float) -> Bool[np.ndarray, "..."]:
    """Entries that are the same in all draws of one side, and not so on the other."""
    draws = len(one.reference.values)
    found = np.zeros(one.reference.first.shape, bool)
    for first, second in ((one.reference, one.candidate), (one.candidate, one.reference)):
        found |= first.fixed & (fixed_levels(draws - second.other, draws) < level)
    return found


def _failed_measures(one: Compared, level: float, rng: np.random.Generator) -> list[Measure]:
    values = np.array(one.reference.values), np.array(one.candidate.values)
    low, high = sample_levels(*values, _tolerances(one.reference.gauge, one), rng)
    return [
        measure
        for measure, apart in zip(one.reference.gauge.measures, np.minimum(low, high) < level, strict=True)
        if apart
    ]


def _tolerances(gauge: Gauge, one: Compared) -> Float[np.ndarray, "K"]:
    """What rounding explains of each statistic."""
    powers = [float(np.mean(sample.powers, axis=0)[1]) for sample in (one.reference, one.candidate)]
    size = max(powers) ** 0.5
    rounding = max(ROUNDING, one.reference.tolerance)
    return np.array([rounding * (size if m.statistic in SCALED else 1.0) for m in gauge.measures])


def _copy_notes(compared: Sequence[Compared]) -> dict[int, list[str]]:
    """What to say of blocks that are copies of another on one side alone, by index."""
    notes: dict[int, list[str]] = {}
    groups = [_copies(compared, of_candidate) for of_candidate in (False, True)]
    for of_candidate, found in ((False, groups[0]), (True, groups[1])):
        other = [set(group) for group in groups[not of_candidate]]
        for group in found:
            if any(set(group) <= one for one in other):
                continue
            names = [compared[index].block.names[of_candidate] for index in group]
            for index in group:
                notes.setdefault(index, []).append(copied(names, of_candidate=of_candidate))
    return notes


def _copies(compared: Sequence[Compared], of_candidate: bool) -> list[tuple[int, ...]]:
    """Groups of blocks, by index, that hold the same numbers on one side."""
    sketches = [np.array((one.reference, one.candidate)[of_candidate].sketches) for one in compared]
    found = []
    for size in sorted({sketch.shape[1] for sketch in sketches}):
        if size < 4:
            continue
        indices = [index for index, sketch in enumerate(sketches) if sketch.shape[1] == size]
        together = np.stack([sketches[index] for index in indices], axis=1)
        found += [tuple(indices[member] for member in group) for group in copies(together)]
    return found
