"""Axes of the charts: every value has its place, in order, whatever the values are."""

import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.report.axes import area, dots, line, linear_axis, log_axis, point_ticks, positions
from parity.report.charts import curve_chart, growth_charts
from parity.report.results import Curve, Growth, Place, Report
from parity.report.sides import TORCH_AND_JAX
from tests.parity.report.sample_reports import FAULTY, LAYERS, OPERATIONS, failed, quantity

ANY = st.lists(st.floats(), min_size=1, max_size=30)


@given(ANY)
def test_a_linear_axis_keeps_the_order_and_holds_every_value(values: list[float]) -> None:
    axis = linear_axis(values)
    usual = sorted(v for v in values if abs(v) < 1e300)
    places = [axis.place(v) for v in usual]
    assert all(p is not None and -1e-9 <= p <= 100 + 1e-9 for p in places)
    assert places == sorted(places, key=lambda p: -(p or 0.0))
    assert 1 <= len(axis.ticks) <= 6
    for tick in axis.ticks:
        assert -1e-9 <= tick.at <= 100 + 1e-9


@given(ANY)
def test_a_logarithmic_axis_keeps_the_order_and_holds_every_value(values: list[float]) -> None:
    sizes = sorted(abs(v) for v in values if not math.isnan(v))
    axis = log_axis([abs(v) for v in values])
    places = [axis.place(v) for v in sizes]
    assert all(p is not None and 0 <= p <= 100 for p in places)
    assert all(a >= b for a, b in itertools.pairwise(places))  # type: ignore[operator]
    assert axis.place(math.nan) is None
    assert len(axis.ticks) <= 7


def test_decades_are_equally_far_apart_and_labelled_where_they_are() -> None:
    axis = log_axis([1e-16, 1e-4])
    places = [axis.place(10.0**e) for e in range(-16, -3)]
    steps = [a - b for a, b in itertools.pairwise(places)]  # type: ignore[operator]
    assert steps == pytest.approx([steps[0]] * len(steps))
    for tick in axis.ticks:
        assert tick.at == pytest.approx(axis.place(float(tick.text)))


def test_zero_and_infinity_have_a_line_of_their_own() -> None:
    axis = log_axis([0.0, 1e-3, math.inf])
    top, bottom = axis.place(math.inf), axis.place(0.0)
    assert top is not None
    assert bottom is not None
    assert top < (axis.place(1e-1) or 0) - 10
    assert bottom > (axis.place(1e-3) or 0) + 10
    assert {tick.text for tick in axis.ticks} >= {"0", "inf"}


@pytest.mark.parametrize("points", [1, 2, 7, 40, 100, 12345])
def test_points_are_counted_in_round_steps(points: int) -> None:
    ticks = point_ticks(points)
    assert 1 <= len(ticks) <= 9
    assert [tick.at for tick in ticks] == [positions(points)[int(tick.text)] for tick in ticks]


def test_lines_break_where_there_is_no_value() -> None:
    assert line([0.0, 1.0, 2.0, 3.0], [5.0, None, 6.0, 7.0]) == "M0.00 5.00h0M2.00 6.00L3.00 7.00"
    assert dots([0.0, 1.0], [None, 2.0]) == "M1.00 2.00h0"
    assert area([0.0, 1.0], [9.0, 8.0], [1.0, 2.0]) == "M0.00 1.00L1.00 2.00L1.00 8.00L0.00 9.00Z"
    assert area([0.0], [9.0], [1.0]) == ""


def test_growth_marks_what_differs_and_names_the_modules() -> None:
    forward, backward = growth_charts(failed())
    assert [band.text for band in forward.bands] == [f"layer.{i}" for i in range(LAYERS)]
    assert [band.text for band in backward.bands] == [f"layer.{i}" for i in reversed(range(LAYERS))]
    total = LAYERS * len(OPERATIONS)
    assert forward.failure == pytest.approx(100 * (FAULTY * len(OPERATIONS) + 0.5) / total)
    bad = next(shape for shape in forward.panels[0].shapes if "bad" in shape.style)
    assert bad.path.count("M") == total - FAULTY * len(OPERATIONS)
    assert sum(band.width for band in forward.bands) == pytest.approx(100)


def test_many_modules_are_marked_at_a_coarser_level() -> None:
    growth = tuple(
        Growth("forward", Place("mm", f"{'ab'[i // 50]}.layer.{i}.dense"), Place("dot"), 0.0, 1e-16, True)
        for i in range(100)
    )
    (chart,) = growth_charts(Report("r", (), growth=growth))
    assert [(band.text, band.width) for band in chart.bands] == [("layer", 50.0), ("layer", 50.0)]


def test_a_curve_shows_the_difference_that_was_judged() -> None:
    # Of an array-valued metric the two values are largest magnitudes: equal, though entries differ.
    curve = Curve((2.0, 2.0), (2.0, 2.0), (1e-15, 1e-15), (0.0, 4e3), first_failure=1)
    chart = curve_chart(quantity("margin", 4e3, curve=curve), TORCH_AND_JAX)
    assert chart is not None
    assert [row[3] for row in chart.rows] == ["0", "2.0e-12"]
    assert chart.failure == 75.0


def test_a_curve_of_infinities_is_drawn_as_far_as_it_goes() -> None:
    curve = Curve((1.0, math.inf, 1.0), (1.0, math.nan, 1.0), (0.0, math.nan, 0.1), (0.0, math.inf, 0.0))
    chart = curve_chart(quantity("loss", math.inf, curve=curve), TORCH_AND_JAX)
    assert chart is not None
    assert not any(re.search("nan|inf", shape.path) for panel in chart.panels for shape in panel.shapes)
    assert curve_chart(quantity("w", 1.0), TORCH_AND_JAX) is None
