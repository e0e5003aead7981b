from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from tiny_training import TinyLoader, molecule_batch, register, tiny_task, train
from torch_geometric.data import Data

from geograph import models
from geograph.errors import ConfigError, DataError
from geograph.training.checkpoint import load_checkpoint, save_checkpoint
from geograph.training.provenance import flatten, json_safe, md5_of, run_tags
from geograph.training.serving import predictor
from geograph.training.tracking import (
    Tracker,
    TrackingWarning,
    default_uri,
    initialise,
    set_alias,
    stored_run_id,
)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    table = dict(models.MODELS)
    register(table)
    monkeypatch.setattr(models, "MODELS", table)
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)


def table_of(numbers: list[int]) -> pd.DataFrame:
    batches = [molecule_batch([number]) for number in numbers]
    return pd.DataFrame({"z": [b.z.tolist() for b in batches], "pos": [b.pos.tolist() for b in batches]})


def example() -> Data:
    """Two molecules without edges, which the tiny model does not read."""
    batch = molecule_batch([1, 2])
    batch.ptr = torch.tensor([0, 3, 7])
    batch.edge_index = torch.zeros(2, 0, dtype=torch.int64)
    return batch


def test_run_is_recorded_resumed_and_served(tmp_path: Path) -> None:
    """One store for everything, since making it takes seconds."""
    uri = default_uri(tmp_path)
    initialise(uri)
    initialise(uri)
    run_file = tmp_path / "out" / "mlflow_run.json"
    options = {"experiment": "molecules", "run_name": "train@tiny", "run_file": run_file}
    long = "x" * 7000
    with Tracker.start(
        uri,
        **options,
        tags={"dvc.stage": "train@tiny"},
        params={"model": {"name": "tiny", "widths": [1, 2]}, "long": long},
        inputs=[("molecules", "0123456789abcdef", "data/processed")],
    ) as tracker:
        result = train(tmp_path / "out", TinyLoader(), max_epochs=2, tracker=tracker)
        tracker.log_metrics({"bad": float("nan"), "good": 1.0})
        figure = Figure()
        figure.subplots().plot([0, 1])
        tracker.log_figure(figure, "plots/line.png")
        tracker.log_dict({"value": float("inf")}, "values.json")
        tracker.log_artifact(run_file, "files")
        tracker.set_tags({"note": "kept"})
        uri_of_model = tracker.log_model(result.best, example(), registered_name="tiny", alias="newest")
    assert tracker.failure == ""
    set_alias(uri, "tiny", "champion", 1)
    check_store(uri, tracker.run_id, tmp_path)
    check_model(uri, uri_of_model, result.best)
    with pytest.raises(RuntimeError, match="on purpose"), Tracker.start(uri, **options) as again:
        raise RuntimeError("on purpose")
    assert again.run_id == tracker.run_id == json.loads(run_file.read_text())["run_id"]
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    assert client.get_run(again.run_id).info.status == "FAILED"
    assert stored_run_id(run_file, uri) == again.run_id
    assert stored_run_id(run_file, uri, "other configuration") is None
    assert stored_run_id(run_file, "sqlite:///elsewhere.db") is None
    client.delete_run(again.run_id)
    assert stored_run_id(run_file, uri) is None
    run_file.write_text(json.dumps({"run_id": "0" * 32, "uri": uri}))
    assert stored_run_id(run_file, uri) is None


