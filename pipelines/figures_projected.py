"""One record beside its projection: the thing itself, a globe from the same side, and a Mollweide map."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from geograph.featurize.sphere_jet import rest_frame
from geograph.featurize.sphere_mesh import REACH
from geograph.generate.mesh_deform import normalise
from geograph.records import Jet, Mesh, Molecule, Record
from geograph.sphere.raycast import cast_rays
from pipelines.figures import new_figure
from pipelines.figures_sphere import (
    check_harmonic,
    colour_scale,
    draw_map,
    mollweide_directions,
    mollweide_position,
    orthographic_directions,
    sphere_values,
)

#: Colatitude and longitude of the viewer, in degrees.
_VIEW = (60.0, 30.0)
_ROWS = 240
_ELEMENT_COLOURS = {1: "#E4E4E4", 6: "#505050", 7: "#3050F8", 8: "#E8210D", 9: "#75C83C", 16: "#E3C400"}
_OTHER_COLOUR = "#FF1493"


def _axes_of_view() -> Float[np.ndarray, "3 3"]:
    """Rows: right and up in the picture, and towards the viewer."""
    theta, phi = np.radians(_VIEW)
    towards = np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    right = np.array([-np.sin(phi), np.cos(phi), 0.0])
    return np.stack([right, np.cross(towards, right), towards])


def _draw_molecule(axis: Axes, molecule: Molecule) -> np.ndarray:
    """Draw atoms from back to front, the first one ringed; return the directions where it sees the others."""
    pos = molecule.pos.astype(np.float64) - molecule.pos[0]
    view = pos @ _axes_of_view().T
    for atom in np.argsort(view[:, 2]).tolist():
        number = int(molecule.z[atom])
        place = (float(view[atom, 0]), float(view[atom, 1]))
        colour = _ELEMENT_COLOURS.get(number, _OTHER_COLOUR)
        radius = 0.28 if number == 1 else 0.42
        axis.add_patch(Circle(place, radius, facecolor=colour, edgecolor="0.2", linewidth=0.6))
    axis.add_patch(Circle((0.0, 0.0), 0.5, fill=False, edgecolor="#0072B2", linewidth=1.6))
    reach = float(np.abs(view[:, :2]).max(initial=0.5)) + 0.6
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axis.axis("off")
    return pos[1:] / np.linalg.norm(pos[1:], axis=1, keepdims=True)


def _draw_mesh(axis: Axes, mesh: Mesh) -> None:
    """Show the mesh as parallel rays find it, shaded by the angle to the light."""
    right, up, towards = _axes_of_view()
    across = (2.0 * np.arange(_ROWS) + 1.0) / _ROWS - 1.0
    x, y = np.meshgrid(across, -across)
    starts = (x[..., None] * right + y[..., None] * up + 2.0 * towards).reshape(-1, 3)
    vertices = REACH * normalise(mesh.vertices.astype(np.float64), mesh.faces)
    hits = cast_rays(vertices, mesh.faces, starts, np.broadcast_to(-towards, starts.shape))
    light = towards + 0.4 * up - 0.5 * right
    shade = np.where(
        hits.is_hit, 0.25 + 0.75 * np.clip(hits.normal @ light / np.linalg.norm(light), 0, 1), np.nan
    )
    axis.imshow(shade.reshape(_ROWS, _ROWS), cmap="bone", vmin=0, vmax=1.1, extent=(-1, 1, -1, 1))
    axis.axis("off")


def _draw_jet(axis: Axes, jet: Jet) -> tuple[np.ndarray, np.ndarray]:
    """Draw constituents around the jet axis; return their directions and energy fractions at rest with it."""
    p4 = jet.p4[jet.p4.any(axis=1)].astype(np.float64)
    pt = np.hypot(p4[:, 1], p4[:, 2])
    eta, phi = np.arcsinh(p4[:, 3] / np.maximum(pt, 1e-12)), np.arctan2(p4[:, 2], p4[:, 1])
    total = p4.sum(axis=0)
    centre = np.arcsinh(total[3] / np.hypot(total[1], total[2])), np.arctan2(total[2], total[1])
    turned = np.mod(phi - centre[1] + np.pi, 2 * np.pi) - np.pi
    axis.scatter(eta - centre[0], turned, s=600 * pt / pt.sum() + 1, color="#D55E00", alpha=0.6, linewidths=0)
    axis.set(xlabel="pseudorapidity from the axis", ylabel="azimuth from the axis (rad)")
    frame = rest_frame(p4)
    return frame.direction, frame.energy


def _draw_record(axis: Axes, record: Record) -> tuple[np.ndarray, np.ndarray]:
    """Draw the record; return the directions to mark on the map, and their weights."""
    if isinstance(record, Molecule):
        directions = _draw_molecule(axis, record)
        return directions, np.full(len(directions), 0.1)
    if isinstance(record, Jet):
        return _draw_jet(axis, record)
    if isinstance(record, Mesh):
        _draw_mesh(axis, record)
    else:
        axis.axis("off")
    return np.zeros((0, 3)), np.zeros(0)


def projected_figure(
    record: Record,
    harmonic: Float[np.ndarray, "channels coefficients"],
    *,
    channel: int = 0,
    title: str = "",
) -> Figure:
    """Draw a record, one channel of its projection as a globe seen from the same side, and as a map.

    Parameters
    ----------
    record
        Molecule (the sphere is that of its first atom, which is ringed; the map marks where it sees the
        others), jet (the map marks the constituents at rest with the jet, by energy), mesh, or map.
    harmonic
        Real coefficients of the sphere.
    channel
        Which of them to draw.
    title
        Above the figure.

    Raises
    ------
    ShapeError
        If the coefficients have no such shape or channel.
    DataError
        If a jet has no rest frame.
    MissingExtraError
        If a mesh is drawn and embreex is not installed.
    """
    check_harmonic(harmonic, channel)
    figure, axes = new_figure(11.0, 3.0, 1, 3)
    axes[0, 0].get_gridspec().set_width_ratios([1.0, 1.0, 2.0])
    directions, weight = _draw_record(axes[0, 0], record)
    shown = harmonic[channel : channel + 1]
    globe = sphere_values(shown, orthographic_directions(_ROWS, *_VIEW))[0]
    flat = sphere_values(shown, mollweide_directions(_ROWS))[0]
    norm, colours = colour_scale([flat])
    draw_map(axes[0, 1], globe, norm, colours)
    draw_map(axes[0, 2], flat, norm, colours)
    if len(directions):
        place = mollweide_position(directions)
        axes[0, 2].scatter(
            *place.T, s=200 * weight + 2, facecolors="none", edgecolors="white", linewidths=0.8
        )
    figure.colorbar(ScalarMappable(norm, colours), ax=axes[0, 2], shrink=0.6, fraction=0.04, pad=0.02)
    figure.suptitle(title, fontsize=10)
    return figure
