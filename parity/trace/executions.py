"""Which operations of a trace are the same code, run more than once: in a loop, a layer, a call."""

from collections.abc import Sequence

from parity.trace.graph import Trace

LONGEST = 4096
"""Operations of one line after which it is not looked whether they repeat."""


def executions(trace: Trace, number: int) -> Sequence[int]:
    """The evaluations that are the same operation of the same line as one, itself among them.

    Args:
        trace: with its evaluations.
        number: of one of them.
    """
    place = _line(trace, number)
    if not place[0]:
        return [number]
    on_line = [n for n in range(len(trace.evaluations)) if _line(trace, n) == place]
    period = _period([trace.evaluations[n].operation for n in on_line])
    return on_line[on_line.index(number) % period :: period]


def _line(trace: Trace, number: int) -> tuple[str, int, bool]:
    outputs = trace.evaluations[number].outputs
    if not outputs:
        return "", 0, False
    node = trace.nodes[outputs[0]]
    return node.spot.file, node.spot.line, node.backward


def _period(operations: Sequence[str]) -> int:
    """After how many operations a line starts again; their number if it does not."""
    count = len(operations)
    for period in range(1, min(count, LONGEST) // 2 + 1):
        if count % period == 0 and list(operations[:period]) * (count // period) == list(operations):
            return period
    return count
