"""`geograph evaluate`: judge molecules, or ranked lists of shapes, in files from any program."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geograph.cli_evaluate_retrieval import evaluate_retrieval_command
from geograph.errors import ConfigError, DataError, GeographError

if TYPE_CHECKING:
    from geograph.interop.molecule_report import MoleculeReport, Unreadable
    from geograph.records import Molecule

evaluate_app = typer.Typer(help="Judge what models made.", no_args_is_help=True)
evaluate_app.command("retrieval")(evaluate_retrieval_command)

_SMILES_SUFFIXES = (".smi", ".smiles", ".txt")


@evaluate_app.callback()
def _group() -> None:
    """Judge what models made."""


@evaluate_app.command("molecules")
def evaluate_molecules_command(
    files: Annotated[list[Path], typer.Argument(help="SDF, xyz, extxyz, ASE db, zip of them, or .gz.")],
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            help="Known molecules: a molecule file gives novelty, distances of distributions and the same "
            "figures of itself; .smi/.txt with one SMILES per line gives novelty."
        ),
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures here, as JSON.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Write one row per molecule here: .parquet or .csv.")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Write an HTML page of the molecules here.")] = None,
    posebusters: Annotated[
        int, typer.Option(min=0, help="Check a random sample of this many by PoseBusters.")
    ] = 0,
    strain: Annotated[int, typer.Option(min=0, help="Relax a random sample of this many with GFN2-xTB.")] = 0,
    charge: Annotated[int, typer.Option(help="Total charge of every molecule.")] = 0,
    resamples: Annotated[int, typer.Option(min=0, help="Bootstrap resamples; 0: no intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the samples and resamples.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse files with an unreadable record.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Report stability, validity, novelty, geometry and strain, from atoms and positions alone."""
    from geograph.interop.molecule_metrics import evaluate_molecules

    try:
        _check_outputs(table, page)
        molecules, unreadable = _read(files, strict)
        known, smiles, unknown = _read_reference(reference or [], strict)
        report = evaluate_molecules(
            molecules,
            reference=known or None,
            reference_smiles=smiles,
            num_workers=workers,
            num_posebusters=posebusters,
            num_strain=strain,
            num_resamples=resamples,
            seed=seed,
            charge=charge,
            unreadable=unreadable,
        )
        if report.reference is not None:
            ceiling = replace(report.reference, unreadable=tuple(unknown), num_unreadable=len(unknown))
            report = replace(report, reference=ceiling)
        _write(report, molecules, json_out, table, page)
    except GeographError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    from geograph.cli_evaluate_tables import print_report

    print_report(report)


def _check_outputs(table: Path | None, page: Path | None) -> None:
    """Refuse what could not be written before an hour is spent on it."""
    from geograph.interop.molecule_report import check_table_path

    if table is not None:
        check_table_path(table)
    if page is not None and page.suffix not in (".html", ".htm"):
        raise ConfigError(f"`--page` must end in .html, got {page.name!r}")


def _read(files: list[Path], strict: bool) -> tuple[list[Molecule], list[Unreadable]]:
    from geograph.interop.molecule_files import read_molecule_files
    from geograph.interop.molecule_report import Unreadable

    unreadable: list[Unreadable] = []

    def note(error: DataError) -> None:
        record = "" if error.record is None else str(error.record)
        unreadable.append(Unreadable(str(error.source), record, error.what))

    return read_molecule_files(files, on_error=None if strict else note), unreadable


def _read_reference(
    paths: list[Path], strict: bool
) -> tuple[list[Molecule], list[str] | None, list[Unreadable]]:
    """Return the reference molecules, SMILES from lists (None without any), and what was unreadable."""
    lists = [path for path in paths if path.suffix.lower() in _SMILES_SUFFIXES]
    files = [path for path in paths if path not in lists]
    smiles: list[str] | None = [] if lists else None
    for path in lists:
        if not path.is_file():
            raise DataError("no such file", source=path, remedy="check the path")
        lines = path.read_text(encoding="utf-8").splitlines()
        smiles = [*(smiles or []), *(line.split()[0] for line in lines if line.strip())]
    molecules, unreadable = _read(files, strict) if files else ([], [])
    return molecules, smiles, unreadable


def _write(
    report: MoleculeReport,
    molecules: list[Molecule],
    json_out: Path | None,
    table: Path | None,
    page: Path | None,
) -> None:
    if table is not None:
        report.write_table(table)
    if json_out is not None:
        json_out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report.to_json(), indent=2, allow_nan=False)
        json_out.write_text(text + "\n", encoding="utf-8")
    if page is not None:
        from geograph.interop.molecule_page import write_page

        page.parent.mkdir(parents=True, exist_ok=True)
        write_page(page, molecules, report=report)
