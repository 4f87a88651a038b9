"""Which reasons of a transfer are weak: a report shows these lines of the plan where the sides differ."""

BY_RUNNING = "settled by running"
"""The reason of what names and shapes left open, and what running the two models decided."""

AGAINST_EVIDENCE = "less usual, but more agrees with it"
"""The reason of what running decided against the better evidence."""

BY_CONVENTION = "as the others do"
"""The reason of a square matrix that lies as the others of its kind, since nothing else tells."""

OTHER_WAY = "the other way"
"""The reason of a layout that is not the usual one of its kind of layer."""

VARIED = "in another order"
"""The reason of what was tried in place of a plan with which the two sides differ."""

OPEN = "one of several that fit, and none makes the sides agree"
"""The reason of what running the two models did not settle."""

_WEAK = (OPEN, BY_RUNNING, AGAINST_EVIDENCE, BY_CONVENTION, OTHER_WAY, VARIED)


def is_doubtful(reason: str) -> bool:
    """Whether a transfer for this reason rests on little.

    >>> is_doubtful("linear: (out, in) to (in, out)"), is_doubtful(f"linear, {BY_CONVENTION}")
    (False, True)

    Args:
        reason: of a `Transfer`.
    """
    return any(weak in reason for weak in _WEAK)
