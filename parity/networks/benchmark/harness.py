"""What a check costs: `parity.check` of a case against plain forward and backward passes."""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax

from parity.networks.benchmark import memory
from parity.networks.drawing import Drawn
from parity.networks.network_training import to_nhwc
from parity.networks.run_case import BATCH, check_case
from parity.numerics.arrays import DTYPES, to_jax, to_torch
from parity.numerics.precision import jax_device, running
from parity.numerics.progress import Progress, no_progress
from parity.pipeline.request import Settings
from parity.report.results import Report, Verdict

CALLS = 10
"""Plain passes of a turn: one is shorter than what disturbs it."""

BEGINNING = "beginning"
"""What a check does before it names its first phase."""


class Plain(NamedTuple):
    """One forward and backward pass in one framework and dtype.

    Attributes:
        framework: "torch" (eager) or "jax" (compiled).
        dtype: "float64" or "float32".
        first: seconds of the first call, which compiles.
        times: seconds of a later one, one per repetition.
    """

    framework: str
    dtype: str
    first: float
    times: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.times)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a check of one case costs, times in seconds.

    Attributes:
        case: the case.
        batch: samples of each pass.
        plain: plain passes, both frameworks in both dtypes: what a check judges.
        cold: the first check, with nothing compiled.
        again: later ones, one per repetition.
        phases: median seconds of a later check by phase, in the order in which they come.
        peak_bytes: by how much memory rose at most during a check; None where that cannot be measured.
        plain_peak_bytes: during all the plain passes.
    """

    case: str
    batch: int
    plain: tuple[Plain, ...]
    cold: float
    again: tuple[float, ...]
    phases: dict[str, float]
    peak_bytes: int | None = None
    plain_peak_bytes: int | None = None

    @property
    def median(self) -> float:
        """Seconds of a later check."""
        return statistics.median(self.again)

    @property
    def factor(self) -> float:
        """A later check as a multiple of all plain passes."""
        return self.median / sum(plain.median for plain in self.plain)

    @property
    def cold_factor(self) -> float:
        """The first check as a multiple of the first plain passes, compilation on both sides."""
        return self.cold / sum(plain.first for plain in self.plain)


def cost(
    name: str,
    drawn: Drawn,
    *,
    device: str = "cpu",
    repeats: int = 10,
    progress: Progress = no_progress,
) -> Cost | None:
    """Time checks and plain passes of a case in turns.

    Args:
        name: of the case.
        drawn: the case.
        device: "cpu" or "cuda".
        repeats: turns.
        progress: called with a short description as each phase begins.

    Returns:
        The figures; None if the check does not pass.
    """

    def checked() -> tuple[Report, dict[str, float]]:
        marks: list[tuple[str, float]] = [(BEGINNING, time.perf_counter())]
        report = check_case(
            name,
            drawn,
            Settings(dtypes=DTYPES, device=device),
            progress=lambda text: marks.append((text, time.perf_counter())),
        )
        return report, spans(marks, time.perf_counter())

    with _nothing_compiled():
        progress("the first check")
        report, first = checked()
        if report.verdict is not Verdict.PASS:
            return None
        passes = {(f, d): make(drawn, d, device) for d in DTYPES for f, make in _MAKERS.items()}
        progress("the first plain passes")
        firsts = {key: _seconds(run) for key, run in passes.items()}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in passes}
    again: list[dict[str, float]] = []
    for repeat in range(repeats):
        progress(f"round {repeat + 1} of {repeats}")
        for key, run in passes.items():
            times[key].append(_seconds(run, CALLS) / CALLS)
        again.append(checked()[1])
    peak = plain_peak = None
    if device == "cpu":  # on a GPU two allocators take part, and neither figure is the whole
        progress("memory")
        _, peak = memory.rise(checked, "torch", device)
        _, plain_peak = memory.rise(lambda: [run() for run in passes.values()], "torch", device)
    names = dict.fromkeys(text for one in again for text in one)
    return Cost(
        name,
        BATCH,
        tuple(Plain(*key, firsts[key], tuple(own)) for key, own in times.items()),
        sum(first.values()),
        tuple(sum(one.values()) for one in again),
        {text: statistics.median(one.get(text, 0.0) for one in again) for text in names},
        peak,
        plain_peak,
    )


def spans(marks: Sequence[tuple[str, float]], end: float) -> dict[str, float]:
    """Seconds by phase, from when each began; what comes after a comma counts rounds.

    Args:
        marks: (phase, time at which it begins), in order.
        end: time at which the last one ends, in the unit of the others.

    >>> spans([("noise, 1 of 2", 0.0), ("noise, 2 of 2", 1.0), ("judging", 4.0)], end=6.0)
    {'noise': 4.0, 'judging': 2.0}
    """
    ends = [begins for _, begins in marks[1:]] + [end]
    total: dict[str, float] = {}
    for (text, begins), ends_at in zip(marks, ends, strict=True):
        name = text.partition(",")[0]
        total[name] = total.get(name, 0.0) + ends_at - begins
    return total


def _torch(drawn: Drawn, dtype: str, device: str) -> Callable[[], object]:
    """One forward and backward pass, eager, on the batch that a check takes."""
    pair, inputs = drawn.pair(), drawn.samples.inputs
    x, y = (to_torch(inputs[name][:BATCH], dtype, device) for name in ("x_train", "y_train"))
    weights = {n: to_torch(a, dtype, device).requires_grad_() for n, a in pair.weights.items()}

    def run() -> object:
        loss = drawn.torch_recipe.loss(pair.reference.call(weights, x), y)
        loss.backward()
        grads = [weight.grad for weight in weights.values()]
        for weight in weights.values():
            weight.grad = None
        return loss.item(), grads  # reading the number waits for an accelerator

    return run


def _jax(drawn: Drawn, dtype: str, device: str) -> Callable[[], object]:
    """The same, compiled."""
    pair, inputs, place = drawn.pair(), drawn.samples.inputs, jax_device(device)
    gradients = jax.jit(
        jax.value_and_grad(lambda p, x, y: drawn.jax_recipe.loss(pair.candidate.call(p, x), y))
    )
    with running(dtype, device):
        x, y = (to_jax(to_nhwc(inputs[name][:BATCH], name), dtype, place) for name in ("x_train", "y_train"))
        leaves = {path: to_jax(leaf, dtype, place) for path, leaf in pair.candidate_weights.items()}
    params = pair.candidate.tree.build(leaves)

    def run() -> object:
        with running(dtype, device):
            return jax.block_until_ready(gradients(params, x, y))  # type: ignore[no-untyped-call]

    return run


_MAKERS: dict[str, Callable[[Drawn, str, str], Callable[[], object]]] = {"torch": _torch, "jax": _jax}


def _seconds(run: Callable[[], object], calls: int = 1) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        run()
    return time.perf_counter() - started


@contextlib.contextmanager
def _nothing_compiled() -> Iterator[None]:
    """Inside, JAX begins with nothing compiled, in memory or in the folder that the commands keep."""
    from jax.experimental.compilation_cache import compilation_cache

    kept = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)  # type: ignore[no-untyped-call]
    compilation_cache.reset_cache()
    jax.clear_caches()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)  # type: ignore[no-untyped-call]
        compilation_cache.reset_cache()
