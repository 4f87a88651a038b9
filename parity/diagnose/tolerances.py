"""How near two numbers must be to count as the same in a diagnosis, each with its reason.

A target brings its own limit, `Target.allowed`, which is what rounding and noise explain there. These are for
what has no such limit: numbers that are worked out from both sides' values, in float64.
"""

SAME_NUMBER = 1e-9
"""Relative difference of two numbers that are one: a few operations on float64 lose far less, and numbers
that a programmer chooses differ by far more."""

SAME_DECIMALS = 9
"""Decimals in which a count and one worked out from its inverse are one number: `SAME_NUMBER` of numbers that
are looked up in a set."""

ROUND_DECIMALS = 3
"""Decimals of a bound that an author wrote: the result of a computation has more."""

SAME_ENTRIES = 1e-12
"""Difference of copied entries relative to the largest one: copies are exact but for a cast and a sum."""

SAME_SLOPE = 1e-6
"""Relative difference of the two slopes of a function that has one slope: looser than `SAME_NUMBER`, so that
rounding near the kink makes no activation of a factor."""

NEAR_KINK = 1e-9
"""Arguments nearer to zero tell no slope: the quotient of two such numbers is mostly rounding."""

LOOSEST = 1e-7
"""Relative difference up to which a value can count as equal, however much noise moves it; and of a factor,
which is a quotient and inherits the rounding of small entries."""

HUGE_ENTRIES = 1e-9
"""Relative difference of huge entries, such as masked scores, which stand far above the scale of the rest."""

NO_FACTOR = 1e-12
"""A factor below this is a value of zeros, and explains nothing."""

TWO_VALUES = 4.0
"""Multiple of the limit of a target for a difference of two values: either may be off by the limit, and the
greatest and the least of the differences are compared."""

WORKED_OUT = 10.0
"""Multiple of the limit for a term that is worked out from both values by a few operations."""

COPIES = 2.0
"""Multiple of the limit of a target within which an entry and its copy lie: either may be off by the limit.
Entries of one value that lie less than twice as far apart cannot be told from each other's copies."""

VARIES = 100.0
"""Multiple of the limit above which a value varies, so that a constant difference is no coincidence."""

LEFT_OF_A_GAP = 1e-3
"""Share of the difference of two outputs that may be left where a change is carried through to them: rounding
grows on the way, and a change that mends something else leaves most of it."""
