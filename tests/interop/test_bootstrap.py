"""Bootstrap intervals against the binomial and normal distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from geograph.interop.bootstrap import ratio_intervals, statistic_intervals


def test_fraction_has_the_percentiles_of_the_binomial() -> None:
    """Resampling a fraction p of n molecules draws from Binomial(n, p) / n exactly."""
    passed = np.repeat([1.0, 0.0], [140, 60])
    low, high = ratio_intervals({"f": (passed, np.ones(200))}, num_resamples=40_000, seed=0)["f"]
    assert low == pytest.approx(binom.ppf(0.025, 200, 0.7) / 200, abs=0.0051)
    assert high == pytest.approx(binom.ppf(0.975, 200, 0.7) / 200, abs=0.0051)


def test_ratio_of_sums_agrees_with_drawing_one_by_one() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.integers(3, 30, size=100).astype(float)
    stable = np.minimum(sizes, generator.integers(0, 30, size=100))
    drawn = generator.integers(100, size=(20_000, 100))
    expected = np.quantile(stable[drawn].sum(1) / sizes[drawn].sum(1), [0.025, 0.975])
    found = ratio_intervals({"a": (stable, sizes)}, num_resamples=20_000, seed=1)["a"]
    np.testing.assert_allclose(found, expected, atol=0.004)


def test_same_seed_same_interval_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"f": (np.repeat([1.0, 0.0], [5, 7]), np.ones(12))}
    first = ratio_intervals(parts, num_resamples=100, seed=3)
    assert ratio_intervals(parts, num_resamples=100, seed=3) == first
    monkeypatch.setattr("geograph.interop.bootstrap._RESAMPLES_PER_BLOCK", 14)
    assert ratio_intervals(parts, num_resamples=100, seed=3) == first


def test_what_has_no_interval() -> None:
    ones, none = np.ones(3), np.zeros(3)
    assert ratio_intervals({"f": (none, none)}, num_resamples=10, seed=0) == {}
    assert ratio_intervals({"f": (ones, ones)}, num_resamples=0, seed=0) == {}
    # A resample in which nothing is valid has no ratio; the others give the interval.
    rare = np.array([1.0, 0.0, 0.0])
    assert ratio_intervals({"f": (rare, rare)}, num_resamples=50, seed=0) == {"f": (1.0, 1.0)}
    assert statistic_intervals(np.zeros(0), num_resamples=10, seed=0) == {}


def test_mean_and_median() -> None:
    values = np.random.default_rng(0).normal(10.0, 2.0, size=400)
    found = statistic_intervals(values, num_resamples=4000, seed=0)
    error = 1.96 * values.std() / np.sqrt(400)
    np.testing.assert_allclose(found["mean"], [values.mean() - error, values.mean() + error], atol=0.03)
    assert found["median"][0] < np.median(values) < found["median"][1]
