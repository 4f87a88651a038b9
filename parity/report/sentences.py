"""What a report says in plain sentences: the answer, how a divergence shows, what to do about it."""

from collections.abc import Iterable, Sequence

from parity.report.divergences import Cause, Divergence, Place
from parity.report.kinds import STAGES, CauseKind, Kind, Stage
from parity.report.locations import location
from parity.report.quantities import Quantity
from parity.report.report import Report
from parity.report.sides import Sides
from parity.report.verdicts import Verdict

PASSES = {Stage.FORWARD: "forward pass", Stage.LOSS: "loss", Stage.GRADIENTS: "backward pass"}
"""The computation in whose order the operations of a stage come."""

_WITHOUT_CAUSE = {
    Kind.VALUE: "No known mistake explains it. The inputs agree, so the difference arises on these "
    "lines: compare the operation itself, its options and its constants.",
    Kind.ORDER: "The numbers are right but arranged differently: compare the order of axes that each side "
    "assumes here (reshape or transpose, channels first or last, flatten, split).",
    Kind.EXTRA: "One side computes something that the other does not: remove it, or add its counterpart.",
    Kind.DTYPE: "The two sides compute this in different precisions: cast at the same place on both.",
    Kind.ACCURACY: "Write it in a form that keeps the digits, as the other side does (the maximum "
    "subtracted before exp, log1p, log_softmax, a centred variance), or compute it in a wider dtype.",
    Kind.DRAWS: "Draw on both sides from the same distribution, with the same parameters and in the same "
    "shape, as often and in the same places.",
}

_FORMULAS = (
    "No known mistake explains it. Both sides read the same values there and compute different things of "
    "them: make the formulas the same."
)

_REARRANGED = {
    kind: f"Read the {parts} in the order of {{reference}}, or rearrange them in your conversion of the "
    "weights and give those (`params=`): what computes the same passes."
    for kind, parts in ((CauseKind.GATE_ORDER, "gates"), (CauseKind.PACKED_ORDER, "parts"))
}
"""Of causes that a conversion of the weights may intend."""

_RECORDED = (
    "All that goes in agrees, so the difference arises on these lines: compare the operation itself, its "
    "options and its constants. The error is that of the output, and no cause was tried: recorded values "
    "cannot be computed again."
)


def answer(report: Report) -> str:
    """The verdict as one sentence for a reader who does not know this tool.

    Args:
        report: what a comparison found.

    >>> answer(Report("empty", ()))
    'No answer: nothing was compared.'
    """
    if report.error is not None:
        return "No answer: the comparison stopped before it was done."
    number = len(report.quantities)
    if not number:
        return "No answer: nothing was compared."
    if broken := report.select(verdict=Verdict.ERROR):
        return f"No answer: {_of(len(broken), number)} compared quantities could not be judged."
    if report.failures():
        return _difference(report)
    if hidden := report.select(verdict=Verdict.INCONCLUSIVE):
        if told := _beyond_rounding(report, hidden):
            return told
        rest = "; the rest agree" if len(hidden) < number else ""
        share = _of(len(hidden), number)
        return f"Nothing certain can be said about {share} compared quantities, first {_first(hidden)}{rest}."
    if report.select(Stage.INIT):
        return f"The two models start alike: {_of(number, number)} pairs of weights are drawn alike."
    what = _listed(s.noun for s in STAGES if report.select(s))
    precision = f" in {_listed(report.dtypes)}" if report.dtypes else ""
    but = f". But {'; '.join(report.conditions)}" if report.conditions else ""
    return f"The two programs compute the same thing: {what} agree within rounding{precision}{but}."


def _beyond_rounding(report: Report, hidden: Sequence[Quantity]) -> str:
    """Training whose steps all agree and whose free run rounding carries away; "" if it is not that."""
    horizons = {
        q.dtype: min(h.curve.horizon for h in hidden if h.dtype == q.dtype and h.curve and h.curve.horizon)
        for q in hidden
        if q.curve is not None and q.curve.horizon
    }
    stages = {q.stage for q in hidden}
    stepped = any(q.curve for q in report.select(Stage.STEP))
    if stages != {Stage.CURVE} or not stepped or not horizons:
        return ""
    where = _listed(f"step {step} on in {dtype}" for dtype, step in horizons.items())
    return (
        "Every step from equal weights agrees. From start to end it cannot be told: rounding alone carries "
        f"the runs apart from {where}, as a change in the last digit would; up to there they agree."
    )


