"""`geograph evaluate molecules`: table, JSON, errors in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from geograph.cli_evaluate import evaluate_app
from geograph.interop.molecule_files import write_molecules
from geograph.records import Molecule


@pytest.fixture
def molecules(tmp_path: Path) -> Path:
    path = tmp_path / "molecules.extxyz"
    hydrogen = Molecule(z=np.array([1, 1]), pos=np.array([[0.0, 0, 0], [0.74, 0, 0]]), id="H2")
    fluoride = Molecule(z=np.array([1, 9]), pos=np.array([[0.0, 0, 0], [0.92, 0, 0]]), id="HF")
    write_molecules(path, [hydrogen, fluoride])
    return path


def test_prints_and_writes(molecules: Path, tmp_path: Path) -> None:
    (tmp_path / "known.smi").write_text("[H][H] hydrogen\n\n")
    arguments = ["molecules", str(molecules), "--reference", str(tmp_path / "known.smi")]
    arguments += ["--json", str(tmp_path / "out" / "figures.json"), "--table", str(tmp_path / "rows.csv")]
    result = CliRunner().invoke(evaluate_app, arguments)
    assert result.exit_code == 0, result.output
    assert "2 molecules, 4 atoms" in result.output
    assert "100.00 %" in result.output
    values = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert (values["molecule_stability"], values["novelty"], values["num_novel"]) == (1.0, 0.5, 1)
    assert (tmp_path / "rows.csv").read_text().startswith("id,num_atoms,stable")


def test_reference_may_be_a_molecule_file(molecules: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = ["molecules", str(molecules), "--reference", str(molecules), "--json", str(out)]
    assert CliRunner().invoke(evaluate_app, arguments).exit_code == 0
    assert json.loads(out.read_text())["novelty"] == 0.0


def test_without_reference_novelty_is_null(molecules: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    result = CliRunner().invoke(evaluate_app, ["molecules", str(molecules), "--json", str(out)])
    assert "no reference" in result.output
    assert json.loads(out.read_text())["novelty"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.sdf"], "error: none.sdf: no such file; check the path."),
        (["{molecules}", "--reference", "none.smi"], "error: none.smi: no such file; check the path."),
        (["{molecules}", "--page", "page.pdf"], "error: `--page` must end in .html, got 'page.pdf'"),
        (["{empty}"], "error: {empty}: no molecules in the file; check that it was written to its end."),
        (["{words}"], "error: {words}: not a molecule file that can be read: unknown suffix '.dat'"),
        (["{molecules}", "--table", "rows.xlsx"], "error: `path` of the table must end in .csv or .parquet"),
    ],
)
def test_errors_are_one_line(molecules: Path, arguments: list[str], message: str) -> None:
    places = {
        "molecules": molecules,
        "empty": molecules.parent / "e.sdf",
        "words": molecules.parent / "w.dat",
    }
    places["empty"].write_text("")
    places["words"].write_text("some words\n")
    filled = [argument.format(**places) for argument in arguments]
    message = message.format(**places)
    result = CliRunner().invoke(evaluate_app, ["molecules", *filled])
    assert result.exit_code == 1
    assert result.output.startswith(message)
    assert len(result.output.splitlines()) == 1


def test_reference_file_gives_a_second_column_and_distances(molecules: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = ["molecules", str(molecules), "--reference", str(molecules), "--json", str(out)]
    result = CliRunner().invoke(evaluate_app, [*arguments, "--resamples", "50"])
    assert result.exit_code == 0, result.output
    for text in (
        "reference: 2 molecules",
        "Distances to the reference",
        "95 % interval",
        "perceived by RDKit",
    ):
        assert text in result.output
    values = json.loads(out.read_text())
    assert values["reference"]["molecule_stability"] == 1.0
    assert values["distributions"]["bond_lengths"]["distance"] == pytest.approx(0.0, abs=1e-12)
    assert values["intervals"]["molecule_stability"] == [1.0, 1.0]


def corrupt(tmp_path: Path, molecules: Path) -> Path:
    path = tmp_path / "corrupt.extxyz"
    path.write_text(molecules.read_text() + "2\ncut\nH 0 0 0\n")
    return path


def test_unreadable_records_are_listed_and_the_rest_judged(molecules: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    (tmp_path / "empty.sdf").write_text("")
    files = [str(corrupt(tmp_path, molecules)), str(tmp_path / "empty.sdf")]
    result = CliRunner().invoke(evaluate_app, ["molecules", *files, "--json", str(out)])
    assert result.exit_code == 0, result.output
    assert "2 unreadable, in none of the figures" in result.output
    assert "corrupt.extxyz, record 2: 2 atoms announced, 1 there" in result.output
    assert "empty.sdf: no molecules in the file" in result.output
    values = json.loads(out.read_text())
    assert (values["num_unreadable"], values["num_molecules"]) == (2, 2)
    assert [one["record"] for one in values["unreadable"]] == ["2", ""]


def test_strict_refuses_unreadable_records(molecules: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(evaluate_app, ["molecules", str(corrupt(tmp_path, molecules)), "--strict"])
    assert result.exit_code == 1
    assert "corrupt.extxyz, record 2: 2 atoms announced, 1 there" in result.output


def test_unreadable_reference_records_are_listed(molecules: Path, tmp_path: Path) -> None:
    arguments = ["molecules", str(molecules), "--reference", str(corrupt(tmp_path, molecules))]
    result = CliRunner().invoke(evaluate_app, arguments)
    assert result.exit_code == 0, result.output
    assert "1 unreadable of the reference" in result.output


def test_samples_for_posebusters_and_strain(molecules: Path) -> None:
    pytest.importorskip("posebusters", reason="posebusters is not installed")
    pytest.importorskip("tblite", reason="tblite is not installed")
    arguments = ["molecules", str(molecules), "--posebusters", "1", "--strain", "2", "--seed", "3"]
    result = CliRunner().invoke(evaluate_app, arguments)
    assert result.exit_code == 0, result.output
    for text in ("1 molecules chosen at random (seed 3)", "2 of 2 molecules chosen", "internal energy"):
        assert text in " ".join(result.output.split())
    assert "strain in kcal/mol, median" in " ".join(result.output.split())


def test_writes_a_page(molecules: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    result = CliRunner().invoke(evaluate_app, ["molecules", str(molecules), "--page", str(page)])
    assert result.exit_code == 0, result.output
    assert page.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html")
