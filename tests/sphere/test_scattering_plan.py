"""Paths, band-limits and grids of the scattering transform."""

from __future__ import annotations

from typing import Any

import pytest

from geograph.errors import ConfigError
from geograph.sphere.scattering_plan import ScatteringPlan


def test_descending_paths_by_hand() -> None:
    plan = ScatteringPlan(16, 2)
    assert list(plan.scales) == [2, 3, 4]
    assert plan.list_paths() == ((), (2,), (3,), (4,), (3, 2), (4, 2), (4, 3))


def test_all_paths_by_hand() -> None:
    plan = ScatteringPlan(4, 1, paths="all")
    assert plan.list_paths() == ((), (1,), (2,), (1, 1), (1, 2), (2, 1), (2, 2))


def test_published_size() -> None:
    """At L = 1024 with J0 = 5 there are 1 + 6 + 15 paths."""
    assert len(ScatteringPlan(1024, 5).list_paths()) == 22


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_depth(depth: int) -> None:
    paths = ScatteringPlan(32, 0, depth=depth).list_paths()
    assert max(map(len, paths)) == depth
    assert len(set(paths)) == len(paths)


def test_bandlimits() -> None:
    plan = ScatteringPlan(1024, 5)
    assert plan.bandlimit_out == 32
    assert [plan.wavelet_bandlimit(scale) for scale in plan.scales] == [64, 128, 256, 512, 1024, 1024]
    # Only what later wavelets need is analysed: those after scale j live below 2^j; at the end, the output.
    assert [plan.modulus_bandlimit(scale, 1) for scale in plan.scales] == [32, 64, 128, 256, 512, 1024]
    assert [plan.modulus_bandlimit(scale, 2) for scale in plan.scales] == [32] * 6


@pytest.mark.parametrize(
    ("oversampling", "limit", "expected"),
    [
        (1.0, None, [64, 128, 256, 512, 1024, 1024]),
        (1.5, None, [96, 192, 384, 768, 1536, 1536]),
        (2.0, None, [128, 256, 512, 1024, 2048, 2048]),
        (2.0, 1024, [128, 256, 512, 1024, 1024, 1024]),
        (2.0, 1, [64, 128, 256, 512, 1024, 1024]),
    ],
)
def test_grids(oversampling: float, limit: int | None, expected: list[int]) -> None:
    plan = ScatteringPlan(1024, 5, oversampling=oversampling, max_grid_bandlimit=limit)
    assert [plan.grid(scale, 1).bandlimit for scale in plan.scales] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bandlimit": 1}, "`bandlimit` must be at least 2"),
        ({"smallest_scale": 5}, "`smallest_scale` must lie between 0 and 4"),
        ({"dilation": 1.0}, "`dilation` must be a number above 1"),
        ({"depth": -1}, "`depth` must not be negative, got -1"),
        ({"oversampling": 0.5}, r"`oversampling` must be at least 1, got 0\.5"),
        ({"oversampling": float("inf")}, "`oversampling` must be at least 1, got inf"),
        ({"max_grid_bandlimit": 0}, "`max_grid_bandlimit` must be positive, got 0"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScatteringPlan(**{"bandlimit": 16, "smallest_scale": 2, **options})
