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
        (["{molecules}", "--table", "rows.xlsx"], "error: `path` of the table must end in .csv or .parquet"),
    ],
)
def test_errors_are_one_line(molecules: Path, arguments: list[str], message: str) -> None:
    filled = [argument.format(molecules=molecules) for argument in arguments]
    result = CliRunner().invoke(evaluate_app, ["molecules", *filled])
    assert result.exit_code == 1
    assert result.output.startswith(message)
    assert len(result.output.splitlines()) == 1
