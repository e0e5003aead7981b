from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_training import STATISTICS, molecule_batch, register, tiny_task

from geograph import models
from geograph.errors import CheckpointError
from geograph.training.checkpoint import FORMAT, load_checkpoint, save_checkpoint


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    table = dict(models.MODELS)
    register(table)
    monkeypatch.setattr(models, "MODELS", table)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    task = tiny_task()
    averaged = {
        name: value + 1 if value.is_floating_point() else value for name, value in task.state_dict().items()
    }
    return save_checkpoint(
        tmp_path / "deep" / "best.pt",
        task,
        ema_weights=averaged,
        config={"train": {"lr": 0.1}},
        data={"name": "molecules"},
        metrics={"val/loss": 0.5},
    )


def test_round_trip_with_raw_and_averaged_weights(saved: Path) -> None:
    batch = molecule_batch([1, 2, 3])
    original = tiny_task().eval()
    raw, averaged = load_checkpoint(saved, weights="raw"), load_checkpoint(saved)
    assert torch.equal(raw.task.predict(batch), original.predict(batch))
    assert not torch.equal(averaged.task.predict(batch), original.predict(batch))
    assert averaged.has_ema
    assert not averaged.task.training
    assert averaged.kind == "regression"
    assert averaged.task.statistics == STATISTICS
    assert averaged.config == {"train": {"lr": 0.1}}
    assert averaged.data == {"name": "molecules"}
    assert averaged.metrics == {"val/loss": 0.5}
    assert set(averaged.versions) == {"geograph", "torch", "python"}
    assert [path.name for path in saved.parent.iterdir()] == ["best.pt"]


def test_without_average_the_raw_weights_are_taken(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "raw.pt", tiny_task().double())
    loaded = load_checkpoint(path)
    assert not loaded.has_ema
    assert loaded.task.model.head[1].weight.dtype == torch.float64


def test_missing_truncated_and_foreign_files(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="absent.pt: no such checkpoint"):
        load_checkpoint(tmp_path / "absent.pt")
    content = saved.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 50):
        broken = tmp_path / "broken.pt"
        broken.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"broken.pt: (unreadable or truncated|not a checkpoint)"):
            load_checkpoint(broken)
    torch.save({"model": 1, "args": 2}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="other.pt: not a geograph checkpoint, found keys args, model"):
        load_checkpoint(tmp_path / "other.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="not a geograph checkpoint, found a list"):
        load_checkpoint(tmp_path / "list.pt")


def test_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), tmp_path / "pickled.pt")
    with pytest.raises(CheckpointError, match="loading it could run code"):
        load_checkpoint(tmp_path / "pickled.pt")


def change(path: Path, **values: object) -> Path:
    content = torch.load(path, weights_only=True)
    torch.save(content | values, path)
    return path


def test_other_task_or_model_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="task must be generation, this checkpoint is of regression"):
        load_checkpoint(saved, expected_kind="generation")
    with pytest.raises(CheckpointError, match="the model must be egnn, this checkpoint is of tiny"):
        load_checkpoint(saved, expected_model="egnn")
    with pytest.raises(CheckpointError, match="`weights` must be 'ema' or 'raw', got 'best'"):
        load_checkpoint(saved, weights="best")


def test_newer_format_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="format version 99 is newer than version 1.*upgrade geograph"):
        load_checkpoint(change(saved, version=99))


def test_unknown_task_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="task 'ranking' is not known; there are regression"):
        load_checkpoint(change(saved, kind="ranking"))


def test_weights_of_another_model_are_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="the weights do not fit the model 'tiny'"):
        load_checkpoint(change(saved, ema_weights={"model.other": torch.zeros(1)}))


def test_incomplete_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"format": FORMAT, "version": 1, "kind": "regression"}, tmp_path / "part.pt")
    with pytest.raises(CheckpointError, match="incomplete, without settings, weights, ema_weights"):
        load_checkpoint(tmp_path / "part.pt")
