"""Bootstrap confidence intervals of ratios and medians over molecules."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

#: Fraction of the resamples inside an interval.
COVERAGE = 0.95
_RESAMPLES_PER_BLOCK = 4_000_000


def ratio_intervals(
    parts: Mapping[str, tuple[np.ndarray, np.ndarray]], *, num_resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Percentile intervals (95 %) of sum(numerator) / sum(denominator) when the molecules are resampled.

    The same resamples serve all ratios. Molecules that are alike in all numerators and denominators are
    drawn together by one multinomial count, which has the distribution of drawing them one by one.

    Parameters
    ----------
    parts
        Name of the ratio -> numerator and denominator of each molecule. A plain fraction of molecules has
        ones as its denominators. Ratios without a positive denominator are left out.
    num_resamples
        Number of resamples; 0 gives no intervals.
    seed
        Seed of the resamples.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    chosen = {name: pair for name, pair in parts.items() if len(pair[1]) and np.sum(pair[1]) > 0}
    if not chosen or num_resamples < 1:
        return {}
    columns = np.stack(
        [np.asarray(side, dtype=np.float64) for pair in chosen.values() for side in pair], axis=1
    )
    patterns, counts = np.unique(columns, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    block = max(1, _RESAMPLES_PER_BLOCK // len(patterns))
    sums = [
        generator.multinomial(len(columns), counts / len(columns), size=min(block, num_resamples - done))
        @ patterns
        for done in range(0, num_resamples, block)
    ]
    totals = np.concatenate(sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = totals[:, 0::2] / totals[:, 1::2]
    return {name: _percentiles(ratios[:, column]) for column, name in enumerate(chosen)}


def statistic_intervals(
    values: Float[np.ndarray, " n"], *, num_resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Percentile intervals (95 %) of the mean and the median of a few values, in their unit."""
    if not len(values) or num_resamples < 1:
        return {}
    generator = np.random.default_rng(seed)
    drawn = values[generator.integers(len(values), size=(num_resamples, len(values)))]
    return {"mean": _percentiles(drawn.mean(axis=1)), "median": _percentiles(np.median(drawn, axis=1))}


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]  # a resample without a single valid molecule has no ratio
    low, high = np.quantile(finite, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)
