"""`geograph evaluate retrieval`: judge ranked lists in the file layout of the SHREC retrieval tracks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geograph.errors import DataError, GeographError

if TYPE_CHECKING:
    from geograph.interop.retrieval_report import RetrievalReport

_LABELS = {
    "precision_at_n": "P@N",
    "recall_at_n": "R@N",
    "f1_at_n": "F1@N",
    "map": "mAP",
    "ndcg_binary": "NDCG, same category",
    "ndcg_graded": "NDCG, graded by sub-category (the competition's)",
}
_REASONS = {
    "unknown_queries": "files that are no query of the split",
    "beyond_limit": "lines after the first 1000 of a file",
    "duplicates": "lines with an object that was there already",
    "unknown_results": "lines with an object that is none of the split",
}


def evaluate_retrieval_command(
    folder: Annotated[
        Path,
        typer.Argument(
            help="One file for each query with lines `id distance`; or folders of them called test_normal, "
            "val_perturbed and so on; or a zip of either."
        ),
    ],
    truth: Annotated[
        Path, typer.Option(help="CSV with the columns id, synsetId and, if any, subSynsetId and split.")
    ],
    split: Annotated[
        str | None, typer.Option(help="Of the queries; without it the first part of the folder's name.")
    ] = None,
    missing_as_zero: Annotated[
        bool, typer.Option("--missing-as-zero", help="Give zeros to queries that have no file.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse files with anything that would be left out.")
    ] = False,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures here, as JSON.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Write a CSV with the averages and a row for each category here.")
    ] = None,
) -> None:
    """Report P@N, R@N, F1@N, mAP and NDCG of shape retrieval, over queries and over categories."""
    from geograph.interop.retrieval_report import evaluate_folder, write_table
    from geograph.interop.retrieval_truth import read_truth

    try:
        reports = evaluate_folder(folder, read_truth(truth), split=split, missing_count=missing_as_zero)
        if strict:
            _refuse(folder, reports)
        if json_out is not None:
            json_out.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps([one.to_json() for one in reports], indent=2, allow_nan=False)
            json_out.write_text(text + "\n", encoding="utf-8")
        if table is not None:
            write_table(table, reports)
    except GeographError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    for report in reports:
        _print(report)


def _refuse(folder: Path, reports: list[RetrievalReport]) -> None:
    for report in reports:
        found = {**vars(report.ignored), "missing": report.num_missing}
        if any(found.values()):
            text = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found.items() if count)
            remedy = "mend the files, or leave `--strict` away to see what counts"
            raise DataError(f"{report.dataset} has {text}", source=folder, remedy=remedy)


def _print(report: RetrievalReport) -> None:
    from rich.console import Console
    from rich.table import Table

    of_split = f" of split {report.split}" if report.split is not None else ""
    table = Table(title=f"{report.dataset}: {report.num_queries} queries{of_split}")
    table.add_column("measure")
    for name in ("micro (over queries)", f"macro (over {len(report.per_category)} categories)"):
        table.add_column(name, justify="right")
    for name, label in _LABELS.items():
        if f"{name}_micro" in report.averages:
            table.add_row(label, *(f"{report.averages[f'{name}_{kind}']:.4f}" for kind in ("micro", "macro")))
    console = Console()
    console.print(table)
    if report.num_missing:
        how = "count as zero" if report.missing_count else "are in no average, as in the competition"
        console.print(f"{report.num_missing} queries have no file and {how}.")
    for name, reason in _REASONS.items():
        if count := getattr(report.ignored, name):
            console.print(f"{count} {reason}: left out.")
    if report.ignored.unordered:
        count = report.ignored.unordered
        console.print(f"{count} files with falling distances: the order of the lines counts.")
