"""Distances against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from geograph.errors import ShapeError
from geograph.interop.distances import circular_wasserstein, total_variation, wasserstein


def test_shift_is_the_wasserstein_distance() -> None:
    values = np.random.default_rng(0).normal(size=500)
    assert wasserstein(values, values) == 0.0
    assert wasserstein(values, values + 0.37) == pytest.approx(0.37, rel=1e-12)
    assert wasserstein(np.array([0.0]), np.array([-2.0, 2.0])) == pytest.approx(2.0)


def test_circular_distance_goes_the_short_way() -> None:
    first, second = np.array([179.0]), np.array([-179.0])
    assert circular_wasserstein(first, second) == pytest.approx(2.0)
    assert wasserstein(first, second) == pytest.approx(358.0)
    assert circular_wasserstein(np.array([0.0]), np.array([180.0])) == pytest.approx(180.0)


@pytest.mark.parametrize("shift", [0.0, 10.0, 90.0, 150.0, -45.0, 360.0])
def test_turned_narrow_distribution_is_as_far_as_the_turn(shift: float) -> None:
    values = np.random.default_rng(1).normal(scale=5.0, size=400)
    expected = abs((shift + 180.0) % 360.0 - 180.0)
    assert circular_wasserstein(values, values + shift) == pytest.approx(expected, abs=1e-9)


def test_circular_distance_does_not_know_where_the_turn_begins() -> None:
    generator = np.random.default_rng(2)
    first, second = generator.uniform(-180, 180, 300), generator.normal(0, 60, 200)
    expected = circular_wasserstein(first, second)
    for turn in (17.0, 180.0, -300.0):
        assert circular_wasserstein(first + turn, second + turn) == pytest.approx(expected, rel=1e-9)
    assert circular_wasserstein(second, first) == pytest.approx(expected, rel=1e-9)
    assert expected <= wasserstein(first, second)


def test_circular_distance_of_a_point_to_the_uniform_distribution() -> None:
    uniform = (np.arange(3600) + 0.5) / 10  # the mean way from a point to a uniform one is a quarter turn
    assert circular_wasserstein(np.array([123.0]), uniform) == pytest.approx(90.0, abs=0.1)


def test_circular_distance_by_brute_force() -> None:
    """Equal numbers of points: the best of the cyclic matchings of the sorted points."""
    generator = np.random.default_rng(3)
    first, second = np.sort(generator.uniform(0, 360, 12)), np.sort(generator.uniform(0, 360, 12))

    def way(shift: int) -> float:
        difference = np.abs(first - np.roll(second, shift))
        return float(np.minimum(difference, 360 - difference).mean())

    assert circular_wasserstein(first, second) == pytest.approx(min(way(shift) for shift in range(12)))


def test_total_variation() -> None:
    assert total_variation(np.array([1, 1, 2]), np.array([2, 1, 1])) == 0.0
    assert total_variation(np.array([1]), np.array([2])) == 1.0
    assert total_variation(np.array([1, 1, 1, 2]), np.array([1, 2])) == pytest.approx(0.25)


def test_nothing_has_no_distance() -> None:
    none = np.zeros(0)
    for function in (wasserstein, circular_wasserstein):
        with pytest.raises(ShapeError, match="must not be empty, got 0 and 1 values"):
            function(none, np.ones(1))
    with pytest.raises(ShapeError, match="must not be empty, got 1 and 0 values"):
        total_variation(np.ones(1, dtype=np.int64), np.zeros(0, dtype=np.int64))