def _difference(report: Report) -> str:
    if report.parting is not None:
        return report.sides.named(f"Training {report.parting}.")
    failures, wrong_weights = report.failures(), report.failures(Stage.WEIGHTS)
    named = report.sides.named
    if started := report.failures(Stage.INIT):
        share = _of(len(started), len(report.select(Stage.INIT)))
        return f"The two models do not start alike: {share} pairs of weights are drawn differently."
    if wrong_weights:
        share = f"{_of(len(wrong_weights), len(report.select(Stage.WEIGHTS)))} tensors, first "
        name = share + wrong_weights[0].name if len(wrong_weights) > 1 else wrong_weights[0].name
        claim = capitalised(named("<candidate model> does not hold <reference>'s weights"))
        return f"{claim}: the values differ in {name}."
    first = report.divergences[0] if report.divergences else None
    narrow = {q.dtype for q in failures}
    if first is not None and first.kind is Kind.ACCURACY and "float64" not in narrow:
        claim = named("but <candidate side> loses more accuracy than <reference>")
        return (
            f"The two programs are the same function in float64, {claim} in {_listed(sorted(narrow))}, "
            f"first {_within(first)}at {headline_place(first)}."
        )
    if first is not None:
        known = f", and its cause is known: {first.cause.name}" if first.cause else ""
        return (
            f"The two programs do not compute the same thing: the first difference is {_within(first)}"
            f"at {headline_place(first)}{known}."
        )
    if (
        "float64" in report.dtypes
        and "float64" not in narrow
        and not report.select(dtype="float64", verdict=Verdict.INCONCLUSIVE)
    ):
        claim = named("but <candidate side> loses more accuracy than <reference>")
        return (
            f"The two programs are the same function in float64, {claim} in {_listed(sorted(narrow))}, "
            f"first in {_first(failures)}."
        )
    return (
        "The two programs do not compute the same thing: the difference exceeds rounding in "
        f"{_of(len(failures), len(report.quantities))} compared quantities, first {_first(failures)}."
    )


def _within(divergence: Divergence) -> str:
    """The pass in which a divergence is, before its place."""
    return f"in the {PASSES[divergence.stage]}, " if divergence.stage in PASSES else ""


def headline_place(divergence: Divergence) -> str:
    """Where a divergence is, in a few words: the reference's layer and the candidate's line.

    >>> from parity.report.divergences import Place
    >>> port = Place("mul", file="port.py", line=11)
    >>> headline_place(Divergence(Stage.FORWARD, (Place("aten.gelu", "1"),), (port,)))
    'layer `1` (gelu), port.py:11'
    >>> library = Place("aten.gelu", "1", layer="GELU(approximate='none')")
    >>> headline_place(Divergence(Stage.FORWARD, (library,), (port,)))
    "layer `1`: GELU(approximate='none'), port.py:11"
    """
    places = (*divergence.reference[:1], *divergence.candidate[:1])
    module = next((place.module for place in divergence.reference[:1]), "")
    line = next((location(place) for place in (*divergence.candidate[:1], *places) if place.file), "")
    operation = next((place.operation for place in places if place.operation), "").removeprefix("aten.")
    if not module:
        return line or operation or "an unknown place"
    if divergence.stage is Stage.WEIGHTS:
        where = f"weight `{module}`"
    elif divergence.reference[0].layer:
        where = layer_in_words(divergence.reference[0])
    else:
        where = f"layer `{module}`" + (f" ({operation})" if operation else "")
    return ", ".join(filter(None, (where, line)))


