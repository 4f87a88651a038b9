"""What is measured of a draw, against NumPy and by hand."""

import numpy as np
import pytest

from parity.numerics.draw_samples import Sample
from parity.numerics.draw_statistics import Statistic, gauge_for


def measured(array: np.ndarray) -> dict[Statistic, list[float]]:
    gauge = gauge_for(array.shape)
    found: dict[Statistic, list[float]] = {}
    for measure, value in zip(gauge.measures, gauge.measure(array), strict=True):
        found.setdefault(measure.statistic, []).append(float(value))
    return found


@pytest.mark.parametrize("shape", [(), (1,), (2,), (5, 1), (1, 5), (3, 4), (64, 3, 3, 3), (101,), (7, 96)])
def test_every_shape_has_a_number_for_every_measure(shape: tuple[int, ...]) -> None:
    gauge = gauge_for(shape)
    for array in (np.random.default_rng(0).standard_normal(shape), np.zeros(shape), np.full(shape, np.inf)):
        found = gauge.measure(array)
        assert found.shape == (len(gauge.measures),)
        assert np.isfinite(found).all()


def test_moments() -> None:
    x = np.array([[1.0, 2.0], [3.0, 10.0]])
    found = measured(x)
    assert found[Statistic.MEAN] == [4.0]
    assert found[Statistic.STD] == [pytest.approx(x.std())]
    assert (found[Statistic.LEAST], found[Statistic.GREATEST]) == ([1.0], [10.0])
    assert found[Statistic.KURTOSIS] == [pytest.approx(np.mean((x - 4) ** 4) / x.var() ** 2)]
    assert found[Statistic.PART_MEAN] == [1.5, 6.5, 2.0, 6.0]  # rows, then columns


def test_an_orthogonal_matrix_has_right_angles_and_equal_norms() -> None:
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((24, 12)))[0]
    found, other = measured(q), measured(rng.standard_normal((24, 12)))
    assert found[Statistic.COLUMN_ANGLES][0] < 1e-20 < 0.02 < other[Statistic.COLUMN_ANGLES][0]
    assert found[Statistic.COLUMN_NORMS][0] < 1e-10 < 0.05 < other[Statistic.COLUMN_NORMS][0]


def test_equal_rows_are_parallel() -> None:
    assert measured(np.tile(np.arange(8.0), (4, 1)))[Statistic.ROW_ANGLES] == [pytest.approx(1)]


@pytest.mark.parametrize(("size", "number"), [(7, 7), (32, 32), (64, 32), (72, 24), (96, 32), (101, 32)])
def test_gates_and_heads_are_whole_parts(size: int, number: int) -> None:
    parts = [m for m in gauge_for((size,)).measures if m.statistic is Statistic.PART_SIZE]
    assert len(parts) == number
    assert (parts[0].start, parts[-1].stop) == (0, size)
    assert all(size % 4 or any(m.start == size * gate // 4 for m in parts) for gate in range(4))


def test_a_sample_knows_what_never_varies() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((3, 2)) for _ in range(9)]
    for array in arrays:
        array[1] = 0
    sample = Sample(arrays[0], gauge_for((3, 2)), 1e-6)
    for array in arrays:
        sample.add(array, np.zeros((3, 2)), np.ravel(array))
    assert sample.fixed.tolist() == [[False] * 2, [True] * 2, [False] * 2]
    assert sample.other.tolist() == [[0] * 2, [9] * 2, [0] * 2]
    law = sample.law()
    every = np.stack(arrays)
    assert law.std == pytest.approx(every.std())
    assert law.kurtosis == pytest.approx(np.mean((every - every.mean()) ** 4) / every.var() ** 2)
    assert (law.least, law.greatest, law.fixed) == (every.min(), every.max(), False)
