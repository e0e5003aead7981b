"""Pictures of functions on the sphere."""

from __future__ import annotations

import numpy as np
import pytest

from geograph.errors import ShapeError
from geograph.sphere.pointwise import real_harmonics
from pipelines.figures import png_base64
from pipelines.figures_sphere import (
    mollweide,
    mollweide_directions,
    mollweide_position,
    orthographic,
    orthographic_directions,
    projection_figure,
    sphere_values,
)


def _harmonic(channels: int = 2, bandlimit: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((channels, bandlimit**2)).astype(np.float32)


def test_mollweide_pixels_have_equal_areas_and_cover_the_sphere():
    directions = mollweide_directions(200)
    shown = ~np.isnan(directions[..., 0])
    assert directions.shape == (200, 400, 3)
    assert shown.mean() == pytest.approx(np.pi / 4, abs=2e-3)
    u = directions[shown]
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), 1.0, atol=1e-14)
    # Equal areas: means over pixels are means over the sphere.
    np.testing.assert_allclose(real_harmonics(u, 5).mean(axis=0)[1:], 0.0, atol=3e-3)
    assert u[0, 2] > 0.99  # north is up
    assert directions[100, 200, 0] > 0.999  # longitude 0 in the middle
    assert directions[100, 300, 1] > 0.999  # east on the right


def test_positions_are_where_the_pixels_show_it():
    directions = mollweide_directions(120)
    rows, columns = np.nonzero(~np.isnan(directions[..., 0]))
    inside = slice(60, None, 37)
    place = mollweide_position(directions[rows, columns][inside])
    np.testing.assert_allclose(place[:, 0], (2 * columns[inside] + 1) / 120 - 2, atol=0.03)
    np.testing.assert_allclose(place[:, 1], 1 - (2 * rows[inside] + 1) / 120, atol=0.01)


def test_globe_shows_the_side_of_the_viewer():
    directions = orthographic_directions(101, 90.0, 0.0)
    np.testing.assert_allclose(directions[50, 50], [1.0, 0.0, 0.0], atol=1e-12)
    assert directions[2, 50, 2] > 0.95
    assert directions[50, 98, 1] > 0.95
    assert np.isnan(directions[0, 0]).all()
    np.testing.assert_allclose(orthographic_directions(101, 0.0, 0.0)[50, 50], [0.0, 0.0, 1.0], atol=1e-12)


def test_values_are_those_of_the_series_also_near_the_poles():
    harmonic, directions = _harmonic(), orthographic_directions(61, 0.0, 40.0)
    shown = ~np.isnan(directions[..., 0])
    found = sphere_values(harmonic, directions)
    expected = harmonic @ real_harmonics(directions[shown], 8).T
    # Linear interpolation between pixels h apart: |f''| h^2 / 8, and |f''| <= l (l + 1) max |f|.
    bound = 2 * 56 * np.abs(expected).max() * (np.pi / 256) ** 2 / 8
    assert np.abs(found[:, shown] - expected).max() < bound
    assert np.isnan(found[:, ~shown]).all()


def test_fine_structure_is_left_out_of_small_pictures():
    fine = np.zeros((1, 300**2))
    fine[0, 299**2 + 5] = 1.0
    directions = orthographic_directions(40, 90.0, 0.0)
    assert np.nanmax(np.abs(sphere_values(fine, directions))) == 0.0


def test_each_channel_has_a_map_and_a_scale():
    figure = mollweide(_harmonic(3), "three", channels=("energy", 6, "count"))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:3] == ["energy", "Z = 6", "count"]
    assert len(figure.axes) == 6
    assert figure.get_suptitle() == "three"
    assert png_base64(figure)
    assert png_base64(orthographic(_harmonic(1)[:, :1] * 0, theta_degrees=90.0))


def test_a_row_for_each_map_and_one_scale_for_each_channel():
    maps = [_harmonic(4, seed=seed) for seed in range(3)]
    figure = projection_figure(maps, titles=["a", "b", "c"], channels=(1, 6))
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles == ["Z = 1 (1)", "Z = 6 (1)", "Z = 1 (2)", "Z = 6 (2)"]
    assert len(figure.axes) == 16
    limits = {axes.images[0].get_clim() for axes in figure.axes[:12:4]}
    assert len(limits) == 1
    assert png_base64(figure)
    assert len(projection_figure([_harmonic(9)]).axes) == 12  # six channels are shown


def test_the_map_turns_right_side_up():
    """A spot at a direction is brightest there."""
    spot = np.array([[0.36, 0.48, 0.8]])
    harmonic = real_harmonics(spot, 12)
    directions = mollweide_directions(240)
    picture = sphere_values(harmonic, directions)[0]
    row, column = np.unravel_index(np.nanargmax(picture), picture.shape)
    np.testing.assert_allclose(directions[row, column], spot[0], atol=0.02)
    shown = mollweide(harmonic).axes[0].images[0].get_array()
    np.testing.assert_array_equal(np.ma.filled(shown, np.nan), picture)


def test_errors():
    with pytest.raises(
        ShapeError, match=r"`harmonic` must have shape \(channels, L\^2\) with a channel 0, got \(4,\)"
    ):
        mollweide(np.zeros(4))
    with pytest.raises(ShapeError, match="must end in an axis of L\\^2 coefficients, got 5"):
        orthographic(np.zeros((1, 5)))
    with pytest.raises(ShapeError, match="`channels` must name 3 channels, got 2 names"):
        mollweide(_harmonic(3), channels=("a", "b"))
    with pytest.raises(ShapeError, match="`maps` must be of one shape, got none"):
        projection_figure([])
    with pytest.raises(ShapeError, match="`maps` must be of one shape"):
        projection_figure([_harmonic(1), _harmonic(2)])
    with pytest.raises(ShapeError, match="`titles` must hold one line for each of 1 maps, got 2"):
        projection_figure([_harmonic(1)], titles=["a", "b"])
