"""Records: one molecule, jet, mesh or particle system each, checked on construction, NumPy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int

from geograph.errors import DataError

#: Relative slack of the mass-shell check E >= |p|: four-momenta are stored in float32.
_MASS_SHELL_TOLERANCE = 1e-5
_MAX_ATOMIC_NUMBER = 118


def _finite(name: str, values: np.ndarray, record_id: str) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise DataError(
            f"`{name}` of row {row} is not finite ({values[row]})",
            record=record_id,
            remedy="remove or repair the record",
        )


def _shape(name: str, values: np.ndarray, tail: tuple[int, ...], record_id: str) -> None:
    if values.ndim != 1 + len(tail) or values.shape[1:] != tail:
        want = "(n" + "".join(f", {t}" for t in tail) + ")"
        raise DataError(f"`{name}` must have shape {want}, got {values.shape}", record=record_id)


def _not_empty(what: str, count: int, record_id: str) -> None:
    if count == 0:
        raise DataError(f"empty {what}", record=record_id, remedy="remove the record")


@dataclass(frozen=True)
class Molecule:
    """Atoms in space.

    Attributes
    ----------
    z
        Atomic numbers, 1 to 118.
    pos
        Positions in angstrom.
    properties
        Scalar labels by name; the name carries the unit (``energy_ev``).
    id
        Identifier, unique within its data set.
    smiles
        Canonical SMILES where known, else empty.
    is_periodic
        True if the source has a periodic cell; featurizers refuse such records.
    """

    z: Int[np.ndarray, " _"]
    pos: Float[np.ndarray, "_ 3"]
    properties: Mapping[str, float] = field(default_factory=dict)
    id: str = ""
    smiles: str = ""
    is_periodic: bool = False

    def __post_init__(self) -> None:
        """Check shapes, elements, finiteness and non-emptiness."""
        _shape("z", self.z, (), self.id)
        _shape("pos", self.pos, (3,), self.id)
        _not_empty("molecule", len(self.z), self.id)
        if len(self.z) != len(self.pos):
            raise DataError(f"{len(self.z)} atomic numbers but {len(self.pos)} positions", record=self.id)
        unknown = (self.z < 1) | (self.z > _MAX_ATOMIC_NUMBER)
        if unknown.any():
            atom = int(np.argmax(unknown))
            raise DataError(
                f"unknown element: atom {atom} has atomic number {int(self.z[atom])}",
                record=self.id,
                remedy="atomic numbers run from 1 to 118; dummy atoms are not supported",
            )
        _finite("pos", self.pos, self.id)


@dataclass(frozen=True)
class Jet:
    """Constituents of one jet, sorted by falling transverse momentum.

    Attributes
    ----------
    p4
        Four-momenta (E, px, py, pz) in GeV, float64, one row for each constituent, no padding.
    label
        Class number (1 = signal), or None where unknown.
    id
        Identifier, unique within its data set.
    has_beam_frame
        False if each jet was transformed on its own, so that the beam direction is lost.
    """

    p4: Float[np.ndarray, "_ 4"]
    label: int | None = None
    id: str = ""
    has_beam_frame: bool = True

    def __post_init__(self) -> None:
        """Check shape, finiteness, the mass shell and the label."""
        _shape("p4", self.p4, (4,), self.id)
        _not_empty("jet", len(self.p4), self.id)
        _finite("p4", self.p4, self.id)
        momentum = np.linalg.norm(self.p4[:, 1:].astype(np.float64), axis=1)
        deficit = momentum - self.p4[:, 0]
        bad = deficit > _MASS_SHELL_TOLERANCE * np.maximum(momentum, 1e-3)
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"constituent {row} has E < |p| by {deficit[row]:.3g} GeV",
                record=self.id,
                remedy="check the column order: (E, px, py, pz)",
            )
        _label(self.label, self.id)


@dataclass(frozen=True)
class Mesh:
    """Triangle mesh.

    Attributes
    ----------
    vertices
        Positions, in the unit of the source.
    faces
        Vertex numbers of each triangle, counter-clockwise seen from outside.
    label
        Class number, or None where unknown.
    id
        Identifier, unique within its data set.
    """

    vertices: Float[np.ndarray, "_ 3"]
    faces: Int[np.ndarray, "_ 3"]
    label: int | None = None
    id: str = ""

    def __post_init__(self) -> None:
        """Check shapes, finiteness, vertex numbers and the label."""
        _shape("vertices", self.vertices, (3,), self.id)
        _shape("faces", self.faces, (3,), self.id)
        _not_empty("mesh: it has no faces", len(self.faces), self.id)
        _finite("vertices", self.vertices, self.id)
        low, high = int(self.faces.min()), int(self.faces.max())
        if low < 0 or high >= len(self.vertices):
            bad = low if low < 0 else high
            raise DataError(
                f"a face names vertex {bad}, but there are {len(self.vertices)} vertices", record=self.id
            )
        _label(self.label, self.id)


@dataclass(frozen=True)
class ParticleSystem:
    """Charged particles at one time and, where known, their positions at a later one.

    Attributes
    ----------
    pos, vel
        Positions and velocities, dimensionless.
    charge
        Charges, dimensionless.
    pos_target
        Positions at the later time, or None.
    id
        Identifier, unique within its data set.
    """

    pos: Float[np.ndarray, "_ 3"]
    vel: Float[np.ndarray, "_ 3"]
    charge: Float[np.ndarray, " _"]
    pos_target: Float[np.ndarray, "_ 3"] | None = None
    id: str = ""

    def __post_init__(self) -> None:
        """Check shapes and finiteness."""
        arrays = {"pos": (self.pos, (3,)), "vel": (self.vel, (3,)), "charge": (self.charge, ())}
        if self.pos_target is not None:
            arrays["pos_target"] = (self.pos_target, (3,))
        for name, (values, tail) in arrays.items():
            _shape(name, values, tail, self.id)
            if len(values) != len(self.pos):
                raise DataError(
                    f"{len(self.pos)} positions but {len(values)} rows of `{name}`", record=self.id
                )
            _finite(name, values, self.id)
        _not_empty("particle system", len(self.pos), self.id)


@dataclass(frozen=True)
class SphereMap:
    """Real functions on one sphere, band-limited.

    Attributes
    ----------
    harmonic
        Real spherical-harmonic coefficients of each channel, degree by degree, as
        `geograph.algebra.harmonics` defines them; L^2 of them for band-limit L.
    label
        Class number, or None where unknown.
    id
        Identifier, unique within its data set.
    """

    harmonic: Float[np.ndarray, "_ _"]
    label: int | None = None
    id: str = ""

    def __post_init__(self) -> None:
        """Check shape, finiteness and the label."""
        if self.harmonic.ndim != 2 or round(self.harmonic.shape[1] ** 0.5) ** 2 != self.harmonic.shape[1]:
            raise DataError(
                f"`harmonic` must have shape (channels, L^2), got {self.harmonic.shape}", record=self.id
            )
        _not_empty("map", self.harmonic.size, self.id)
        _finite("harmonic", self.harmonic, self.id)
        _label(self.label, self.id)


Record: TypeAlias = Molecule | Jet | Mesh | ParticleSystem | SphereMap


def _label(label: int | None, record_id: str) -> None:
    if label is not None and label < 0:
        raise DataError(f"label {label} is out of range", record=record_id, remedy="class numbers start at 0")
