"""Where two programs part: their traces compared, walked back from what failed, the places named."""

from parity.localise.agreement import agreement
from parity.localise.comparison import Comparison, Region, failing
from parity.localise.formulas import formulas
from parity.localise.places import candidate_places, put_first, reference_places
from parity.localise.placing import in_place, mended
from parity.localise.walk import find_regions, first_difference, wider

__all__ = [
    "Comparison",
    "Region",
    "agreement",
    "candidate_places",
    "failing",
    "find_regions",
    "first_difference",
    "formulas",
    "in_place",
    "mended",
    "put_first",
    "reference_places",
    "wider",
]
