"""Pictures of molecules and trajectories."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import PatchCollection

from geograph.errors import ShapeError
from geograph.records import Molecule
from pipelines.figures import png_base64
from pipelines.figures3d import molecule_grid, trajectory_plot


def ethylene() -> Molecule:
    pos = [
        [0.67, 0, 0],
        [-0.67, 0, 0],
        [1.23, 0.93, 0],
        [1.23, -0.93, 0],
        [-1.23, 0.93, 0],
        [-1.23, -0.93, 0],
    ]
    return Molecule(z=np.array([6, 6, 1, 1, 1, 1]), pos=np.array(pos), id="ethylene")


def test_grid_has_a_ball_for_each_atom_and_two_halves_for_each_strand() -> None:
    figure = molecule_grid([ethylene()] * 5, columns=3)
    assert len(figure.axes) == 6
    collection = next(c for c in figure.axes[0].collections if isinstance(c, PatchCollection))
    # Six atoms with a highlight each; four C-H bonds and one double bond, two halves for each strand.
    assert len(collection.get_paths()) == 2 * 6 + 2 * (4 + 2)
    assert figure.axes[0].get_title() == "ethylene"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["H", "C"]


def test_grid_draws_single_atoms_and_strange_elements() -> None:
    lone = Molecule(z=np.array([92]), pos=np.zeros((1, 3)), id="uranium")
    on_top = Molecule(z=np.array([1, 1]), pos=np.zeros((2, 3)), id="coincident")
    figure = molecule_grid([lone, on_top], titles=["a", "b"])
    assert "Z = 92" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert png_base64(figure)


def test_grid_refuses_nothing_and_wrong_titles() -> None:
    with pytest.raises(ShapeError, match="`molecules` must not be empty"):
        molecule_grid([])
    with pytest.raises(ShapeError, match="one title each, got 1, 2"):
        molecule_grid([ethylene()], titles=["a", "b"])


def test_grid_shows_what_failed() -> None:
    whole = ethylene()
    torn = Molecule(z=whole.z[:-1], pos=whole.pos[:-1], id="torn")
    colours = ("#00805d", "#e69f00")
    outcomes = [("all passed", colours[0]), ("not stable", colours[1])]
    figure = molecule_grid([whole, torn], outcomes=outcomes)
    for axis, (words, colour) in zip(figure.axes, outcomes, strict=False):
        assert [(text.get_text(), text.get_color()) for text in axis.texts] == [(words, colour)]
    shapes = [
        len(next(c for c in axis.collections if isinstance(c, PatchCollection)).get_paths())
        for axis in figure.axes[:2]
    ]
    # One atom and its bond (two halves) less, but a halo around the carbon that misses a hydrogen.
    assert shapes[1] == shapes[0] - 2 - 2 + 1
    with pytest.raises(ShapeError, match="`outcomes` must hold one for each of 1 molecules, got 2"):
        molecule_grid([whole], outcomes=outcomes)


def test_trajectory_plot() -> None:
    generator = np.random.default_rng(0)
    start, target = generator.normal(size=(2, 5, 3))
    figure = trajectory_plot(start, target, target + 0.1, charge=np.array([1.0, -1.0, 1.0, 1.0, -1.0]))
    assert [axis.get_xlabel() + axis.get_ylabel() for axis in figure.axes] == ["xy", "xz"]
    assert sum(text.get_text() == "+" for text in figure.axes[0].texts) == 3


def test_trajectory_plot_needs_one_shape() -> None:
    with pytest.raises(ShapeError, match=r"must have one shape \(n, 3\), got \(5, 3\), \(5, 3\), \(4, 3\)"):
        trajectory_plot(np.zeros((5, 3)), np.zeros((5, 3)), np.zeros((4, 3)))
