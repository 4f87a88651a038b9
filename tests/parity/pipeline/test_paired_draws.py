"""Which draw of one side is which of the other, and which permutation of its axes is tried first."""

import pytest

from parity.numerics.draws import Distribution, Draw, Share
from parity.pipeline.image_layouts import channels_first, channels_last
from parity.pipeline.paired_draws import hypotheses, paired

MASK, NORMAL, UNIFORM = Distribution.BERNOULLI, Distribution.NORMAL, Distribution.UNIFORM
EXPONENTIAL, GUMBEL, OTHER = Distribution.EXPONENTIAL, Distribution.GUMBEL, Distribution.OTHER


def mask(*shape: int, p: float = 0.9, same_as: int | None = None) -> Draw:
    return Draw(MASK, shape, (p,), same_as=same_as)


def test_draws_are_paired_by_order_where_the_sizes_allow_it() -> None:
    pairs = paired([mask(2, 8), Draw(NORMAL, (2, 8))], [Draw(NORMAL, (2, 8)), mask(2, 8)])
    assert pairs.by_order
    assert pairs.partner == (0, 1)


def test_else_by_shape_and_distribution_and_equal_ones_by_order() -> None:
    one = [mask(2, 4, 4), mask(2, 8), mask(2, 8), Draw(NORMAL, (2, 4, 4))]
    other = [Draw(NORMAL, (4, 4, 2)), mask(2, 8), mask(2, 4, 4), mask(2, 8)]
    pairs = paired(one, other)
    assert not pairs.by_order
    assert pairs.partner == (3, 1, 0, 2)


def test_draws_without_a_partner_are_left() -> None:
    pairs = paired([mask(2, 8), mask(2, 3)], [mask(2, 8), Draw(OTHER, (), name="permutation")])
    assert pairs.left == ([mask(2, 3)], [])
    assert pairs.partner == (0, None)
    (shares,) = hypotheses(pairs, (channels_last,), moved=False)
    assert shares == (Share(0), Share(3))


@pytest.mark.parametrize(
    ("one", "other", "way", "moved", "axes"),
    [
        ((2, 5, 7, 6), (2, 7, 6, 5), channels_last, True, [(0, 2, 3, 1)]),
        ((2, 7, 6, 5), (2, 5, 7, 6), channels_first, True, [(0, 3, 1, 2)]),
        ((2, 5, 1, 1), (2, 1, 1, 5), channels_last, True, [None]),
        ((2, 1, 1, 1), (2, 1, 1), channels_last, True, [None]),
        ((6, 3, 3), (2, 3, 3, 3), channels_last, False, [None]),
        ((2, 8), (8, 2), channels_last, False, [(1, 0)]),
    ],
)
def test_axes_where_the_shapes_tell(
    one: tuple[int, ...], other: tuple[int, ...], way: object, moved: bool, axes: list[object]
) -> None:
    pairs = paired([mask(*one)], [mask(*other)])
    found = [shares[0].axes for shares in hypotheses(pairs, (way,), moved=moved)]  # type: ignore[arg-type]
    assert found == axes


def test_axes_that_shapes_leave_open_are_tried() -> None:
    pairs = paired([mask(2, 4, 4, 4)], [mask(2, 4, 4, 4)])
    moved, plain = (
        [shares[0].axes for shares in hypotheses(pairs, (channels_last,), moved=moved)]
        for moved in (True, False)
    )
    assert moved == [(0, 2, 3, 1), None]
    assert plain == [None]


def test_masks_may_be_read_from_the_other_end() -> None:
    def mirrored(one: Draw, other: Draw) -> list[bool]:
        return [s[0].mirrored for s in hypotheses(paired([one], [other]), (), moved=False)]

    assert mirrored(mask(3), mask(3)) == [False]
    assert mirrored(mask(3, p=0.9), mask(3, p=0.1)) == [False, True]
    assert mirrored(Draw(UNIFORM, (3,)), mask(3)) == [False, True]
    assert mirrored(Draw(EXPONENTIAL, (3,)), Draw(GUMBEL, (3,))) == [True]


def test_ends_of_masks_and_of_noise_are_tried_apart() -> None:
    one, other = [Draw(UNIFORM, (3,)), Draw(NORMAL, (4,))], [mask(3), Draw(NORMAL, (4,))]
    found = [tuple(s.mirrored for s in shares) for shares in hypotheses(paired(one, other), (), moved=False)]
    assert sorted(found) == [(False, False), (False, True), (True, False), (True, True)]
    assert found[0] == (False, False)


def test_a_draw_reads_what_its_partner_repeats() -> None:
    pairs = paired([mask(3), mask(3, same_as=0)], [mask(3), mask(3)])
    assert next(hypotheses(pairs, (), moved=False)) == (Share(0), Share(0))
