"""Numbers and operations in words."""

from collections.abc import Iterable

from parity.trace.graph import Node


def number(value: float) -> str:
    """A number as it would stand in code.

    >>> number(1e-06), number(0.1), number(12.0), number(1 / 3)
    ('1e-06', '0.1', '12', '0.333333333333')
    """
    return f"{float(value):.12g}"


def operations(nodes: Iterable[Node]) -> str:
    """The operations of some nodes, each once, in order."""
    names = dict.fromkeys(node.operation.strip("_") for node in nodes)
    return ", ".join(names)


def settings(node: Node, numbers: Iterable[float] = ()) -> str:
    """An operation with its settings, and with the numbers among its operands.

    Args:
        node: the operation.
        numbers: its operands that are constants of one number.

    Returns:
        For example "mul(other=0.5)", or "mul(0.5)" where the number is an operand.
    """
    shown = [number(value) for value in numbers]
    shown += [
        f"{name}={number(value) if isinstance(value, float) else value}"
        for name, value in node.params.items()
        if isinstance(value, int | float | str) or (isinstance(value, list) and len(value) < 8)
    ]
    return f"{node.operation.strip('_')}({', '.join(shown)})"


def with_numbers(node: Node, numbers: Iterable[float]) -> str:
    """An operation with the numbers that it computes with, if any.

    Args:
        node: the operation.
        numbers: its operands that are constants of one number.

    Returns:
        For example "mul(5)", or "tanh".
    """
    given = [
        *numbers,
        *(v for k, v in node.params.items() if isinstance(v, float) or (k == "other" and isinstance(v, int))),
    ]
    name = node.operation.strip("_")
    return f"{name}({', '.join(map(number, given))})" if given else name
