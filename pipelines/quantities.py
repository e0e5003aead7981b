"""Names of properties and the units that they end in."""

from __future__ import annotations

UNITS = ("kcal_mol", "ev", "debye", "bohr3", "bohr2", "ghz", "cal_per_mol_k", "hartree")


def split_unit(target: str) -> tuple[str, str]:
    """Split a property name into name and unit: `energy_ev` -> (energy, ev)."""
    for unit in UNITS:
        if target.endswith("_" + unit):
            return target[: -len(unit) - 1], unit
    return target, ""


def unit_symbol(unit: str) -> str:
    """Write a unit as people do: `ev` -> eV, `kcal_mol` -> kcal/mol."""
    symbols = {"ev": "eV", "kcal_mol": "kcal/mol", "debye": "D", "cal_per_mol_k": "cal/(mol K)", "ghz": "GHz"}
    symbols |= {"bohr2": "bohr²", "bohr3": "bohr³"}
    return symbols.get(unit, unit)
