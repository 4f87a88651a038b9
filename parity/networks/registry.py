"""The built-in cases: which network of `torchref` is set against which network of `jaxnn`, and a result."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from experiments import EXPERIMENTS
from parity.report.results import Report, Verdict


@dataclasses.dataclass(frozen=True)
class Erratum:
    """A case that must fail, because the source it reproduces is wrong.

    Attributes:
        gradients: PyTorch's names of exactly the leaves whose gradients must fail.
        text: what is wrong, for the reader of the table.
    """

    gradients: frozenset[str]
    text: str

    def confirmed_by(self, report: Report) -> bool:
        """Whether the report fails as it should: these gradients, nothing before them, no error.

        The step and the curve may differ too: they follow from the gradients.

        Args:
            report: of the case.
        """
        before = report.select("weights") + report.select("forward")
        dtypes = report.dtypes
        return (
            report.error is None
            and bool(before)
            and all(q.verdict is Verdict.PASS for q in before)
            and all({q.name for q in report.failures("gradients", d)} == self.gradients for d in dtypes)
            and all(q.verdict in (Verdict.PASS, Verdict.FAIL) for q in report.quantities)
        )


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of `parity run`.

    Attributes:
        name: what the user calls it.
        recipe: name of the recipe in `jaxnn.RECIPES`, and in `torchref.RECIPES` unless `torch_recipe` says
            otherwise.
        quick_epochs: epochs of the default run; `--full` takes the recipe's.
        torch_recipe: the PyTorch recipe, when it is another one.
        erratum: set for a case that must fail.
        by_default: whether `parity run` has it without being asked.
    """

    name: str
    recipe: str
    quick_epochs: int
    torch_recipe: str | None = None
    erratum: Erratum | None = None
    by_default: bool = True


@dataclasses.dataclass(frozen=True)
class CaseResult:
    """A case's report, and whether the case must fail.

    Attributes:
        report: what was found.
        data: the data set it ran on.
        epochs: epochs of the curve.
        erratum: set when the case must fail.
    """

    report: Report
    data: str
    epochs: int
    erratum: Erratum | None = None

    @property
    def confirmed(self) -> bool:
        """Whether this is an erratum that failed exactly as it should."""
        return self.erratum is not None and self.erratum.confirmed_by(self.report)

    @property
    def verdict(self) -> Verdict:
        """Pass when everything agrees, or when an erratum failed as it should."""
        if self.erratum is None:
            return self.report.verdict
        if self.report.verdict in (Verdict.ERROR, Verdict.INCONCLUSIVE):
            return self.report.verdict
        return Verdict.PASS if self.confirmed else Verdict.FAIL


_AS_PRINTED = Erratum(
    frozenset({"W1", "b1"}),
    "the notebook's hidden-layer gradient has (1 - h)^2 where (1 - h^2)/2 is right (section 3.3.1)",
)


def _case(name: str) -> Case:
    e = EXPERIMENTS[name]
    if name == "two_layer_as_printed":
        return Case(name, name, e.quick_epochs, torch_recipe="two_layer_as_coded", erratum=_AS_PRINTED)
    return Case(name, name, e.quick_epochs, by_default=e.by_default)


CASES: Mapping[str, Case] = MappingProxyType({name: _case(name) for name in EXPERIMENTS})
"""All cases by name, in the order of the notebook."""


def find_cases(names: tuple[str, ...], *, every: bool = False) -> list[Case]:
    """The cases of these names, or those that run by default when there is none.

    Args:
        names: of cases; empty for those that run by default.
        every: take all cases; then no name may be given.

    Returns:
        Each case once, in the order of the names.

    Raises:
        ValueError: naming every unknown case and the known ones, or if names are given beside `every`.
    """
    if every and names:
        raise ValueError("--all runs every case; give it or the names of cases")
    if unknown := [name for name in names if name not in CASES]:
        raise ValueError(f"there is no case {', '.join(unknown)}; the cases are {', '.join(CASES)}")
    chosen = [CASES[name] for name in dict.fromkeys(names)]
    return chosen or [case for case in CASES.values() if every or case.by_default]
