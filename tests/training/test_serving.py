"""Prediction from tables, also by the command `mlflow models predict` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from strategies import make_batch
from tiny_training import register, tiny_task

from geograph import models
from geograph.errors import ConfigError, DataError
from geograph.tasks import Task, build_task
from geograph.training.checkpoint import load_checkpoint, save_checkpoint
from geograph.training.serving import _load_pyfunc as load_pyfunc
from geograph.training.serving import batch_from_table, predictor, rows_from_batch
from geograph.training.tracking.model import (
    input_example,
    pyfunc_arguments,
    requirements,
    signature_of,
)

NAMES = ["energy_ev", "gap_ev"]
STATISTICS: dict[str, Any] = {
    "target_mean": [0.5, 7.0],
    "target_std": [2.0, 1.5],
    "target_names": ["energy", "gap"],
    "target_units": ["ev", "ev"],
    "composition": {
        "atomic_numbers": [1, 6, 7, 8, 9],
        "coefficients": [[-13.0, -1036.0, -1489.0, -2043.0, -2716.0], [0.0] * 5],
        "intercept": [0.0, 0.0],
    },
}


def property_task() -> Task:
    torch.manual_seed(3)
    params = {"inputs": "molecule", "num_outputs": 2, "num_hidden": 8, "num_layers": 2}
    return build_task("regression", model="egnn", model_params=params, statistics=STATISTICS).eval()


def table(num_molecules: int = 3) -> pd.DataFrame:
    return pd.DataFrame(rows_from_batch(make_batch("molecule", num_molecules), ("z", "pos"), num_molecules))


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.map(json.dumps)


def run(*arguments: str) -> None:
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*input example was not provided")
def test_mlflow_models_predict_reads_csv_and_json(tmp_path: Path) -> None:
    """The command reads the CSV; the JSON goes to what the command calls, without a process of its own."""
    import mlflow.pyfunc
    from mlflow.pyfunc.scoring_server import _predict

    checkpoint, model = save_checkpoint(tmp_path / "best.pt", property_task()), tmp_path / "model"
    arguments = pyfunc_arguments(property_task(), checkpoint, make_batch("molecule", 2))
    del arguments["input_example"]  # validating it takes one more import
    mlflow.pyfunc.save_model(model, **arguments)
    del arguments["code_paths"]  # this process has the package already
    mlflow.pyfunc.save_model(tmp_path / "model-here", **arguments)
    frame = table()[["z", "pos"]]
    expected = predictor(property_task()).predict(frame)
    as_text(frame).to_csv(tmp_path / "in.csv", index_label="number")
    (tmp_path / "in.json").write_text(json.dumps({"dataframe_split": frame.to_dict(orient="split")}))
    files = {name: (str(tmp_path / f"in.{name}"), str(tmp_path / f"out-{name}")) for name in ("csv", "json")}
    run("-m", "mlflow", "models", "predict", "-m", str(model), "-t", "csv", "--env-manager", "local",
        "-i", files["csv"][0], "-o", files["csv"][1])  # fmt: skip
    _predict(str(tmp_path / "model-here"), *files["json"], "json")
    for _, out in files.values():
        found = pd.DataFrame(json.loads(Path(out).read_text())["predictions"])
        assert list(found.columns) == NAMES
        assert found.to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-6)


def tagger(kind: str) -> Task:
    if kind == "molecule":
        return property_task()
    params = {"jet": {"num_hidden": 8, "num_layers": 1, "num_outputs": 2}, "nbody": {"num_hidden": 8}}[kind]
    if kind == "nbody":
        return build_task(
            "trajectory", model="egnn-dynamics", model_params=params, statistics={"linear_time": 1.0}
        )
    statistics = {"class_names": ["a", "b"], "class_counts": [1, 1]}
    return build_task("classification", model="lorentznet", model_params=params, statistics=statistics)


@pytest.mark.parametrize("kind", ["molecule", "jet", "nbody"])
def test_serving_example_passes_as_mlflow_checks_it(kind: str) -> None:
    """What MLflow does with the example when it logs a model: to JSON, back, through the schema, predict."""
    from mlflow.models.utils import _enforce_schema, convert_input_example_to_serving_input
    from mlflow.pyfunc.scoring_server import infer_and_parse_data
    from mlflow.pyfunc.utils.serving_data_parser import is_unified_llm_input

    task, batch = tagger(kind).eval(), make_batch(kind, 2, seed=0)
    schema, example = signature_of(task).inputs, input_example(task, batch)
    text = convert_input_example_to_serving_input(example)
    assert text is not None
    assert not is_unified_llm_input(json.loads(text))
    served = _enforce_schema(infer_and_parse_data(json.loads(text), schema), schema)
    found = predictor(task).predict(served)
    with torch.no_grad():
        expected = predictor(task).predict(pd.DataFrame(example))
    pd.testing.assert_frame_equal(found, expected)


def test_schema_lets_lists_and_text_pass() -> None:
    from mlflow.models.utils import _enforce_schema
    from mlflow.pyfunc.scoring_server import parse_csv_input
    from mlflow.utils.proto_json_utils import dataframe_from_parsed_json

    schema, frame = signature_of(property_task()).inputs, table(2)[["z", "pos"]]
    records = dataframe_from_parsed_json(frame.to_dict(orient="records"), "records", schema)
    smiles = pd.DataFrame({"smiles": ["CO", "C"], "number": [1, 2]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlflow.models.utils._logger.warning", lambda *_: None)
        assert list(_enforce_schema(smiles, schema).columns) == ["smiles"]
    from io import StringIO

    served = parse_csv_input(StringIO(as_text(frame).to_csv(index=False)), schema)
    expected = predictor(property_task()).predict(frame)
    for given in (frame, records, served):
        found = predictor(property_task()).predict(_enforce_schema(given, schema))
        pd.testing.assert_frame_equal(found, expected)


def test_prediction_is_that_of_the_task() -> None:
    batch = make_batch("molecule", 3, dtype=torch.float32)
    frame = pd.DataFrame(rows_from_batch(batch, ("z", "pos"), 3))
    task = property_task()
    found = predictor(task).predict(frame)
    assert list(found.columns) == NAMES
    assert found.to_numpy() == pytest.approx(task.predict(batch).detach().numpy(), rel=1e-6)


def test_smiles_follow_the_seed() -> None:
    ask = predictor(property_task()).predict
    frame = pd.DataFrame({"smiles": ["CCO", "O"]})
    first, again, other = (ask(frame, params={"seed": seed}) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    pd.testing.assert_frame_equal(ask(frame), first)


def test_an_unknown_element_names_the_row() -> None:
    frame = pd.DataFrame({"smiles": ["O", "S"]})
    with pytest.raises(
        DataError, match="graph 1 of the batch: element with atomic number 16 is not in the composition"
    ):
        predictor(property_task()).predict(frame)


def test_edges_follow_the_rule_of_the_checkpoint(tmp_path: Path) -> None:
    graph = {"edges": "radius", "radius_angstrom": 1.5}
    frame = table(2).drop(columns="edge_index")
    columns = {name: frame[name].tolist() for name in frame}
    near = batch_from_table(columns, ("z", "pos"), graph=graph)
    distance = (near.pos[near.edge_index[0]] - near.pos[near.edge_index[1]]).norm(dim=1)
    everything = batch_from_table(columns, ("z", "pos"))
    assert float(distance.max()) <= 1.5
    assert 0 < near.edge_index.shape[1] < everything.edge_index.shape[1]
    assert near.edge_ptr[-1] == near.edge_index.shape[1]
    path = save_checkpoint(tmp_path / "radius.pt", property_task(), data={"graph": graph})
    assert not load_pyfunc(str(path)).predict(frame).equals(predictor(property_task()).predict(frame))
    with pytest.raises(
        ConfigError, match="must have the column `edge_index`: the model was trained on 'knn'"
    ):
        batch_from_table(columns, ("z", "pos"), graph={"edges": "knn", "k": 3})


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([[[0], [1]], None], "row 1: `edge_index` is empty; give it for all rows or none"),
        ([[[0], [1]], [[0], [5]]], "row 1: `edge_index` must name nodes from 0 to 1"),
        ([[[0], [1]], [[0, 1], [1]]], "row 1: `edge_index` must be two lists of node numbers, equally long"),
        (["[[0]]", "[]"], "row 0: `edge_index` must be two lists of node numbers, equally long"),
    ],
)
def test_broken_edges_are_refused(edges: list[Any], message: str) -> None:
    columns = {"z": [[1, 1]] * 2, "pos": [[[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]] * 2, "edge_index": edges}
    with pytest.raises(ConfigError, match=message):
        batch_from_table(columns, ("z", "pos"))


def test_table_needs_its_columns() -> None:
    with pytest.raises(ConfigError, match="the table must have the column `vel`, got pos"):
        batch_from_table({"pos": [[[0.0, 0.0, 0.0]]]}, ("pos", "vel", "charge"))
    with pytest.raises(ConfigError, match="row 0: `charge` must have 1 entries like `pos`, got 2"):
        batch_from_table({"pos": [[[0.0, 0.0, 0.0]]], "charge": [[1.0, 1.0]]}, ("pos", "charge"))
    with pytest.raises(ConfigError, match=r"row 0: `p4` must hold lists of 4 numbers, got \[1.0\]"):
        batch_from_table({"p4": [[[1.0]]]}, ("p4",))
    with pytest.raises(ConfigError, match="row 0: `charge` must hold numbers, got 'a'"):
        batch_from_table({"charge": [["a"]]}, ("charge",))


def test_table_becomes_a_batch() -> None:
    columns: dict[str, Any] = {"p4": [[[1.0, 0.0, 0.0, 1.0]] * 2, "[[2.0, 0.0, 0.0, 1.0]]"]}
    batch = batch_from_table(columns, ("p4", "is_beam"))
    assert batch.edge_index.tolist() == [[1, 0], [0, 1]]
    assert (batch.ptr.tolist(), batch.edge_ptr.tolist()) == ([0, 2, 3], [0, 1, 2, 2])
    assert (batch.is_beam.tolist(), batch.num_graphs) == ([0, 0, 0], 2)
    columns["edge_index"] = [[[0, 1], [1, 0]], [[], []]]
    assert batch_from_table(columns, ("p4",)).edge_index.tolist() == [[1, 0], [0, 1]]


def test_signature_and_requirements_follow_the_model() -> None:
    molecules, jets = property_task(), build_task("classification", model="lorentznet", model_params={})
    assert signature_of(molecules).outputs.input_names() == NAMES
    assert [column.required for column in signature_of(molecules).inputs] == [False] * 6
    assert signature_of(jets).inputs.required_input_names() == ["p4"]
    assert signature_of(jets).outputs.input_names() == ["prediction"]
    assert any(text.startswith("rdkit==") for text in requirements(molecules))
    assert not any(text.startswith("rdkit==") for text in requirements(jets))


def test_model_without_node_fields_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table_of_models = dict(models.MODELS)
    register(table_of_models)
    monkeypatch.setattr(models, "MODELS", table_of_models)
    path = save_checkpoint(tmp_path / "best.pt", tiny_task())
    odd = models.ModelSpec("tiny", models.MODELS["tiny"].build, "E(3)", ("state",), True, "graph")
    monkeypatch.setitem(models.MODELS, "tiny", odd)
    with pytest.raises(ConfigError, match="the model tiny reads state and cannot predict from a table"):
        predictor(load_checkpoint(path).task)
