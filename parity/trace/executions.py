"""Which operations of a trace are the same code, run more than once: in a loop, a layer, a call."""

import itertools
import re
from collections.abc import Iterator, Sequence

from parity.trace.graph import Node, NodeKind, Trace

LONGEST = 4096
"""Operations of one line after which it is not looked whether they repeat."""

Line = tuple[str, int, bool]
"""A file, a line of it, and whether it is the gradient of that line."""


def executions(trace: Trace, number: int) -> Sequence[int]:
    """The evaluations that are the same operation of the same line as one, itself among them.

    Args:
        trace: with its evaluations.
        number: of one of them.
    """
    evaluations = trace.evaluations
    lines = [_line(trace.nodes[e.outputs[0]]) if e.outputs else None for e in evaluations]
    if lines[number] is None:
        return [number]
    return in_turn(trace, [n for n, line in enumerate(lines) if line == lines[number]], number)


def in_turn(trace: Trace, on_line: Sequence[int], number: int) -> Sequence[int]:
    """Of the evaluations of one line those that have an evaluation's place each time the line starts again.

    Args:
        trace: with its evaluations.
        on_line: the evaluations of the line, in order.
        number: one of them.
    """
    period = _period([trace.evaluations[n].operation for n in on_line])
    return on_line[on_line.index(number) % period :: period]


def steps(trace: Trace, alike: Sequence[int], number: int) -> list[int]:
    """The same equation in every step of the loop that an evaluation is in, in order; itself alone elsewhere.

    Args:
        trace: with its evaluations; steps are told apart by their spots.
        alike: the evaluations of the same operation of the same line, in order.
        number: one of them.
    """
    loop: dict[str, list[int]] = {}
    last = ""
    for n in alike:
        outputs = trace.evaluations[n].outputs
        step = trace.nodes[outputs[0]].spot.step if outputs else ""
        if step != last and step in loop:  # the loop is run once more
            if number in itertools.chain(*loop.values()):
                break
            loop = {}
        loop.setdefault(step, []).append(n)
        last = step
    of_own = next(of_step for of_step in loop.values() if number in of_step)
    if "" in loop or {len(of_step) for of_step in loop.values()} != {len(of_own)}:
        return [number]
    return [of_step[of_own.index(number)] for of_step in loop.values()]


def repeated(trace: Trace) -> Iterator[list[int]]:
    """The nodes that are the same operation of the same line, in the order of computation; two or more each.

    A node is found twice where a loop runs inside of another: with the runs of the inner one, and with those
    of all that the line computes.

    Args:
        trace: with or without its evaluations.
    """
    lines: dict[Line, list[int]] = {}
    for index, node in enumerate(trace.nodes):
        if node.kind is NodeKind.OPERATION and (line := _line(node)) is not None:
            lines.setdefault(line, []).append(index)
    for on_line in lines.values():
        operations = [trace.nodes[i].operation for i in on_line]
        period = _period(operations)
        if period < len(on_line):
            yield from (on_line[first::period] for first in range(period))
        for start, length, number in _runs(operations[:LONGEST]):
            if (length, number * length) != (period, len(on_line)):
                runs = on_line[start : start + number * length]
                yield from (runs[first::length] for first in range(length))


def _line(node: Node) -> Line | None:
    return (node.spot.file, node.spot.line, node.backward) if node.spot.file else None


def _runs(operations: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Stretches in which operations repeat: where each starts, its period, and how often it is repeated."""
    letters = {name: chr(number) for number, name in enumerate(dict.fromkeys(operations))}
    for found in re.finditer(r"(.+?)\1+", "".join(letters[name] for name in operations), re.DOTALL):
        length = len(found[1])
        yield found.start(), length, len(found[0]) // length


def _period(operations: Sequence[str]) -> int:
    """After how many operations a line starts again; their number if it does not."""
    count = len(operations)
    for period in range(1, min(count, LONGEST) // 2 + 1):
        if count % period == 0 and list(operations[:period]) * (count // period) == list(operations):
            return period
    return count
