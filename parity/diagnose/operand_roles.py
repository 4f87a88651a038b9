"""What a value is to the operations at a fault: a part of a packed one, a statistic, a weight."""

from parity.diagnose.fault import Fault
from parity.diagnose.naming import told_apart
from parity.report.kinds import CauseKind
from parity.trace.graph import NodeKind
from parity.trace.vocabulary import FITTING, PARTS


def source_of(fault: Fault, index: int) -> int:
    """The value that a value is made of by rearranging and repeating alone.

    Args:
        fault: the fault.
        index: node of the candidate.
    """
    return fault.rearranged_from(index)[-1]


def parents(fault: Fault, index: int) -> set[int]:
    """Values that a value is a part of, directly or after a step or two of its own.

    Args:
        fault: the fault.
        index: node of the candidate.
    """
    found, edge = set(), {index}
    for _ in range(4):
        following: set[int] = set()
        for i in edge:
            node = fault.node(i)
            if (
                node.operation in PARTS - {"scan_slice"}
                and fault.value(node.inputs[0]).size > fault.value(i).size
            ):
                found.add(node.inputs[0])
            elif node.kind is NodeKind.OPERATION:
                shape = None if node.operation in FITTING else fault.value(i).shape
                following.update(k for k in node.inputs if shape in (None, fault.value(k).shape))
        edge = following
    return found


def exchange_in_words(fault: Fault, a: int, b: int) -> str:
    """That two values are exchanged.

    Args:
        fault: the fault.
        a: node of the candidate.
        b: another one.
    """
    return "{} and {} are exchanged in <candidate>".format(*told_apart(fault, a, b))


def kind_of_exchange(fault: Fault, a: int, b: int) -> CauseKind:
    """What it is called that two values are exchanged.

    Args:
        fault: the fault.
        a: node of the candidate.
        b: another one.
    """
    first, second = fault.node(a), fault.node(b)
    if first.fixed and second.fixed:
        return CauseKind.SWAPPED_WEIGHTS
    if parents(fault, a) & parents(fault, b):
        return kind_of_packing(fault, a)
    if is_statistic(fault, a) and is_statistic(fault, b):
        return CauseKind.STATISTICS
    return CauseKind.OPERANDS


def kind_of_packing(fault: Fault, index: int) -> CauseKind:
    """Gates where both a sigmoid and a tanh follow, else another packing.

    Args:
        fault: the fault.
        index: node of the candidate.
    """
    starts = [index, *parents(fault, index)]
    gates = all(any(fault.reaches(i, {name}, 8) for i in starts) for name in ("logistic", "tanh"))
    return CauseKind.GATE_ORDER if gates else CauseKind.PACKED_ORDER


def is_statistic(fault: Fault, index: int) -> bool:
    """Whether a value is subtracted as a mean, or its root divided by, in a normalisation.

    Args:
        fault: the fault.
        index: node of the candidate.
    """
    value = fault.value(index)
    if value.dtype.kind != "f" or value.size >= fault.target.wanted.size:
        return False
    return fault.reaches(index, {"rsqrt", "sqrt"}, 4) or (
        fault.reaches(index, {"sub"}, 2)
        and any(fault.operation(n) in ("rsqrt", "sqrt") for n in fault.active)
    )


def has_another_use(fault: Fault, index: int) -> bool:
    """Whether a weight is read for something else as well: no statistic of a normalisation is.

    Args:
        fault: the fault.
        index: node of the candidate.
    """
    weights = fault.ancestors(index) & set(fault.candidate.weights.values())
    return any(len([k for k in fault.consumers[w] if k in fault.relevant]) > 1 for w in weights)
