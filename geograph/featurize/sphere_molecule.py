"""Molecule -> one sphere for each atom, with a function on it for each element of its surroundings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from scipy.spatial.distance import pdist

from geograph.errors import ConfigError, DataError
from geograph.featurize.cast import cast_fields
from geograph.featurize.molecule import molecule_graph
from geograph.featurize.sphere_atoms import ELEMENTS, pair_harmonic, potential_harmonic, sampled_potential
from geograph.records import Molecule
from geograph.sphere.grids import Grid, GridKind, make_grid
from geograph.sphere.sht import analysis


def smallest_distance(molecules: Iterable[Molecule]) -> float:
    """Return the smallest distance between two atoms of one molecule, in angstrom.

    Half of it is the largest radius at which no two spheres of any of the molecules intersect.

    Raises
    ------
    DataError
        If no molecule has two atoms, or if two atoms of one coincide.
    """
    smallest = np.inf
    for molecule in molecules:
        if len(molecule.z) > 1:
            nearest = float(pdist(molecule.pos.astype(np.float64)).min())
            if nearest == 0.0:
                raise DataError("two atoms coincide", record=molecule.id, remedy="remove the record")
            smallest = min(smallest, nearest)
    if not np.isfinite(smallest):
        raise DataError("no molecule has two atoms, so that there is no smallest distance")
    return smallest


def _as_tuple(value: int | float | Sequence[int | float]) -> tuple[int | float, ...]:
    return (value,) if isinstance(value, int | float) else tuple(value)


def _check(
    kind: str, powers: Sequence[int | float], form: str, radii: Sequence[int | float], elements: Sequence[int]
) -> None:
    if kind not in ("potential", "pairs"):
        raise ConfigError(f"`kind` must be potential or pairs, got {kind!r}.")
    if form not in ("closed", "sampled"):
        raise ConfigError(f"`form` must be closed or sampled, got {form!r}.")
    if not elements or len(set(elements)) != len(elements):
        raise ConfigError(f"`elements` must hold distinct atomic numbers, got {list(elements)}.")
    if not powers or (kind == "potential" and not set(powers) <= {1, 2}):
        wanted = "1, 2 or both" if kind == "potential" else "one number or several"
        raise ConfigError(f"`power` must be {wanted}, got {list(powers)}.")
    if kind == "pairs" and form == "sampled":
        raise ConfigError("`form` must be closed for `kind` pairs, got 'sampled'.")
    if kind == "potential" and (not radii or not all(radius > 0 for radius in radii)):
        raise ConfigError(
            f"`radius_angstrom` must be positive for `kind` potential, got {list(radii) or None};"
            " half the smallest distance of the data set keeps the spheres apart."
        )


def _by_transform(
    molecule: Molecule,
    pixels: Grid,
    bandlimit: int,
    radii: Sequence[int | float],
    powers: Sequence[int | float],
    elements: Sequence[int],
) -> np.ndarray:
    values = sampled_potential(
        molecule.z,
        molecule.pos,
        pixels.directions().numpy(),
        radii_angstrom=radii,
        powers=powers,
        elements=elements,
    )
    return analysis(torch.from_numpy(values), pixels, bandlimit).numpy()


def molecule_sphere(
    molecule: Molecule,
    *,
    bandlimit: int,
    kind: Literal["potential", "pairs"] = "potential",
    power: int | float | Sequence[int | float] | None = None,
    form: Literal["closed", "sampled"] = "closed",
    radius_angstrom: int | float | Sequence[int | float] | None = None,
    elements: Sequence[int] = ELEMENTS,
    targets: Sequence[str] = ("energy_ev",),
    grid: GridKind = "gl",
    grid_bandlimit: int | None = None,
    cut_degrees: float = 45.0,
    unit_angstrom: float = 1.0,
) -> dict[str, np.ndarray]:
    """Return the spheres of a molecule: `harmonic` [atoms, channels, L^2], `z` and the targets `y`.

    See `geograph.featurize.sphere_atoms` for the functions. Rotating the molecule rotates the coefficients,
    exactly so in the closed form. With several radii or powers, channels run over radii, then powers, then
    elements.

    Parameters
    ----------
    molecule
        The record.
    bandlimit
        Degrees l = 0 ... L - 1 are kept.
    kind
        `potential` of Cohen et al. (2018), or `pairs` of Esteves et al. (2023).
    power
        Of the inverse distance; one or several. For `potential` 1 (default; as published) or 2 (as in the
        released program); for `pairs` any, 2 and 6 by default.
    form
        `closed`: exact coefficients. `sampled`: values on a grid, then a transform, as published, with the
        aliasing that comes with it.
    radius_angstrom
        `potential`: radius of every sphere; one or several.
    elements
        Atomic numbers, one channel each.
    targets
        Names of the properties that make up `y`; none leaves `y` out.
    grid, grid_bandlimit
        `sampled`: kind and band-limit of the grid, by default that of the output. The published grid is
        `soft` with band-limit 10.
    cut_degrees
        `pairs`: angle at which the bump of a neighbour has fallen to 0.05.
    unit_angstrom
        `pairs`: unit of distance; the published one is the smallest distance of the data set.

    Raises
    ------
    ConfigError
        If an option is unknown or out of range.
    DataError
        If the molecule is periodic, lacks a target, has another element or coincident atoms, or, for power 2,
        an atom on the sphere of another.

    Notes
    -----
    The released program of Cohen et al. leaves out, for each pixel, whichever atom is nearest; that is not
    always the atom at the centre. Here the centre is left out, and nothing else.

    References
    ----------
    Cohen et al. (2018), arXiv:1801.10130, section 5.4; Esteves et al. (2023), arXiv:2306.05420.
    """
    published = 1 if kind == "potential" else (2, 6)
    powers = _as_tuple(published if power is None else power)
    radii = () if radius_angstrom is None else _as_tuple(radius_angstrom)
    _check(kind, powers, form, radii, elements)
    graph = molecule_graph(molecule, edges="complete", targets=targets)
    z, pos = molecule.z, molecule.pos
    try:
        if kind == "pairs":
            harmonic = pair_harmonic(
                z,
                pos,
                bandlimit=bandlimit,
                powers=powers,
                elements=elements,
                cut_degrees=cut_degrees,
                unit_angstrom=unit_angstrom,
            )
        elif form == "closed":
            harmonic = potential_harmonic(
                z, pos, bandlimit=bandlimit, radii_angstrom=radii, powers=powers, elements=elements
            )
        else:
            pixels = make_grid(grid, grid_bandlimit or bandlimit)
            harmonic = _by_transform(molecule, pixels, bandlimit, radii, powers, elements)
    except DataError as error:
        raise error.at(record=molecule.id) from error
    return cast_fields({"harmonic": harmonic, "z": graph["z"], "y": graph.get("y")})
