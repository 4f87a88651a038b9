"""A transformation of the candidate's optimiser that the reference's has not: left out, both agree."""

import dataclasses
from collections.abc import Callable
from typing import Any

from parity.pipeline.training_causes import failures
from parity.pipeline.training_judging import by_effect
from parity.pipeline.training_measured import Compared
from parity.report.partings import Parting, Phase

PHASES = (Phase.CLIPPING, Phase.SCHEDULE, Phase.SLOTS, Phase.UPDATE)
"""Where training may part because of the optimiser."""

MOST = 8
"""Transformations that are left out, each once: both sides are trained again for it."""


def with_link_cause(
    parting: Parting | None, transformation: Any, trained: Callable[[Any], Compared]
) -> Parting | None:
    """A parting without a cause, with the transformation that has to be left out, if that is one.

    Args:
        parting: where the two part, or None.
        transformation: the candidate's optimiser; None where it is translated.
        trained: both sides trained and judged, the candidate's with another transformation.
    """
    if parting is None or parting.cause or parting.phase not in PHASES or transformation is None:
        return parting
    from parity.optimizers.chains import without_one

    for name, other in list(without_one(transformation))[:MOST]:
        judged, _ = by_effect(trained(other).stepped)
        if not failures(judged):
            cause = (
                f"<candidate>'s optimiser has {in_optax(name)}, <reference>'s nothing like it: without it "
            )
            return dataclasses.replace(parting, cause=f"{cause}both agree")
    return parting


def in_optax(name: str) -> str:
    """A transformation by its name, with the package where it is optax's.

    Args:
        name: of the function that makes it.
    """
    import optax

    return f"`optax.{name}`" if hasattr(optax, name) else f"`{name}`"
