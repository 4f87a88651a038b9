"""A failed output that the reference has, too, before it puts it together with more that it computes."""

from collections.abc import Iterator

from parity.diagnose.extra import GLUE, WITH_ANOTHER
from parity.diagnose.fault import DEPTHS, Fault
from parity.diagnose.naming import of_reference
from parity.diagnose.phrases import operations
from parity.diagnose.substitutes import way_between
from parity.diagnose.trials import Change
from parity.localise.comparison import failing
from parity.report.kinds import CauseKind


def missing_branch(fault: Fault) -> Iterator[Change]:
    """The second of two critics or losses left out: what is returned is the first."""
    j, nodes = fault.region.j, fault.reference.nodes
    if fault.depth < DEPTHS[-1] or fault.region.settled or not fault.comparison.candidate_agrees(j):
        return
    own = set(fault.comparison.partners[j])
    ends = [t for t, failed in failing(fault.comparison, fault.group) if failed == j]
    path = way_between(fault, own, ends[0]) if ends else None
    steps = [t for t in sorted(path or ()) if nodes[t].operation not in GLUE]
    if not steps or own.isdisjoint(nodes[steps[0]].inputs):
        return
    first, *rest = (nodes[t] for t in steps)
    does = WITH_ANOTHER.get(first.operation.strip("_"))
    others = [i for i in first.inputs if i not in own]
    if does is None or len(others) != 1 or others[0] in fault.reference_pure:
        return
    then = f", and computes {operations(rest)} then" if rest else ""
    node = fault.node(j)
    places = (node.called_from(node.spot.callers[-1]),) if node.spot.callers else ()
    text = f"<reference> {does} {of_reference(fault, others[0])}{then}; <candidate> gives what is before"
    yield Change(CauseKind.MISSING_TERM, text, {j: fault.region.value}, candidate_places=places)