def layer_in_words(place: Place) -> str:
    """The layer of a place, with its class and settings where these are known; "" outside of all layers.

    >>> layer_in_words(Place("aten.gelu", "1", layer="GELU(approximate='none')"))
    "layer `1`: GELU(approximate='none')"
    >>> layer_in_words(Place("aten.gelu", "1"))
    '1'

    Args:
        place: where an operation stands.
    """
    return f"layer `{place.module}`: {place.layer}" if place.module and place.layer else place.module


def also_in(fault: Sequence[Divergence]) -> list[str]:
    """The other places of a fault, by the reference's modules.

    Args:
        fault: a divergence which has been shown, then those that repeat it.

    Returns:
        A name for each other place, once.
    """
    shown, *others = fault
    modules = [divergence.reference[0].module if divergence.reference else "" for divergence in others]
    places = [module or headline_place(other) for module, other in zip(modules, others, strict=True)]
    again = "another call of this line"
    return list(dict.fromkeys(again if place == headline_place(shown) else place for place in places))


def headline(divergence: Divergence, sides: Sides) -> str:
    """How a divergence shows itself, in half a sentence.

    Args:
        divergence: a place where two programs part.
        sides: what the two sides are called.

    Returns:
        A clause without a capital and without a full stop.
    """
    if divergence.stage is Stage.WEIGHTS:
        return sides.named("<candidate model> does not hold <reference>'s values")
    if divergence.kind is Kind.ORDER:
        return "all inputs agree, the output has the same numbers in another order"
    if divergence.kind is Kind.EXTRA:
        only_candidate = divergence.candidate and not divergence.reference
        return sides.named(f"only {'<candidate>' if only_candidate else '<reference>'} computes this")
    if divergence.kind is Kind.DTYPE:
        return "the two sides compute this in different precisions"
    if divergence.kind is Kind.DRAWS:
        return "the two sides draw other random numbers here"
    if divergence.kind is Kind.ACCURACY:
        return sides.named("<candidate> loses accuracy here that <reference> keeps")
    return "all inputs agree, the output does not"


def advice(divergence: Divergence) -> str:
    """What to do where no cause was found."""
    if divergence.recorded:
        return _RECORDED
    return _FORMULAS if divergence.formulas else _WITHOUT_CAUSE[divergence.kind]


def beside(cause: Cause, sides: Sides) -> str | None:
    """What to do where a cause may be intended; None of any other, whose text says it.

    Args:
        cause: of a divergence.
        sides: what the two sides are called.
    """
    text = _REARRANGED.get(cause.name)
    return text and text.format(reference=sides.reference)


def in_brackets(formulas: Sequence[str], sides: Sides) -> str | None:
    """What stands in brackets in two formulas; None if nothing does that has a line.

    Args:
        formulas: of both sides.
        sides: what the two sides are called.
    """
    named = any(", line " in formula for formula in formulas)
    return f"in brackets: values that agree, by their line in {sides.candidate}" if named else None


def ordinal(position: int, total: int) -> str:
    """What a divergence is called: "first divergence", "divergence 2 of 3".

    Args:
        position: from 0.
        total: number of divergences.
    """
    return f"divergence {position + 1} of {total}" if position else "first divergence"


def capitalised(text: str) -> str:
    """A sentence with a capital at its beginning, all else as it is.

    >>> capitalised("only JAX computes this")
    'Only JAX computes this'
    """
    return text[:1].upper() + text[1:]


def _first(quantities: tuple[Quantity, ...]) -> str:
    q = quantities[0]
    curve = q.curve
    since = f" from point {curve.first_failure} on" if curve and curve.first_failure is not None else ""
    alone = next((note.partition(":")[0] for note in q.notes if note.startswith("only ")), "")
    if alone and q.stage is Stage.FORWARD:
        return f"output {q.name}: {alone}"
    return f"{q.stage.before}{q.name} in {q.dtype}{since}"


def _of(part: int, whole: int) -> str:
    return f"all {whole}" if part == whole > 1 else f"{part} of {whole}"


def _listed(words: Iterable[str]) -> str:
    """Words as in a sentence: "a", "a and b", "a, b and c"."""
    *rest, last = words
    return f"{', '.join(rest)} and {last}" if rest else last
