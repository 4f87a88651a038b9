"""What each side computes at a fault, written as formulas of the values that agree.

Where no change that a programmer would make explains a fault, both formulas still say what differs: the
values that go in are the same, and bear the same names on both sides.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from parity.localise.comparison import Comparison, Region
from parity.trace.graph import Node, NodeKind, Trace
from parity.trace.vocabulary import FITTING, names

GLUE = FITTING | names("sharding_constraint contiguous lift_fresh_copy")
"""Operations that only fit shapes and dtypes, and say nothing in a formula."""

INFIX = {
    **dict.fromkeys(("add", "add_any"), (1, "+")),
    "sub": (1, "-"),
    "mul": (2, "*"),
    **dict.fromkeys(("div", "true_divide"), (2, "/")),
    **dict.fromkeys(("dot_general", "mm", "bmm", "matmul"), (2, "@")),
    **dict.fromkeys(("pow", "integer_pow"), (4, "**")),
}
"""Operations with an operator, and how tightly it binds."""

WORDS = {"logistic": "sigmoid", "reduce_sum": "sum", "reduce_max": "max", "reduce_min": "min"}
"""Words for LAX's names."""

SETTINGS = names(
    "axes axis dim dimension other alpha value min max y approximate correction beta negative_slope exponent"
)
"""Settings that a formula shows."""

STRIDES = {
    "stride": "stride",
    "window_strides": "stride",
    "dilation": "dilation",
    "rhs_dilation": "dilation",
}
"""Those that it shows where they are not one, and under which name."""

UNARY, ATOM = 3, 5
"""How tightly a sign binds, and what needs no brackets."""

MOST = 9
"""Operations of a formula: a longer one does not tell more than the code."""

LONGEST = 160
"""Characters of a formula."""


class _Text(NamedTuple):
    """A formula, or a part of one, and how tightly its outermost operator binds."""

    text: str
    binds: int = ATOM

    def within(self, binds: int) -> str:
        """The text, in brackets where an operator around it binds more tightly."""
        return self.text if self.binds >= binds else f"({self.text})"


class _TooLongError(Exception):
    """A formula has too many operations."""


def formulas(comparison: Comparison, region: Region) -> tuple[str, str] | None:
    """What the reference and the candidate compute at a fault, from the values that agree.

    Args:
        comparison: both traces.
        region: the fault.

    Returns:
        The two formulas; None where one is too long to tell anything, or where both read the same.
    """
    reference, candidate = comparison.reference, comparison.candidate
    read = {i for j in (*region.candidate_nodes, region.j) for i in candidate.nodes[j].inputs}
    twins = {comparison.gathered[i].whole: i for i in read if i in comparison.gathered}
    twins |= {t: j for j, found in reversed(comparison.partners.items()) for t in found}

    def there(index: int) -> str:
        return _leaf(candidate, twins[index]) if index in twins else _leaf(reference, index)

    def here(index: int) -> str:
        return _leaf(candidate, index)

    try:
        one = _Formula(reference, region.reference_nodes, there).of(region.t).text
        other = _Formula(candidate, region.candidate_nodes, here).of(region.j).text
    except _TooLongError:
        return None
    return (one, other) if one != other and max(len(one), len(other)) <= LONGEST else None


def _leaf(trace: Trace, index: int) -> str:
    """What a value that agrees is called: a weight or an input by its name, a number, or its line."""
    node = trace.nodes[index]
    if node.kind in (NodeKind.WEIGHT, NodeKind.INPUT):
        return node.operation
    if node.kind is NodeKind.CONSTANT and node.value.size == 1:
        return _number(float(np.real(node.array.reshape(()))))
    if node.operation in GLUE and node.inputs:
        return _leaf(trace, node.inputs[0])
    siblings = trace.evaluations[node.step].outputs if node.step >= 0 and trace.evaluations else (index,)
    which = f" {siblings.index(index) + 1} of {len(siblings)}" if len(siblings) > 1 else ""
    return f"[{_name(node)}{which}{f', line {node.spot.line}' if node.spot.line else ''}]"


class _Formula:
    """The formula of one side, written from its end."""

    def __init__(self, trace: Trace, inside: tuple[int, ...], leaf: Callable[[int], str]) -> None:
        self._trace, self._inside, self._leaf = trace, set(inside), leaf
        self._count = 0

    def of(self, index: int) -> _Text:
        """The formula of a node."""
        node = self._trace.nodes[index]
        if node.kind is not NodeKind.OPERATION or (index not in self._inside and not self._is_glue(node)):
            return _Text(self._leaf(index))
        if self._is_glue(node):
            return self.of(node.inputs[0])
        self._count += 1
        if self._count > MOST:
            raise _TooLongError
        parts = [self.of(i) for i in node.inputs]
        name, given = _name(node), _numbers(node)
        return self._operator(name, parts, given) or _called(name, parts, given)

    def _is_glue(self, node: Node) -> bool:
        return node.operation in GLUE and len(node.inputs) == 1

    @staticmethod
    def _operator(name: str, parts: list[_Text], given: dict[str, str]) -> _Text | None:
        """An operation that has an operator; None if it is written as a call."""
        if name == "neg":
            return _Text(f"-{parts[0].within(UNARY)}", UNARY)
        if name == "reciprocal":
            return _Text(f"1 / {parts[0].within(UNARY)}", 2)
        if name == "rsub" and given.get("alpha", "1") == "1":
            name, parts = "sub", [*(_Text(given[key]) for key in ("other",) if key in given), *parts]
        if name not in INFIX or given.get("alpha", "1") != "1":
            return None
        binds, sign = INFIX[name]
        parts = [*parts, *(_Text(given[key]) for key in ("other", "y", "exponent") if key in given)][:2]
        if len(parts) != 2:
            return None
        if sign == "*" and "1" in (parts[0].text, parts[1].text):
            return parts[parts[0].text == "1"]
        left, right = parts[0].within(binds), parts[1].within(binds + (sign in "-/@**"))
        return _Text(f"{left} {sign} {right}", binds)


def _called(name: str, parts: list[_Text], given: dict[str, str]) -> _Text:
    """An operation as a call of a function."""
    if name == "select_n" and len(parts) == 3:
        name, parts = "where", [parts[0], parts[2], parts[1]]
    operands = [part.text for part in parts]
    settings = [f"{key}={value}" for key, value in given.items()]
    return _Text(f"{WORDS.get(name, name)}({', '.join([*operands, *settings])})")


def _name(node: Node) -> str:
    return node.operation.strip("_")


def _numbers(node: Node) -> dict[str, str]:
    """The settings of an operation that a formula shows."""
    found = {}
    for name, value in node.params.items():
        if name in STRIDES and isinstance(value, list | tuple) and any(step != 1 for step in value):
            found[STRIDES[name]] = repr(tuple(value))
        elif name in SETTINGS and not isinstance(value, bool):
            if isinstance(value, int | float):
                found[name] = _number(value)
            elif isinstance(value, list | tuple) and len(value) == 1:
                found[name] = str(value[0])
            elif isinstance(value, str | list | tuple) and value:
                found[name] = repr(value)
    return found


def _number(value: float) -> str:
    return f"{float(value):.9g}"