def check_store(uri: str, run_id: str, root: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "train@tiny"
    assert run.info.artifact_uri.startswith((root / "mlartifacts" / "molecules").as_uri())
    assert run.data.params["model.name"] == "tiny"
    assert run.data.params["model.widths"] == "[1, 2]"
    assert run.data.params["long"] == "7000 characters, see the artifact params/long.txt"
    assert (run.data.tags["dvc.stage"], run.data.tags["note"]) == ("train@tiny", "kept")
    assert [metric.step for metric in client.get_metric_history(run_id, "val/loss")] == [0, 1]
    assert "good" in run.data.metrics
    assert "bad" not in run.data.metrics
    dataset = run.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("molecules", "0123456789abcdef")
    folder = Path(client.download_artifacts(run_id, ""))
    assert (folder / "params" / "long.txt").read_text() == "x" * 7000
    assert json.loads((folder / "values.json").read_text()) == {"value": None}
    assert (folder / "plots" / "line.png").is_file()
    assert (folder / "files" / "mlflow_run.json").is_file()


def check_model(uri: str, model_uri: str, checkpoint: Path) -> None:
    import mlflow
    from mlflow import MlflowClient

    client = MlflowClient(uri, registry_uri=uri)
    for alias in ("newest", "champion"):
        assert client.get_model_version_by_alias("tiny", alias).version in (1, "1")
    mlflow.set_tracking_uri(uri)
    try:
        info = mlflow.models.get_model_info(model_uri)
    finally:
        mlflow.set_tracking_uri(None)
    assert info.signature.inputs.input_names() == ["z", "pos", "molblock", "xyz", "smiles", "edge_index"]
    assert info.signature.outputs.input_names() == ["energy_ev"]
    table = table_of([4, 5])
    predicted = predictor(load_checkpoint(checkpoint).task).predict(table)[["energy_ev"]].to_numpy().tolist()
    expected = load_checkpoint(checkpoint).task.predict(molecule_batch([4, 5]))
    assert torch.tensor(predicted, dtype=torch.float64) == pytest.approx(expected.detach(), rel=1e-6)


def use_every_call(uri: str, folder: Path) -> Tracker:
    with Tracker.start(uri, "e", "r", params={"a": 1}, inputs=[("d", "1", "s")]) as tracker:
        tracker.log_metrics({"a": 1.0})
        tracker.log_params({"a": 1})
        tracker.log_text("text", "a.txt")
        tracker.set_tags({"a": "b"})
        path = save_checkpoint(folder / "best.pt", tiny_task())
        assert tracker.log_model(path, example()) == ""
        tracker.log_artifact(path)
    return tracker


def test_store_that_cannot_be_reached_gives_one_warning(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    with pytest.warns(TrackingWarning, match="could not start a run at http://.*goes on") as record:
        tracker = use_every_call(uri, tmp_path)
    assert len(record) == 1
    assert "ConnectionRefusedError" in tracker.failure
    assert tracker.run_id == ""


def test_artifact_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`path` of an artifact must exist, got"):
        Tracker("sqlite:///unused.db").log_artifact(tmp_path / "absent")


def test_default_uri_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("DVC_ROOT", "/main")
    assert default_uri() == "sqlite:////main/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert default_uri(tmp_path) == "http://server"


def test_tags_name_stage_commit_and_digests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setenv("DVC_STAGE", "train@tiny")
    monkeypatch.chdir(tmp_path)
    tags = run_tags(tmp_path, deps=["a.txt"])
    assert len(tags["mlflow.source.git.commit"]) == 40
    assert (tags["git.dirty"], tags["dvc.stage"]) == ("false", "train@tiny")
    assert tags["dep.a.txt"] == "f97c5d29941bfb1b2fdab0874906ab82"
    (tmp_path / "a.txt").write_text("two")
    assert run_tags(tmp_path)["git.dirty"] == "true"
    folder = md5_of(tmp_path / ".git" / "refs")
    assert folder == md5_of(tmp_path / ".git" / "refs")
    with pytest.raises(DataError, match="absent: dependency is missing"):
        md5_of(tmp_path / "absent")


def test_flatten_and_json_values() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": []}, "e": {}}) == {"a.b.c": 1, "a.d": [], "e": {}}
    assert json_safe({"a": (1, float("nan")), "b": torch.ones(1), "c": Path("x")}) == {
        "a": [1, None],
        "b": [1.0],
        "c": "x",
    }
