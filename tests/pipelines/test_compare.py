"""The stage compare on hand-written measurements: rows, documents, figures, and what `show` prints."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from file_access import FileAccess, watch_files
from rich.console import Console

from geograph.interop.molecule_files import write_molecules
from geograph.records import Molecule
from pipelines import compare, show
from pipelines.params import Params, Tracking, load_params
from pipelines.stage import write_metrics

KEYS = (
    "task", "dataset", "num_train", "model", "metric", "value", "unit",
    "num_parameters", "ms_per_item", "peak_mb", "equivariance_error", "train_s", "mlflow_run_id", "source",
    "run",
)  # fmt: skip
MEASURED: dict[str, dict[str, float]] = {
    "regression": {"mae_energy_ev": 0.5, "rmse_energy_ev": 0.7, "mae_gap_ev": 0.3},
    "classification": {"accuracy": 0.9, "auc": 0.95, "rejection_at_0.3": 120.0},
    "trajectory": {"mse": 0.02, "mse_linear": 0.05},
    "generation": {"nll": -50.0, "nll_given_size": -52.0},
}
CLASSES = {
    "jets": ["QCD", "top"],
    "jets-sphere": ["QCD", "top"],
    "meshes": ["box", "ball", "tube"],
    "meshes-sphere": ["box", "ball", "tube"],
    "digits-sphere": ["0", "1", "2"],
    "cmb-sphere": ["Gaussian", "non-Gaussian"],
    "cmb-low": ["Gaussian", "non-Gaussian"],
    "cmb-scattering": ["Gaussian", "non-Gaussian"],
}


def predictions(kind: str, dataset: str) -> dict[str, np.ndarray]:
    """Per-graph terms of twelve graphs as the stage evaluate writes them."""
    generator = np.random.default_rng(0)
    if kind == "regression":
        truth = generator.standard_normal((12, 2))
        return {"target": truth, "prediction": truth + 0.1}
    if kind == "classification":
        count = len(CLASSES[dataset])
        return {"logits": generator.standard_normal((12, count)), "label": np.arange(12) % count}
    return {"loss": generator.random(12)}


def write_run(params: Params, name: str, number: int) -> None:
    run = params.runs[name]
    write_metrics(f"metrics/train/{name}.json", {"num_train": 80, "train_s": 12.5, "best_val_loss": 0.1})
    costs = {"num_parameters": 100 + number, "ms_per_item": 0.5, "peak_mb": 200.0, "equivariance_error": 1e-6}
    sizes = {"loss": 0.2, "num_test": 12, "num_train": 80}
    write_metrics(f"metrics/evaluate/{name}.json", MEASURED[run.task.kind] | sizes | costs)
    record = {"run_id": f"{number:032x}", "experiment": "x", "wall_s": 13.0}
    write_metrics(f"metrics/runs/train-{name}.json", record)
    history = Path("plots/history") / f"{name}.csv"
    history.parent.mkdir(parents=True, exist_ok=True)
    history.write_text("epoch,train/loss,val/loss\n0,2.0,\n1,1.0,1.5\n")
    Path("models").mkdir(exist_ok=True)
    np.savez_compressed(f"models/{name}-predictions.npz", **predictions(run.task.kind, run.dataset))


def write_all(params: Params) -> None:
    for number, name in enumerate(params.runs):
        write_run(params, name, number)
    for name in params.sample:
        write_metrics(f"metrics/sample/{name}.json", {"molecule_stability": 0.4, "ms_per_item": 70.0})
        water = Molecule(np.array([8, 1, 1]), np.array([[0.0, 0, 0.1], [0, 0.76, -0.5], [0, -0.76, -0.5]]))
        folder = Path("samples") / name
        folder.mkdir(parents=True)
        write_molecules(folder / "molecules.extxyz", [water] * 3)
    for dataset, names in CLASSES.items():
        write_metrics(
            f"data/processed/{dataset}/manifest.json", {"attributes": {"class_names": names}, "fields": {}}
        )


@pytest.fixture(scope="module")
def params() -> Params:
    loaded = load_params(Path(__file__).with_name("params_tiny.yaml"))
    return loaded.model_copy(update={"tracking": Tracking(enabled=False)})


@pytest.fixture(scope="module")
def compared(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileAccess]:
    """Compare all runs of the parameter file once; the tests then look at what came out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("compare"))
        write_all(params)
        with watch_files() as access:
            compare.run(params, "all")
        yield access


def rows() -> list[dict[str, Any]]:
    return json.loads(Path("reports/compare.json").read_text())


def test_rows_have_exactly_these_keys(compared: FileAccess) -> None:
    assert {tuple(row) for row in rows()} == {KEYS}


