"""What a model in training mode writes to its own weights when it runs, which a check does not compare."""

from collections.abc import Sequence

from parity.frameworks.model import Model

MOST_NAMED = 3
"""Weights of one side that a sentence names."""


def updates_not_checked(models: Sequence[Model | None]) -> tuple[str, ...]:
    """What to say of running statistics that are updated, such as those of a normalisation over batches.

    Outputs and gradients depend neither on the numbers that are written nor on the momentum.

    Args:
        models: those that ran here; None for a recording.
    """
    sides = [
        f"{names} in {model.framework}" for model in models if model is not None and (names := _named(model))
    ]
    if not sides:
        return ()
    told = "; ".join(dict.fromkeys(sides))
    return (f"updated running statistics ({told}): a momentum that differs shows in them alone",)


def _named(model: Model) -> str:
    names = [name for name in model.weights if name in model.updated]
    return ", ".join(names[:MOST_NAMED]) + ", ..." * (len(names) > MOST_NAMED)
