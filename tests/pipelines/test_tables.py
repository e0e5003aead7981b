"""Rows of the comparison: ours, published, units, and strict JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from geograph.errors import DataError
from geograph.units import KCAL_PER_MOL_EV
from pipelines.tables import (
    PUBLISHED_TABLES,
    ROW_KEYS,
    label_of,
    load_published,
    published_table,
    rows_from_metrics,
    unit_of,
    write_json,
)

PUBLISHED = Path(__file__).resolve().parents[2] / "data" / "published.yaml"


def entry(**more: object) -> dict[str, object]:
    metrics = {"auc": 0.97, "rejection_at_0.3": 120.0, "num_parameters": 224072, "rdkit_version": "x"}
    return {"task": "jets-class", "dataset": "jets", "model": "lorentznet", "metrics": metrics} | more


def test_committed_file_has_every_table() -> None:
    tables = load_published(PUBLISHED)
    assert tables.keys() == PUBLISHED_TABLES.keys()
    assert all(
        rows and set(row) == set(ROW_KEYS) and row["source"] for rows in tables.values() for row in rows
    )


def test_published_values_carry_our_names_and_units() -> None:
    tables = load_published(PUBLISHED)
    found = {(row["model"], row["metric"]): row for row in tables["top_tagging"]}
    assert found["LorentzNet", "rejection_at_0.3"]["value"] == 2195
    assert found["LorentzNet", "auc"]["num_parameters"] == 224000
    assert found["CGENN", "auc"]["source"].startswith("Ruhe")
    molecules = {(row["model"], row["metric"]): row["value"] for row in tables["molecule_generation_qm9"]}
    assert molecules["EDM", "molecule_stability"] == pytest.approx(0.82)
    assert ("G-SchNet", "nll") not in molecules
    assert {row["unit"] for row in tables["qm7_atomization_energy"]} == {"kcal/mol"}
    assert {row["metric"] for row in tables["nbody_mse"]} == {"mse"}


def test_rows_have_all_keys_and_costs_are_not_metrics() -> None:
    rows = rows_from_metrics([entry(num_train=4000, train_s=93.0, mlflow_run_id="abc")])
    assert [tuple(row) for row in rows] == [ROW_KEYS, ROW_KEYS]
    assert [row["metric"] for row in rows] == ["auc", "rejection_at_0.3"]
    about = {
        "num_parameters": 224072,
        "train_s": 93.0,
        "num_train": 4000,
        "mlflow_run_id": "abc",
        "peak_mb": None,
    }
    assert all(about.items() <= row.items() for row in rows)
    assert {row["source"] for row in rows} == {"this run"}


def test_errors_of_qm7_stand_under_the_names_of_the_published_ones() -> None:
    found = entry(published="qm7_atomization_energy", metrics={"rmse_atomization_energy_kcal_mol": 2.5})
    rows = rows_from_metrics([found], load_published(PUBLISHED))
    assert {row["metric"] for row in rows} == {"rmse_kcal_mol"}
    assert rows[0]["value"] == 2.5


def test_published_rows_follow_ours_once() -> None:
    published = load_published(PUBLISHED)
    rows = rows_from_metrics(
        [entry(published="top_tagging"), entry(model="egnn", published="top_tagging")], published
    )
    assert [row["source"] == "this run" for row in rows[:4]] == [True] * 4
    assert len(rows) == 4 + len(published["top_tagging"])
    assert {row["task"] for row in rows} == {"jets-class"}
    assert {row["num_train"] for row in rows[4:]} == {1_200_000}


def test_qm7_errors_are_also_in_kcal_per_mol() -> None:
    name = published_table("molecules", "regression", "qm7")
    metrics = {"rmse_energy_ev": KCAL_PER_MOL_EV, "mae_energy_ev": 0.0}
    rows = rows_from_metrics([entry(metrics=metrics, published=name)], load_published(PUBLISHED))
    ours = {row["metric"]: row["value"] for row in rows if row["source"] == "this run"}
    assert ours["rmse_kcal_mol"] == pytest.approx(1.0)
    assert ours["mae_kcal_mol"] == 0.0


def test_table_of_each_task() -> None:
    assert published_table("jets", "classification", "jets") == "top_tagging"
    assert published_table("molecules", "generation", "molecules") == "molecule_generation_qm9"
    assert published_table("nbody", "trajectory", "nbody") == "nbody_mse"
    assert published_table("molecules", "regression", "molecules") is None
    assert published_table("meshes", "classification", "meshes") is None


def test_json_is_strict(tmp_path: Path) -> None:
    rows = rows_from_metrics([entry(metrics={"rejection_at_0.3": float("inf"), "novelty": None})])
    write_json(rows, tmp_path / "new" / "compare.json")
    assert [row["value"] for row in json.loads((tmp_path / "new" / "compare.json").read_text())] == [
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("metric", "unit", "label"),
    [
        ("mae_energy_ev", "eV", "MAE energy [eV]"),
        ("rmse_kcal_mol", "kcal/mol", "RMSE [kcal/mol]"),
        ("auc", "1", "AUC"),
        ("nll", "nats", "NLL [nats]"),
        ("rejection_at_0.3", "1", "rejection at 0.3"),
        ("num_unseen_sizes", "1", "num unseen sizes"),
    ],
)
def test_units(metric: str, unit: str, label: str) -> None:
    assert unit_of(metric) == unit
    assert label_of(metric) == label


def test_entry_without_its_parts() -> None:
    with pytest.raises(DataError, match="record 0: metrics without dataset, model"):
        rows_from_metrics([{"task": "a", "metrics": {}}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nbody_mse: {columns: [mse], EGNN: [1, 2]}", "record nbody_mse, EGNN: 2 values for 1 columns"),
        ("nbody_mse: {columns: [mass], EGNN: [1]}", r"record nbody_mse: unknown columns \['mass'\]"),
        ("nbody_mse: [", "not valid YAML"),
    ],
)
def test_bad_published_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=f"published.yaml.*{message}"):
        load_published(path)


def test_missing_published_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none.yaml: no such file; restore"):
        load_published(tmp_path / "none.yaml")
