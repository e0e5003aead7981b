"""`geograph evaluate`: judge molecules in files from any program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from geograph.errors import GeographError

if TYPE_CHECKING:
    from geograph.interop.molecule_metrics import MoleculeReport

evaluate_app = typer.Typer(help="Judge what models made.", no_args_is_help=True)

_SMILES_SUFFIXES = (".smi", ".smiles", ".txt")
_LABELS = {
    "atom_stability": "atoms stable (published bond-length rule)",
    "molecule_stability": "molecules stable (published bond-length rule)",
    "rdkit_validity": "valid (RDKit, largest fragment)",
    "uniqueness": "unique among the valid",
    "novelty": "novel among the unique",
    "connected": "connected (one fragment)",
}


@evaluate_app.callback()
def _group() -> None:
    """Judge what models made."""


@evaluate_app.command("molecules")
def evaluate_molecules_command(
    files: Annotated[list[Path], typer.Argument(help="SDF, xyz, extxyz, ASE db, or zip of them.")],
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            help="Known molecules, for novelty: molecule files, or .smi/.txt with one SMILES per line."
        ),
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures here, as JSON.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Write one row per molecule here: .parquet or .csv.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Report stability, validity, uniqueness and novelty of molecules, from atoms and positions alone."""
    from geograph.interop.molecule_files import read_molecule_files
    from geograph.interop.molecule_metrics import evaluate_molecules

    try:
        molecules = read_molecule_files(files)
        known = _reference_smiles(reference, workers) if reference else None
        report = evaluate_molecules(molecules, reference_smiles=known, num_workers=workers)
        if table is not None:
            report.write_table(table)
        if json_out is not None:
            json_out.parent.mkdir(parents=True, exist_ok=True)
            json_out.write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")
    except GeographError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    Console().print(_rich_table(report))


def _reference_smiles(paths: list[Path], num_workers: int) -> list[str]:
    from geograph.errors import DataError
    from geograph.interop.molecule_files import read_molecule_files
    from geograph.interop.molecule_metrics import smiles_of

    smiles: list[str] = []
    for path in paths:
        if path.suffix.lower() not in _SMILES_SUFFIXES:
            smiles += smiles_of(read_molecule_files(path), num_workers=num_workers)
        elif path.is_file():
            smiles += [
                line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
            ]
        else:
            raise DataError("no such file", source=path, remedy="check the path")
    return smiles


def _rich_table(report: MoleculeReport) -> Table:
    values = report.to_json()
    title = f"{report.num_molecules} molecules, {report.num_atoms} atoms"
    table = Table(title=title, caption=f"RDKit {report.rdkit_version}")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("count", justify="right")
    counts = {
        "rdkit_validity": f"{report.num_valid} of {report.num_molecules}",
        "uniqueness": f"{report.num_unique} of {report.num_valid}",
        "novelty": "no reference"
        if report.num_novel is None
        else f"{report.num_novel} of {report.num_unique}",
    }
    for name, label in _LABELS.items():
        value = values[name]
        table.add_row(label, "–" if value is None else f"{100 * float(value):.2f} %", counts.get(name, ""))
    return table
