"""Tables that `geograph evaluate molecules` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from geograph.interop.molecule_report import MoleculeReport
    from geograph.interop.posebusters_checks import PoseBustersSummary
    from geograph.interop.strain import StrainSummary

_MAX_LISTED = 10
_LABELS = {
    "atom_stability": "atoms stable (published bond-length rule)",
    "molecule_stability": "molecules stable (published bond-length rule)",
    "rdkit_validity": "valid (RDKit, largest fragment)",
    "uniqueness": "unique among the valid",
    "novelty": "novel among the unique",
    "connected": "connected (one fragment)",
    "valency_atom_stability": "atoms stable (valence and charge)",
    "valency_molecule_stability": "molecules stable (valence and charge)",
    "perceived_validity": "valid",
    "perceived_uniqueness": "unique among the valid",
    "perceived_novelty": "novel among the unique",
    "perceived_connected": "connected (one fragment)",
}
_FIRST_PERCEIVED = "valency_atom_stability"
_STRAIN_LABELS = {
    "median_kcal_per_mol": "strain in kcal/mol, median",
    "mean_kcal_per_mol": "strain in kcal/mol, mean",
    "median_rmsd_angstrom": "heavy-atom RMSD in angstrom, median",
    "mean_rmsd_angstrom": "heavy-atom RMSD in angstrom, mean",
}


def print_report(report: MoleculeReport) -> None:
    """Print the figures of a report, beside those of its reference, and what could not be read."""
    console = Console()
    console.print(_figures(report))
    if report.posebusters is not None:
        console.print(_posebusters(report, report.posebusters))
    if report.strain is not None:
        console.print(_strain(report, report.strain))
    if report.distributions is not None:
        console.print(_distances(report))
    for what, one in (("", report), (" of the reference", report.reference)):
        if one is None or not one.num_unreadable:
            continue
        console.print(f"{one.num_unreadable} unreadable{what}, in none of the figures:")
        for bad in one.unreadable[:_MAX_LISTED]:
            place = f"{bad.source}, record {bad.record}" if bad.record else bad.source
            console.print(f"  {place}: {bad.reason}", markup=False, soft_wrap=True)
        if one.num_unreadable > _MAX_LISTED:
            console.print(f"  and {one.num_unreadable - _MAX_LISTED} more; --json lists all")


def _table(title: str, first: str, *, with_reference: bool, last: str | None = None) -> Table:
    table = Table(title=title)
    table.add_column(first)
    for name in ("value", "95 % interval", *(["reference"] if with_reference else [])):
        table.add_column(name, justify="right")
    if last is not None:
        table.add_column(last, justify="right")
    return table


def _figures(report: MoleculeReport) -> Table:
    title = f"{report.num_molecules} molecules, {report.num_atoms} atoms"
    ceiling = report.reference
    if ceiling is not None:
        title += f"; reference: {ceiling.num_molecules} molecules"
    table = _table(title, "metric", with_reference=ceiling is not None, last="count")
    table.caption = f"RDKit {report.rdkit_version}"
    counts = _counts(report)
    for name, label in _LABELS.items():
        if name == _FIRST_PERCEIVED:
            table.add_section()
            table.add_row("[italic]bonds and charges perceived by RDKit[/italic]")
        row = [label, _percent(getattr(report, name)), _percents(report.intervals.get(name))]
        row += [_percent(getattr(ceiling, name))] if ceiling is not None else []
        table.add_row(*row, counts.get(name, ""))
    return table


def _counts(report: MoleculeReport) -> dict[str, str]:
    counts = {}
    for prefix, validity in (("", "rdkit_validity"), ("perceived_", "perceived_validity")):
        valid, unique, novel = (
            getattr(report, f"num_{prefix}{name}") for name in ("valid", "unique", "novel")
        )
        counts[validity] = f"{valid} of {report.num_molecules}"
        counts[f"{prefix}uniqueness"] = f"{unique} of {valid}"
        counts[f"{prefix}novelty"] = "no reference" if novel is None else f"{novel} of {unique}"
    return counts


def _posebusters(report: MoleculeReport, one: PoseBustersSummary) -> Table:
    ceiling = report.reference.posebusters if report.reference is not None else None
    title = f"PoseBusters {one.version}: {one.num_checked} molecules chosen at random (seed {one.seed})"
    table = _table(title, "check", with_reference=ceiling is not None)
    for name, value in {**one.checks, "all_passed": one.all_passed}.items():
        row = [name.replace("_", " "), _percent(value), _percents(one.intervals.get(name))]
        if ceiling is not None:
            row.append(_percent({**ceiling.checks, "all_passed": ceiling.all_passed}[name]))
        table.add_row(*row)
    return table


def _strain(report: MoleculeReport, one: StrainSummary) -> Table:
    ceiling = report.reference.strain if report.reference is not None else None
    title = (
        f"GFN2-xTB (tblite {one.version}): {one.num_converged} of {one.num_asked} molecules chosen at "
        f"random (seed {one.seed}) converged"
    )
    table = _table(title, "relaxation", with_reference=ceiling is not None)
    for name, label in _STRAIN_LABELS.items():
        row = [label, _number(getattr(one, name)), _numbers(one.intervals.get(name))]
        table.add_row(*row, *([_number(getattr(ceiling, name))] if ceiling is not None else []))
    if one.failures:
        name, reason = one.failures[0]
        table.caption = f"{len(one.failures)} failed, first {name}: {reason}"
    return table


def _distances(report: MoleculeReport) -> Table:
    table = Table(title="Distances to the reference", caption="floor: a part of the reference to its rest")
    table.add_column("distribution")
    table.add_column("distance")
    for name in ("value", "floor", "types covered"):
        table.add_column(name, justify="right")
    for name, one in (report.distributions or {}).items():
        unit = f" in {one.unit}" if one.unit else ""
        metric = one.metric.replace("_", " ")
        row = [f"{metric}{unit}", _number(one.distance), _number(one.floor)]
        table.add_row(name.replace("_", " "), *row, _percent(one.covered))
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def _percents(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{100 * interval[0]:.2f} – {100 * interval[1]:.2f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _numbers(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4g} – {interval[1]:.4g}"
