"""Mean and spread of repeated runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from geograph.errors import ConfigError
from pipelines.spread import collapse, main, read_spreads

_DATA = """\
  fold{fold}:
    domain: molecules
    source: {{kind: files, format: qm7, path: qm7.npz}}
    split: {{kind: qm7-folds, test_fold: {fold}, val: 0.05, seed: 1}}
    graph: {{edges: complete, targets: [energy]}}
"""
_RUN = """\
  fold{fold}-{name}:
    dataset: fold{fold}
    task: {{kind: regression, targets: [energy], loss: {loss}}}
    model: {{name: egnn, inputs: molecule}}
    training: {{max_epochs: 1, batch_size: 2}}
    seed: {fold}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two kinds of run on three folds each, the last one of the second kind not evaluated."""
    text = ["data:\n", *(_DATA.format(fold=fold) for fold in range(3)), "runs:\n"]
    (tmp_path / "metrics/evaluate").mkdir(parents=True)
    for number, (name, loss) in enumerate([("a", "l1"), ("b", "huber")]):
        for fold in range(3):
            text.append(_RUN.format(fold=fold, name=name, loss=loss))
            metrics = {"mae_energy": 1.0 + fold + 10 * number, "loss": 0.1, "num_test": 5}
            if (number, fold) != (1, 2):
                path = tmp_path / f"metrics/evaluate/fold{fold}-{name}.json"
                path.write_text(json.dumps(metrics))
    (tmp_path / "params.yaml").write_text("".join(text))
    return tmp_path


def test_repetitions_are_those_that_differ_in_fold_and_seed(folder: Path) -> None:
    first, second = read_spreads(folder)
    assert (first.runs, first.metric) == (("fold0-a", "fold1-a", "fold2-a"), "mae_energy")
    assert (first.mean, first.deviation) == (2.0, 1.0)
    assert second.values == (11.0, 12.0)


def test_another_share_for_validation_is_another_run(folder: Path) -> None:
    path = folder / "params.yaml"
    path.write_text(path.read_text().replace("test_fold: 2, val: 0.05", "test_fold: 2, val: 0.1"))
    assert [spread.runs for spread in read_spreads(folder)][:2] == [("fold0-a", "fold1-a"), ("fold2-a",)]


def test_one_run_has_no_deviation(folder: Path) -> None:
    for fold in (1, 2):
        (folder / f"metrics/evaluate/fold{fold}-a.json").unlink()
    assert read_spreads(folder)[0].deviation is None


def test_names_are_joined() -> None:
    assert collapse(["qm7-fold0-mst", "qm7-fold1-mst"]) == "qm7-fold*-mst"
    assert collapse(["alone"]) == "alone"
    assert collapse(["a", "b"]) == "*"


def test_command(folder: Path) -> None:
    app = Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [str(folder)])
    assert result.exit_code == 0
    assert "fold*-a" in result.output
    assert "11.5" in result.output


def test_nothing_evaluated(folder: Path) -> None:
    for path in (folder / "metrics/evaluate").iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match="no run there was evaluated"):
        read_spreads(folder)
