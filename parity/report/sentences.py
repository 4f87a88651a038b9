"""What a report says in plain sentences: the answer, how a divergence shows, what to do about it."""

from collections.abc import Iterable, Sequence

from parity.report.divergences import Divergence, Place
from parity.report.kinds import STAGES, Kind, Stage
from parity.report.quantities import Quantity
from parity.report.report import Report
from parity.report.verdicts import Verdict

STAGE_NOUNS = {
    Stage.WEIGHTS: "weights",
    Stage.FORWARD: "outputs",
    Stage.GRADIENTS: "gradients",
    Stage.STEP: "first step",
    Stage.CURVE: "training curves",
}
"""What is compared in each stage."""

PASSES = {Stage.FORWARD: "forward pass", Stage.GRADIENTS: "backward pass"}
"""What is walked along in the stages that have an order of computation."""

_OF_STAGE = {
    Stage.GRADIENTS: "the gradient of ",
    Stage.STEP: "the first update of ",
    Stage.CURVE: "the curve ",
}
"""What a quantity of a stage is, before its name."""

_WITHOUT_CAUSE = {
    Kind.VALUE: "No known trap explains it. What goes in agrees, so the difference is made on these "
    "two lines: compare the operation itself, its options and the constants in it.",
    Kind.ORDER: "The numbers are right and their arrangement is not: compare the axis order that each side "
    "assumes here (reshape against transpose, channels first against last, flatten, split).",
    Kind.EXTRA: "One side computes something that the other does not: take it out, or add its counterpart.",
    Kind.DTYPE: "The two sides compute this in different precisions: cast at the same place on both.",
}


def answer(report: Report) -> str:
    """The verdict as one sentence for a reader who knows nothing of this tool.

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
        rest = "; the rest agree" if len(hidden) < number else ""
        share = _of(len(hidden), number)
        return f"Nothing certain can be said about {share} compared quantities, first {_first(hidden)}{rest}."
    what = _listed(STAGE_NOUNS[s] for s in STAGES if report.select(s))
    precision = f" in {_listed(report.dtypes)}" if report.dtypes else ""
    return f"The two programs compute the same thing: {what} agree within rounding{precision}."


def _difference(report: Report) -> str:
    failures, wrong_weights = report.failures(), report.failures(Stage.WEIGHTS)
    if wrong_weights:
        share = f"{_of(len(wrong_weights), len(report.select(Stage.WEIGHTS)))} tensors, first "
        name = share + wrong_weights[0].name if len(wrong_weights) > 1 else wrong_weights[0].name
        return f"The JAX model does not have PyTorch's weights: the values are others in {name}."
    if report.divergences:
        first = report.divergences[0]
        where = headline_place(first)
        known = f", and the cause is known: {first.cause.name}" if first.cause else ""
        stage = PASSES.get(first.stage, STAGE_NOUNS[first.stage])
        return f"The two programs do not compute the same thing: they part in the {stage} at {where}{known}."
    narrow = {q.dtype for q in failures}
    if (
        "float64" in report.dtypes
        and "float64" not in narrow
        and not report.select(dtype="float64", verdict=Verdict.INCONCLUSIVE)
    ):
        return (
            "The two programs are the same function in float64, but the JAX side loses more accuracy than "
            f"PyTorch in {_listed(sorted(narrow))}, first in {_first(failures)}."
        )
    return (
        "The two programs do not compute the same thing: more than rounding separates "
        f"{_of(len(failures), len(report.quantities))} compared quantities, first {_first(failures)}."
    )


def headline_place(divergence: Divergence) -> str:
    """Where a divergence is, in a few words: PyTorch's module, else JAX's line.

    >>> headline_place(Divergence("forward", (Place("aten.mm", "head"),), ()))
    'head'
    """
    torch, jax = divergence.reference[:1], divergence.candidate[:1]
    module = torch[0].module if torch else ""
    line = next((location(p) for p in (*jax, *torch) if p.file), "")
    if module and line:
        return f"{module} ({line})"
    operation = next((p.operation for p in (*torch, *jax) if p.operation), "an unknown place")
    return module or line or operation


def also_in(others: Sequence[Divergence]) -> str:
    """The other places of a fault, by PyTorch's modules."""
    modules = [divergence.reference[0].module if divergence.reference else "" for divergence in others]
    places = [module or headline_place(other) for module, other in zip(modules, others, strict=True)]
    return ", ".join(dict.fromkeys(places))


def headline(divergence: Divergence) -> str:
    """How a divergence shows itself, in half a sentence."""
    if divergence.stage is Stage.WEIGHTS:
        return "the JAX leaf does not hold PyTorch's numbers"
    if divergence.kind is Kind.ORDER:
        return "all inputs agree, the output has the same numbers in another order"
    if divergence.kind is Kind.EXTRA:
        side = "JAX" if divergence.candidate and not divergence.reference else "PyTorch"
        return f"only {side} computes this"
    if divergence.kind is Kind.DTYPE:
        return "the two sides compute this in different precisions"
    return "all inputs agree, the output does not"


def advice(divergence: Divergence) -> str:
    """What to do where no cause was found."""
    return _WITHOUT_CAUSE[divergence.kind]


def ordinal(position: int, total: int) -> str:
    """What a divergence is called: "first divergence", "divergence 2 of 3"."""
    return f"divergence {position + 1} of {total}" if position else "first divergence"


def location(place: Place, *, full: bool = False) -> str:
    """File and line of a place, the file without its directory unless `full`; "" if unknown.

    >>> location(Place("mm", file="/home/me/model.py", line=41))
    'model.py:41'
    """
    if not place.file:
        return ""
    file = place.file if full else place.file.replace("\\", "/").rsplit("/", 1)[-1]
    return f"{file}:{place.line}" if place.line else file


def printable(text: str) -> str:
    r"""Text that no terminal, browser or XML parser takes for more than text.

    Control characters, lone surrogates and marks that turn the direction of writing become escapes.

    >>> printable("a\x1b[31m\u202eb")
    'a\\x1b[31m\\u202eb'
    """
    if text.isprintable():
        return str(text)
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _first(quantities: tuple[Quantity, ...]) -> str:
    q = quantities[0]
    curve = q.curve
    since = f" from point {curve.first_failure} on" if curve and curve.first_failure is not None else ""
    return f"{_OF_STAGE.get(q.stage, '')}{q.name} in {q.dtype}{since}"


def _of(part: int, whole: int) -> str:
    return f"all {whole}" if part == whole > 1 else f"{part} of {whole}"


def _listed(words: Iterable[str]) -> str:
    """Words as in a sentence: "a", "a and b", "a, b and c"."""
    *rest, last = words
    return f"{', '.join(rest)} and {last}" if rest else last
