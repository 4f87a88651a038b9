"""Whether a model repeats itself: two runs must give the same before two programs can be compared."""

import contextlib
import random
import sys
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import Arrays, is_float
from parity.trace.graph import Spot

ROUNDING = 2.0**-40
"""How far two runs in float64 may be apart, of the largest number: kernels may add up in another order."""


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global generators of Python, NumPy and PyTorch, seeded inside and put back on leaving.

    Args:
        seed: of all of them; models seed generators of their own themselves.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (saved, not drawn from)
    torch = sys.modules.get("torch")
    with torch.random.fork_rng() if torch is not None else contextlib.nullcontext():
        if torch is not None:
            torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (models under test may draw from it)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def first_to_part(first: Arrays, second: Arrays, rounding: float = ROUNDING) -> tuple[str, float] | None:
    """The first output in which two runs of a model differ, and by how much at most.

    Args:
        first: outputs by name.
        second: the same of the other run.
        rounding: how far floating numbers may be apart, of the largest.

    Returns:
        The name and the largest difference, infinite for other shapes; None if the runs agree.
    """
    for name, value in first.items():
        apart = _apart(value, second[name]) if name in second else np.inf
        finite = value[np.isfinite(value)] if is_float(value) else value[:0]
        if apart > rounding * float(np.abs(finite).max(initial=0.0)):
            return name, apart
    return None


def _apart(one: Shaped[np.ndarray, "..."], other: Shaped[np.ndarray, "..."]) -> float:
    if one.shape != other.shape:
        return float("inf")
    same = (one == other) | ((one != one) & (other != other))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(np.subtract(one, other, dtype=np.result_type(one, other, np.float64)))
    return float(np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference)).max())


def unrepeatable(
    framework: str, parting: tuple[str, float], drawn: Mapping[str, Spot], changes_itself: bool
) -> str:
    """What to say of a model whose runs differ.

    Args:
        framework: of the model.
        parting: what `first_to_part` found.
        drawn: operations of the framework that draw random numbers, with their places.
        changes_itself: whether runs agree where everything is put back in between.

    Returns:
        One sentence on what differs and why, and one on what to do.
    """
    name, apart = parting
    head = (
        f"two runs of the same {framework} model differ in `{name}` (by {apart:.2g}): nothing can be compared"
    )
    if drawn:
        where = ", ".join(
            f"{operation} in {spot.module or 'the model'}"
            + (f" ({spot.file}:{spot.line})" if spot.file else "")
            for operation, spot in drawn.items()
        )
        return (
            f"{head}. It draws random numbers: {where}; call `model.eval()` if this is dropout, or give the "
            "random numbers as an input"
        )
    if changes_itself:
        return (
            f"{head}. It changes something when it runs, such as a counter, a cache or a generator in an "
            "attribute, and reads it in the next run: give that value as an input"
        )
    return (
        f"{head}. It reads something that changes from run to run, such as random numbers of Python or "
        "NumPy: give them as an input"
    )
