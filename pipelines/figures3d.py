"""Pictures of things in space: grids of molecules, particle trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch, Polygon

from geograph.errors import ShapeError
from geograph.records import Molecule
from geograph.tasks.stability import stability
from pipelines.figures import COLOURS, new_figure

#: Colour and drawn radius in angstrom of common elements; the rest is drawn like the entry 0.
_ELEMENTS = {
    0: ("#FF1493", 0.42), 1: ("#F2F2F2", 0.25), 6: ("#606060", 0.38), 7: ("#3050F8", 0.37),
    8: ("#E8210D", 0.36), 9: ("#75C83C", 0.34), 14: ("#D0A878", 0.46), 15: ("#FF8000", 0.45),
    16: ("#E3C400", 0.44), 17: ("#1FB31F", 0.43), 35: ("#A62929", 0.46), 53: ("#940094", 0.50),
}  # fmt: skip
_SYMBOLS = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F", 14: "Si", 15: "P", 16: "S", 17: "Cl", 35: "Br", 53: "I"}
#: Half the width of a bond and the distance between the strands of a multiple bond, in angstrom.
_BOND_HALF_WIDTH, _STRAND_GAP = 0.07, 0.24
_FOG = 0.5
_HALO = "#FF7A45"


def molecule_grid(
    molecules: Sequence[Molecule],
    *,
    columns: int = 4,
    titles: Sequence[str] | None = None,
    outcomes: Sequence[tuple[str, str]] | None = None,
) -> Figure:
    """Draw molecules as balls and sticks, all to one scale, each seen along its thinnest direction.

    Bonds are those of the published bond-length rule; an atom whose valence is wrong by that rule has a halo.
    Parts farther from the viewer are paler.

    Parameters
    ----------
    molecules
        What to draw, row by row.
    columns
        Number of molecules in a row.
    titles
        One line for each molecule; their ids by default.
    outcomes
        For each molecule what it failed first, in words, and the colour that stands for it.

    Raises
    ------
    ShapeError
        If there is nothing to draw, or another number of titles or outcomes than molecules.
    """
    names = [molecule.id for molecule in molecules] if titles is None else list(titles)
    if not molecules or len(names) != len(molecules):
        raise ShapeError(
            f"`molecules` must not be empty and have one title each, got {len(molecules)}, {len(names)}"
        )
    if outcomes is not None and len(outcomes) != len(molecules):
        raise ShapeError(
            f"`outcomes` must hold one for each of {len(molecules)} molecules, got {len(outcomes)}"
        )
    columns = min(columns, len(molecules))
    rows = -(-len(molecules) // columns)
    views = [_view(molecule.pos) for molecule in molecules]
    width, height = np.max([np.abs(view[:, :2]).max(axis=0) for view in views], axis=0) + 0.6
    line = 0.25 if outcomes is None else 0.45
    figure, axes = new_figure(2.2 * columns, (2.2 * height / width + line) * rows + 0.35, rows, columns)
    for axis in axes.flat:
        axis.set(xlim=(-width, width), ylim=(-height, height), aspect="equal")
        axis.axis("off")
    for axis, molecule, view, name in zip(axes.flat, molecules, views, names, strict=False):
        _draw_molecule(axis, molecule.z, view)
        axis.set_title(name, fontsize=8, pad=2 if outcomes is None else 13)
    for axis, (words, colour) in zip(axes.flat, outcomes or (), strict=False):
        _draw_outcome(axis, words, colour)
    _element_legend(figure, molecules)
    return figure


def _draw_outcome(axis: Axes, words: str, colour: str) -> None:
    """Write what was found under the title, above a bar of its colour."""
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "center"}
    axis.annotate(
        words, (0.5, 1), (0, 2), fontsize=7.5, color=colour, fontweight="bold", va="bottom", **place
    )
    axis.add_artist(Line2D([0, 1], [1, 1], transform=axis.transAxes, color=colour, linewidth=2.5))


def _element_legend(figure: Figure, molecules: Sequence[Molecule]) -> None:
    present = np.unique(np.concatenate([molecule.z for molecule in molecules])).tolist()
    style: dict[str, Any] = {"marker": "o", "linestyle": "", "markeredgecolor": "0.2", "markersize": 7}
    handles = [
        Line2D(
            [],
            [],
            markerfacecolor=_ELEMENTS.get(z, _ELEMENTS[0])[0],
            label=_SYMBOLS.get(z, f"Z = {z}"),
            **style,
        )
        for z in present
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)


def _view(pos: np.ndarray) -> np.ndarray:
    """Centre a molecule and turn its long axes into the plane of the drawing (a proper rotation)."""
    centred = pos.astype(np.float64) - pos.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=True)
    axes[2] *= np.linalg.det(axes)
    return centred @ axes.T


def _draw_molecule(axis: Axes, z: np.ndarray, view: np.ndarray) -> None:
    """Draw atoms and half bonds from back to front, as shapes in angstrom that scale with the axes."""
    found = stability(z.astype(np.int64), view, np.array([0, len(z)]))
    depth_range = max(float(np.ptp(view[:, 2])), 2.0)
    front = float(view[:, 2].max())
    shapes: list[tuple[float, Patch]] = []
    for number, point, is_stable in zip(z.tolist(), view, found.atom_stable.tolist(), strict=True):
        fog = _FOG * (front - point[2]) / depth_range
        if not is_stable:
            shapes.append((float(view[:, 2].min()) - 1.0, _halo(number, point[:2])))
        shapes += [
            (point[2] + 1e-6 * layer, patch) for layer, patch in enumerate(_ball(number, point[:2], fog))
        ]
    for (first, second), order in zip(found.bonds.tolist(), found.orders.tolist(), strict=True):
        middle = (view[first] + view[second]) / 2
        for end in (first, second):
            depth = (view[end, 2] + middle[2]) / 2
            fog = _FOG * (front - depth) / depth_range
            bars = _half_bond(int(z[end]), view[end, :2], middle[:2], order, fog)
            shapes += [(min(view[end, 2], depth) - 1e-3, bar) for bar in bars]
    shapes.sort(key=lambda shape: shape[0])
    axis.add_collection(PatchCollection([patch for _, patch in shapes], match_original=True))


def _halo(number: int, centre: np.ndarray) -> Patch:
    radius = 1.7 * _ELEMENTS.get(number, _ELEMENTS[0])[1]
    return Circle(
        (float(centre[0]), float(centre[1])), radius, facecolor=(*_fogged(_HALO, 0.0), 0.45), linewidth=0
    )


def _ball(number: int, centre: np.ndarray, fog: float) -> list[Patch]:
    colour, radius = _ELEMENTS.get(number, _ELEMENTS[0])
    face, edge = _fogged(colour, fog), _fogged("#202020", fog)
    shine = centre + radius * np.array([-0.3, 0.3])
    return [
        Circle(tuple(centre), radius, facecolor=face, edgecolor=edge, linewidth=0.7),
        Circle(tuple(shine), 0.25 * radius, facecolor=(1.0, 1.0, 1.0, 0.5), linewidth=0),
    ]


def _half_bond(number: int, begin: np.ndarray, end: np.ndarray, order: int, fog: float) -> list[Patch]:
    """Return `order` parallel bars in the colour of an element between two points of the plane."""
    along = end - begin
    length = float(np.hypot(*along))
    if length < 1e-9:
        return []
    across = np.array([-along[1], along[0]]) / length
    width = _BOND_HALF_WIDTH if order == 1 else 0.6 * _BOND_HALF_WIDTH
    gap = _STRAND_GAP if order == 2 else 0.7 * _STRAND_GAP
    offsets = (np.arange(order) - (order - 1) / 2) * gap
    style: dict[str, Any] = {
        "facecolor": _fogged(_ELEMENTS.get(number, _ELEMENTS[0])[0], fog),
        "edgecolor": _fogged("#404040", fog),
        "linewidth": 0.4,
    }
    left, right = (np.outer(offsets + sign * width, across) for sign in (-1, 1))
    corners = np.stack([begin + left, end + left, end + right, begin + right], axis=1)
    return [Polygon(bar, **style) for bar in corners]


def _fogged(colour: str, fog: float) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red + (1 - red) * fog, green + (1 - green) * fog, blue + (1 - blue) * fog


def trajectory_plot(
    start: np.ndarray, target: np.ndarray, prediction: np.ndarray, *, charge: np.ndarray | None = None
) -> Figure:
    """Draw where particles began, where they went and where a model says they went, in two projections.

    Parameters
    ----------
    start, target, prediction
        Positions [n, 3], dimensionless.
    charge
        Charges [n]; their signs are written beside the starting points.

    Raises
    ------
    ShapeError
        If the three arrays have different shapes.
    """
    if not (start.shape == target.shape == prediction.shape and start.ndim == 2 and start.shape[1] == 3):
        raise ShapeError(
            f"`start`, `target`, `prediction` must have one shape (n, 3), got {start.shape}, {target.shape}, "
            f"{prediction.shape}"
        )
    figure, axes = new_figure(9.2, 4.6, columns=2)
    for axis, (across, up) in zip(axes[0], ((0, 1), (0, 2)), strict=True):
        plane = [across, up]
        for particle, points in enumerate(
            zip(start[:, plane], target[:, plane], prediction[:, plane], strict=True)
        ):
            _draw_particle(axis, points, COLOURS[particle % len(COLOURS)])
            if charge is not None:
                sign, offset = "+" if charge[particle] > 0 else "−", (4, 4)
                axis.annotate(sign, points[0], xytext=offset, textcoords="offset points", fontsize=9)
        axis.set(xlabel="xyz"[across], ylabel="xyz"[up], aspect="equal", adjustable="datalim")
        axis.grid(alpha=0.25)
    marks = {"start": ("o", 4, "0.3"), "true end": ("o", 9, "none"), "predicted end": ("x", 7, "0.3")}
    handles = [
        Line2D(
            [], [], marker=m, markersize=s, markerfacecolor=f, markeredgecolor="0.3", linestyle="", label=name
        )
        for name, (m, s, f) in marks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _draw_particle(axis: Axes, points: tuple[np.ndarray, np.ndarray, np.ndarray], colour: str) -> None:
    start, target, prediction = points
    axis.plot(*np.stack([start, target], axis=1), color=colour, linewidth=1, alpha=0.5)
    axis.plot(*start, "o", color=colour, markersize=4, alpha=0.6)
    axis.plot(*target, "o", color=colour, markersize=9, markerfacecolor="none")
    axis.plot(*prediction, "x", color=colour, markersize=7)
