"""What the two sides of a comparison are called, in every sentence of a report.

Code that explains a difference knows a reference and a candidate, never a framework. It writes `<reference>`
and `<candidate>` (or `<reference side>`, `<candidate model>` and so on), and the report puts the names in.
"""

from typing import NamedTuple


class Sides(NamedTuple):
    """The names of the two sides.

    Attributes:
        reference: what the reference is called inside a sentence: "PyTorch", or "the reference" where both
            sides are of one framework.
        candidate: likewise: "JAX", or "the candidate".
    """

    reference: str = "PyTorch"
    candidate: str = "JAX"

    @classmethod
    def of(cls, reference: str, candidate: str) -> "Sides":
        """The names of two sides, given their frameworks.

        >>> Sides.of("PyTorch", "JAX"), Sides.of("JAX", "JAX").candidate
        (Sides(reference='PyTorch', candidate='JAX'), 'the candidate')

        Args:
            reference: the reference's framework.
            candidate: the candidate's framework.
        """
        return cls(reference, candidate) if reference != candidate else cls("the reference", "the candidate")

    @property
    def titles(self) -> tuple[str, str]:
        """Both names as they stand alone, at the head of a column or a line: "PyTorch", "reference"."""
        return self.reference.removeprefix("the "), self.candidate.removeprefix("the ")

    def named(self, text: str) -> str:
        """A sentence with the names put in.

        Args:
            text: a sentence with `<reference>`, `<candidate>`, `<reference side>`, `<candidate model>`.

        >>> Sides().named("zero on <candidate side>: <reference> adds the bias")
        'zero on the JAX side: PyTorch adds the bias'
        """
        for role, name in (("reference", self.reference), ("candidate", self.candidate)):
            for noun in ("side", "model"):
                whole = name if name.startswith("the ") else f"the {name} {noun}"
                text = text.replace(f"<{role} {noun}>", whole)
            text = text.replace(f"<{role}>", name)
        return text


TORCH_AND_JAX = Sides()
"""What the sides are called where a report says nothing else."""