def test_every_run_has_its_metrics_and_costs(compared: FileAccess, params: Params) -> None:
    ours = [row for row in rows() if row["source"] == "this run"]
    for number, run in enumerate(params.runs.values()):
        mine = [row for row in ours if row["mlflow_run_id"] == f"{number:032x}"]
        wanted = set(MEASURED[run.task.kind])
        wanted |= {"molecule_stability"} if run.task.kind == "generation" else set()
        assert {row["metric"] for row in mine} == wanted
        for row in mine:
            place = (row["task"], row["dataset"], row["model"])
            # What is made of the same records stands in one table.
            records = run.dataset.split("-")[0]
            assert place == (f"{records}-{run.task.kind}", run.dataset, run.model.name)
            assert (row["num_train"], row["num_parameters"], row["train_s"]) == (80, 100 + number, 12.5)
            assert (row["ms_per_item"], row["peak_mb"], row["equivariance_error"]) == (0.5, 200.0, 1e-6)
    units = {row["metric"]: row["unit"] for row in ours}
    assert (units["mae_energy_ev"], units["auc"], units["nll"]) == ("eV", "1", "nats")


def test_published_rows_stand_beside_ours(compared: FileAccess) -> None:
    published = {row["task"] for row in rows() if row["source"] != "this run"}
    assert published == {"jets-classification", "molecules-generation", "nbody-trajectory"}
    found = [row for row in rows() if row["model"] == "LorentzNet" and row["metric"] == "auc"]
    assert [(row["task"], row["value"]) for row in found] == [("jets-classification", 0.9868)]
    assert found[0]["source"].startswith("Gong")


def test_documents_and_figures(compared: FileAccess, params: Params) -> None:
    text = Path("reports/compare.md").read_text()
    page = Path("reports/compare.html").read_text()
    for run in params.runs.values():
        assert f"## {run.dataset.split('-')[0]}-{run.task.kind}" in text
        assert run.model.name in page
    names = {path.name for path in Path("reports/figures").iterdir()}
    assert {
        "jets-classification-learning.png", "jets-classification-roc.png", "meshes-egnn-confusion.png",
        "molecules-egnn-energy.png", "molecules-egnn-gap.png", "molecules-edm-molecules.png",
        "nbody-trajectory-learning.png",
    } <= names  # fmt: skip
    for name in names:
        assert f"figures/{name}" in text
        assert (Path("reports/figures") / name).read_bytes().startswith(b"\x89PNG")
    assert 'src="data:image/png;base64,' in page


def test_reads_and_writes_what_dvc_says(compared: FileAccess) -> None:
    file = Path(__file__).resolve().parents[2] / "dvc.yaml"
    about = yaml.safe_load(file.read_text(encoding="utf-8"))["stages"]["compare"]
    writes = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in about["outs"]]
    # `metrics/runs` holds wall times and run ids, which differ each time: a record, no dependency.
    assert compared.unexpected("read", [*about["deps"], *writes, "metrics/runs"]) == []
    assert compared.unexpected("written", [*writes, "metrics/runs"]) == []


def test_comparing_again_gives_the_same_rows(compared: FileAccess, params: Params) -> None:
    stale = Path("reports/figures/stale.png")
    stale.write_bytes(b"")
    before = Path("reports/compare.json").read_bytes()
    compare.run(params, "all")
    assert Path("reports/compare.json").read_bytes() == before
    assert not stale.exists()


def test_champions(compared: FileAccess, params: Params) -> None:
    ours = rows()
    for row in ours:
        if row["model"] == "lorentznet" and row["metric"] == "accuracy":
            row["value"] = 0.99
        if row["model"] == "cgenn-nbody" and row["metric"] == "mse":
            row["value"] = 0.001
    best = compare.champions(params, ours)
    numbers = {name: f"{number:032x}" for number, name in enumerate(params.runs)}
    assert best == {
        "molecules-regression": numbers["molecules-egnn"],
        "jets-classification": numbers["jets-lorentznet"],
        "meshes-classification": numbers["meshes-egnn"],
        "nbody-trajectory": numbers["nbody-cgenn"],
        "cmb-classification": numbers["cmb-sphere-zonal"],
        "digits-classification": numbers["digits-sphere-s2cnn"],
    }


def test_show_prints_every_task(compared: FileAccess, params: Params) -> None:
    stream = io.StringIO()
    show.show(Path("reports/compare.json"), Console(file=stream, width=160))
    printed = stream.getvalue()
    for run in params.runs.values():
        assert f"{run.dataset.split('-')[0]}-{run.task.kind}" in printed
        assert run.model.name in printed
    assert "MAE energy [eV]" in printed
    assert "LorentzNet" in printed


def test_show_from_the_command_line(
    compared: FileAccess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["show"])
    show.main()
    assert "reports/compare.html" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["show", "--times"])
    show.main()
    assert "train-jets-egnn" in capsys.readouterr().out


def test_show_before_anything_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["show"])
    with pytest.raises(SystemExit) as stopped:
        show.main()
    assert stopped.value.code == 1
    assert "reports/compare.json is not there yet; run make repro" in capsys.readouterr().err
