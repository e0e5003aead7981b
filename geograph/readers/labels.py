"""Scalar labels of molecules: units of foreign files, and what to do where a value is missing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from geograph.errors import DataError
from geograph.records import Molecule
from geograph.units import HARTREE_EV, KCAL_PER_MOL_EV

#: Unit as files write it -> (suffix of our names, factor to the unit of the suffix).
UNITS = {
    "Ha": ("ev", HARTREE_EV),
    "Hartree": ("ev", HARTREE_EV),
    "eV": ("ev", 1.0),
    "meV": ("ev", 1e-3),
    "kcal/mol": ("ev", KCAL_PER_MOL_EV),
    "kJ/mol": ("ev", KCAL_PER_MOL_EV / 4.184),
    "D": ("debye", 1.0),
    "Debye": ("debye", 1.0),
    "GHz": ("ghz", 1.0),
    "a0^2": ("bohr2", 1.0),
    "a0^3": ("bohr3", 1.0),
    "cal/mol/K": ("cal_per_mol_k", 1.0),
}


def with_unit(name: str, value: float, unit: str | None) -> tuple[str, float]:
    """Name with unit suffix and converted value; both unchanged where the unit is unknown or not told."""
    if unit not in UNITS:
        return name, value
    suffix, factor = UNITS[unit]
    return (name if name.endswith(f"_{suffix}") else f"{name}_{suffix}"), value * factor


def finite_properties(molecule: Molecule, require: Collection[str] | None) -> Molecule:
    """Leave out the properties that are not finite.

    Parameters
    ----------
    molecule
        A molecule whose properties may be NaN or infinite.
    require
        Properties that must be there and finite; None means all that are there.

    Raises
    ------
    DataError
        If a required property is missing or not finite.
    """
    finite = {name: value for name, value in molecule.properties.items() if np.isfinite(value)}
    for name in molecule.properties if require is None else require:
        if name not in finite:
            state = "is not finite" if name in molecule.properties else "is not there"
            raise DataError(
                f"property `{name}` {state}",
                remedy="leave the record out, or leave the property out of `require`",
            )
    return replace(molecule, properties=finite) if len(finite) < len(molecule.properties) else molecule
