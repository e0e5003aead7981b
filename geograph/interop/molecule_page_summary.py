"""Words of a page of molecules: its checks with their colours, and the figures of the whole set."""

from __future__ import annotations

import math
from typing import Any

from geograph.interop.molecule_metrics import MoleculeReport, MoleculeRow

#: Checks in the order in which the first failed one gives a molecule its colour:
#: words when passed, words when failed, colour, meaning.
CHECKS: dict[str, tuple[str, str, str, str]] = {
    "valid": (
        "valid",
        "not valid",
        "#d55e00",
        "RDKit sanitises it with the bonds of the bond-length rule",
    ),
    "connected": (
        "one piece",
        "in pieces",
        "#0072b2",
        "the bonds of the bond-length rule make one fragment",
    ),
    "stable": (
        "stable",
        "not stable",
        "#e69f00",
        "all valences are allowed, by the published bond-length rule",
    ),
    "valency_stable": (
        "valencies right",
        "valencies wrong",
        "#b08900",
        "all valences are allowed, aromatic bonds handled as corrected in later work",
    ),
    "perceived_valid": (
        "valid (RDKit bonds)",
        "not valid (RDKit bonds)",
        "#b3468f",
        "RDKit perceives the bonds from the positions and sanitises it",
    ),
    "perceived_connected": (
        "one piece (RDKit bonds)",
        "in pieces (RDKit bonds)",
        "#4b8fbd",
        "the bonds that RDKit perceives make one fragment",
    ),
    "posebusters": (
        "PoseBusters",
        "PoseBusters failed",
        "#8c6bb1",
        "it passes all of PoseBusters' checks",
    ),
    "strain": ("relaxes", "does not relax", "#8a5a33", "GFN2-xTB relaxes it to a minimum"),
    "novel": ("new", "known", "#8a8f98", "its SMILES is not in the reference"),
    "perceived_novel": (
        "new (RDKit bonds)",
        "known (RDKit bonds)",
        "#a5a9b0",
        "its perceived SMILES is not in the reference",
    ),
}
#: What is worth knowing, but no failure.
_INFORMS = ("novel", "perceived_novel")
_OTHER_COLOUR = "#cc79a7"
_PASSED = ("all passed", "#00805d")

_UNITS = {"angstrom": "Å", "degree": "°"}
#: Figures that are always in sight.
_MAIN = (
    "molecules",
    "atom stability",
    "molecule stability",
    "validity (RDKit)",
    "in one piece",
    "uniqueness",
    "novelty",
    "PoseBusters, all passed",
    "strain",
)

_FIGURES = {
    "atom_stability": "atom stability",
    "molecule_stability": "molecule stability",
    "rdkit_validity": "validity (RDKit)",
    "connected": "in one piece",
    "uniqueness": "uniqueness",
    "novelty": "novelty",
    "valency_atom_stability": "atom stability, valency",
    "valency_molecule_stability": "molecule stability, valency",
    "perceived_validity": "validity, perceived bonds",
    "perceived_connected": "one piece, perceived",
    "perceived_uniqueness": "uniqueness, perceived",
    "perceived_novelty": "novelty, perceived",
}


def rank_of(key: str) -> tuple[int, str]:
    """Place of a check among all: those of `CHECKS` in its order, then the others by name."""
    return (list(CHECKS).index(key) if key in CHECKS else len(CHECKS), key)


def check_entry(key: str) -> dict[str, Any]:
    """Words and colour of a check; a name that is not in the table is one of PoseBusters' checks."""
    words = key.replace("_", " ")
    other = (words, words, _OTHER_COLOUR, f"PoseBusters' check of {words}")
    label, failure, colour, about = CHECKS.get(key, other)
    words_and_colour = {"label": label, "failure": failure, "colour": colour, "about": about}
    return {"key": key, **words_and_colour, "informs": key in _INFORMS}


def outcome_of(row: MoleculeRow) -> tuple[str, str]:
    """Words and colour of the first check that a molecule failed, or of having passed all."""
    for key, (_, failure, colour, _) in CHECKS.items():
        if key in row.failed or (key == "posebusters" and row.posebusters is False):
            return failure, colour
    return _PASSED


def summary_of(report: MoleculeReport) -> list[dict[str, Any]]:
    """Figures of the whole set with what to compare them with, in the order in which they are shown."""
    shown = [_figure("molecules", str(report.num_molecules), _lost(report), None)]
    for key, label in _FIGURES.items():
        value = getattr(report, key)
        if value is not None:
            known = getattr(report.reference, key, None)
            shown.append(_figure(label, _percent(value), _compared(report.intervals.get(key), known), value))
    return [*shown, *_sampled_figures(report), *_distances(report)]


def _figure(label: str, value: str, note: str, share: float | None) -> dict[str, Any]:
    is_known = share is not None and math.isfinite(share)
    shown = {"label": label, "value": value, "note": note, "share": share if is_known else None}
    return shown | {"main": label in _MAIN}


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "–"


def _compared(interval: tuple[float, float] | None, known: float | None) -> str:
    parts = [f"95 %: {100 * interval[0]:.1f} to {100 * interval[1]:.1f}"] if interval else []
    parts += [f"reference {100 * known:.1f} %"] if known is not None else []
    return "\n".join(parts)


def _lost(report: MoleculeReport) -> str:
    unreadable = f" · {report.num_unreadable} unreadable" if report.num_unreadable else ""
    return f"{report.num_atoms} atoms{unreadable}"


def _sampled_figures(report: MoleculeReport) -> list[dict[str, Any]]:
    """Figures that were made of a sample only."""
    shown = []
    busted, strain = report.posebusters, report.strain
    if busted is not None:
        note = f"of {busted.num_checked} checked"
        shown.append(_figure("PoseBusters, all passed", _percent(busted.all_passed), note, busted.all_passed))
    if strain is not None and strain.median_kcal_per_mol is not None:
        note = f"median, of {strain.num_converged} relaxed"
        shown.append(_figure("strain", f"{strain.median_kcal_per_mol:.1f} kcal/mol", note, None))
    return shown


def _distances(report: MoleculeReport) -> list[dict[str, Any]]:
    shown = []
    for name, found in (report.distributions or {}).items():
        if found.distance is not None:
            metric = "total variation" if found.metric == "total_variation" else "Wasserstein"
            floor = f"\nfloor {found.floor:.3g}" if found.floor is not None else ""
            unit = _UNITS.get(found.unit, found.unit) if metric == "Wasserstein" else ""
            value = f"{found.distance:.3g} {unit}".strip()
            shown.append(_figure(name.replace("_", " "), value, metric + floor, None))
    return shown
