"""Pictures of records beside their projections."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from geograph.errors import DataError, ShapeError
from geograph.featurize.sphere_jet import jet_sphere
from geograph.featurize.sphere_mesh import mesh_sphere
from geograph.featurize.sphere_molecule import molecule_sphere
from geograph.records import Jet, Mesh, Molecule, SphereMap
from pipelines.figures import png_base64
from pipelines.figures_projected import projected_figure
from pipelines.figures_sphere import mollweide_position


def test_molecule_marks_where_the_first_atom_sees_the_others():
    pos = np.array([[0.0, 0, 0.119], [0, 0.763, -0.477], [0, -0.763, -0.477]])
    water = Molecule(np.array([8, 1, 1]), pos, id="water")
    harmonic = molecule_sphere(water, bandlimit=8, radius_angstrom=0.4, targets=())["harmonic"][0]
    figure = projected_figure(water, harmonic, title="water")
    assert len(figure.axes[0].patches) == 4
    offset = pos[1:] - pos[0]
    expected = mollweide_position(offset / np.linalg.norm(offset, axis=1, keepdims=True))
    marks = np.asarray(figure.axes[2].collections[0].get_offsets())
    np.testing.assert_allclose(marks, expected, atol=1e-12)
    # The potential is largest where the marks are.
    picture = np.ma.filled(figure.axes[2].images[0].get_array(), np.nan)
    rows, columns = picture.shape
    x, y = marks[0]
    at_mark = picture[int((1 - y) / 2 * rows), int((x + 2) / 4 * columns)]
    assert at_mark > 0.98 * np.nanmax(picture)
    lone = Molecule(np.array([92]), np.zeros((1, 3)), id="uranium")
    assert png_base64(projected_figure(lone, harmonic * 0))


def test_jet_marks_constituents_by_energy():
    momentum = np.random.default_rng(0).standard_normal((9, 3)) + [30.0, 0, 20.0]
    p4 = np.concatenate([np.linalg.norm(momentum, axis=1, keepdims=True), momentum], axis=1)
    jet = Jet(np.concatenate([p4, np.zeros((2, 4))]), id="jet")
    figure = projected_figure(jet, jet_sphere(jet, bandlimit=8)["harmonic"][0])
    assert len(figure.axes[0].collections[0].get_offsets()) == 9
    assert len(figure.axes[2].collections[0].get_offsets()) == 9
    assert png_base64(figure)
    with pytest.raises(DataError, match="at least 2 are needed for a rest frame"):
        projected_figure(Jet(p4[:1]), np.zeros((1, 4)))


def test_mesh_is_seen_from_the_side_of_the_globe():
    pytest.importorskip("embreex", reason="extra `generate` not installed")
    ball = trimesh.creation.icosphere(3)
    mesh = Mesh(np.asarray(ball.vertices) * [1, 1, 0.4], np.asarray(ball.faces).astype(np.int64), id="lens")
    figure = projected_figure(
        mesh, mesh_sphere(mesh, bandlimit=8, ray_bandlimit=16)["harmonic"][0], channel=1
    )
    picture = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
    shown = ~np.isnan(picture)
    # Seen 30 degrees from above: wide 2 * 0.99, high 2 * 0.99 * sqrt(0.5^2 + (0.4 * cos 30)^2).
    width, height = shown.any(axis=0).mean(), shown.any(axis=1).mean()
    assert width == pytest.approx(0.99, abs=0.02)
    assert height == pytest.approx(0.99 * np.sqrt(0.25 + 0.16 * 0.75), abs=0.02)


def test_map_and_errors():
    record = SphereMap(np.ones((2, 9)), id="map")
    assert png_base64(projected_figure(record, record.harmonic, channel=1))
    with pytest.raises(ShapeError, match=r"with a channel 2, got \(2, 9\)"):
        projected_figure(record, record.harmonic, channel=2)
