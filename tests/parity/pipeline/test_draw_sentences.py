"""What is said of random draws: counts, differences, keys used twice, and what cannot be shared."""

from collections.abc import Sequence

import pytest

from parity.numerics.draws import Distribution, Draw
from parity.pipeline.draw_sentences import faults_of, remarks_on, told
from parity.pipeline.paired_draws import paired
from parity.report.divergences import Cause, Divergence, Place
from parity.report.kinds import CauseKind, Kind, Stage

MASK, NORMAL = Distribution.BERNOULLI, Distribution.NORMAL
OTHER = Draw(Distribution.OTHER, (3,), name="randperm", place="net.py:4")


def mask(p: float = 0.9, shape: tuple[int, ...] = (2, 8), place: str = "") -> Draw:
    return Draw(MASK, shape, (p,), place)


def texts(one: Sequence[Draw], other: Sequence[Draw]) -> list[str]:
    return [fault.text for fault in faults_of(paired(one, other))]


def test_equal_draws_are_counted_alone() -> None:
    one = [mask(), mask(), Draw(NORMAL, (3,))]
    assert texts(one, one) == []
    assert remarks_on(paired(one, one)) == ("3 random draws were shared: 2 Bernoulli masks, 1 normal",)
    assert remarks_on(paired([], [])) == ()


def test_rates_rounded_to_float32_are_equal() -> None:
    assert texts([mask(0.9)], [mask(0.8999999761581421)]) == []


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (
            [mask(0.9, place="net.py:3")],
            [mask(0.5, place="port.py:7")],
            "<reference> draws a Bernoulli mask of probability 0.9 and shape (2, 8) (net.py:3), <candidate> "
            "one of probability 0.5 (port.py:7)",
        ),
        (
            [mask()],
            [Draw(NORMAL, (2, 8))],
            "<reference> draws a Bernoulli mask of probability 0.9 and shape (2, 8), <candidate> normal "
            "numbers of shape (2, 8)",
        ),
        (
            [mask(shape=(2, 8, 1, 1))],
            [mask(shape=(2, 3, 3, 8))],
            "<reference> draws a Bernoulli mask of probability 0.9 and shape (2, 8, 1, 1), <candidate> a "
            "Bernoulli mask of probability 0.9 and shape (2, 3, 3, 8)",
        ),
        (
            [mask(), mask()],
            [mask()],
            "<reference> draws a Bernoulli mask of probability 0.9 and shape (2, 8), for which <candidate> "
            "draws nothing: 2 draws against 1",
        ),
        (
            [],
            [Draw(NORMAL, (3,))],
            "<candidate> draws normal numbers of shape (3,), for which <reference> draws nothing at all; if "
            "this is dropout, switch it off in <candidate> (`model.eval()`, `deterministic=True`), or on in "
            "<reference> (`model.train()`, `train=True` with a key)",
        ),
        (
            [Draw(Distribution.INTEGERS, (3,), (0, 10))],
            [Draw(Distribution.INTEGERS, (3,), (1, 11))],
            "<reference> draws random integers from 0 to 9, of shape (3,), <candidate> ones from 1 to 10",
        ),
        (
            [mask(place="a.py:1"), mask(place="a.py:2")],
            [mask(place="b.py:1"), mask(place="b.py:2")._replace(same_as=0)],
            "<candidate> uses the same key for draws 1 and 2 (b.py:1 and b.py:2): both are the same numbers; "
            "split the key, and use each part once",
        ),
    ],
)
def test_differences(one: list[Draw], other: list[Draw], said: str) -> None:
    assert texts(one, other) == [said]


def test_what_one_may_be_made_of_the_other_is_no_difference() -> None:
    uniform = Draw(Distribution.UNIFORM, (2, 8), (0.0, 1.0))
    assert texts([uniform], [mask()]) == []
    assert texts([Draw(Distribution.EXPONENTIAL, (4,))], [Draw(Distribution.GUMBEL, (4,))]) == []


def test_a_mask_of_what_is_dropped_is_told_only_where_it_does_not_fit() -> None:
    pairs = paired([mask(0.9)], [mask(0.1)])
    assert len(faults_of(pairs)) == 1
    assert faults_of(pairs, mirrored=True) == ()


def test_what_cannot_be_shared() -> None:
    assert remarks_on(paired([OTHER], [])) == (
        "<reference> draws random numbers that cannot be shared (randperm (net.py:4)): each side has its "
        "own; give them as an input",
    )


def divergence(file: str, module: str = "") -> Divergence:
    cause = Cause(CauseKind.STALE_WEIGHTS, "a guess", 0.0)
    place = Place("mul", module, file, 3 if file else 0)
    return Divergence(Stage.FORWARD, (place,), (), cause=cause, formulas=("a", "b"))


@pytest.mark.parametrize(
    ("place", "where", "is_there"),
    [
        ("net.py:3", divergence("net.py"), True),
        ("layer `drop`", divergence("", "drop"), True),
        ("net.py:4", divergence("net.py"), False),
        ("layer `drop`", divergence("", "norm"), False),
    ],
)
def test_a_divergence_at_a_draw_says_so_in_the_place_of_a_cause(
    place: str, where: Divergence, is_there: bool
) -> None:
    (found,) = told([where], faults_of(paired([mask(0.9, place=place)], [mask(0.5)])))
    if not is_there:
        assert found == where
        return
    assert (found.kind, found.cause, found.formulas) == (Kind.DRAWS, None, None)
    assert "probability 0.5" in found.detail


def test_without_faults_divergences_stay() -> None:
    assert told([divergence("net.py")], ()) == (divergence("net.py"),)
