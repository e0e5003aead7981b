from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from tiny_training import TinyLoader, molecule_batch, register, tiny_task, train
from torch_geometric.data import Data

from geograph import models
from geograph.errors import CheckpointError, ConfigError
from geograph.training.callbacks import AdaptiveClip, DivergenceError
from geograph.training.checkpoint import load_checkpoint, read_plain
from geograph.training.fit import fit

SCRIPT = Path(__file__).resolve().parents[1] / "tiny_training.py"


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    table = dict(models.MODELS)
    register(table)
    monkeypatch.setattr(models, "MODELS", table)


def assert_same_weights(first: Path, second: Path) -> None:
    one, other = read_plain(first), read_plain(second)
    for part in ("weights", "ema_weights"):
        assert one[part].keys() == other[part].keys()
        for name, value in one[part].items():
            assert torch.equal(value, other[part][name]), (part, name)


def comparable(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if not key.endswith("_s")} for row in history]


def test_killed_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", TinyLoader())
    killed = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "killed"), "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )
    assert killed.returncode == -9, killed.stderr
    assert not (tmp_path / "killed" / "final.pt").exists()
    loader = TinyLoader()
    resumed = train(tmp_path / "killed", loader)
    assert loader.begun == [2, 3]
    assert comparable(resumed.history) == comparable(whole.history)
    assert_same_weights(whole.final, resumed.final)
    assert_same_weights(whole.best, resumed.best)
    assert [row["epoch"] for row in whole.history] == [0, 1, 2, 3]


class Cut(TinyLoader):
    """Ends the training with an error before it hands out a batch of an epoch."""

    def __init__(self, at: tuple[int, int] | None = None) -> None:
        super().__init__(batch_size=2)
        self.at = at

    def __iter__(self) -> Iterator[Data]:
        for number, batch in enumerate(super().__iter__()):
            if (self.epoch, number) == self.at:
                raise InterruptedError("cut")
            yield batch


@pytest.mark.parametrize("clip", [None, "adaptive"])
@pytest.mark.parametrize("at", [(0, 2), (1, 1), (2, 4), (2, 5)])
def test_training_cut_within_an_epoch_resumes_bit_for_bit(
    tmp_path: Path, at: tuple[int, int], clip: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geograph.training.fit.AdaptiveClip", partial(AdaptiveClip, 3, 0.5))
    whole = train(tmp_path / "whole", Cut(), gradient_clip=clip)
    for point in (at, (at[0] + 1, 3)):  # twice, in two epochs
        with pytest.raises(InterruptedError):
            train(tmp_path / "cut", Cut(point), gradient_clip=clip, checkpoint_minutes=0.0)
    state = read_plain(tmp_path / "cut" / "last.ckpt")["geograph"]["within_epoch"]
    assert state["num_batches"] == 2  # one is fetched ahead of the one that is worked on
    resumed = train(tmp_path / "cut", Cut(), gradient_clip=clip)
    assert comparable(resumed.history) == comparable(whole.history)
    assert_same_weights(whole.final, resumed.final)
    assert_same_weights(whole.best, resumed.best)


def test_result_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loader = TinyLoader()
    result = train(tmp_path, loader)
    assert loader.begun == [0, 1, 2, 3]
    assert (result.epochs, result.stopped_by, len(result.history)) == (4, "max_epochs", 4)
    assert result.train_s == result.history[-1]["elapsed_s"] > 0
    last = result.history[-1]
    assert {"train/loss", "val/loss", "val/mae_energy_ev", "val/rmse_energy_ev", "lr", "step"} <= last.keys()
    assert last["step"] == 12
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("epoch 1/4  train/loss")
    assert "val/loss" in lines[3]
    assert "left 0:00" in lines[3]
    json.dumps(result.history, allow_nan=False)


def test_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = train(tmp_path, TinyLoader())
    loader = TinyLoader()
    again = train(tmp_path, loader)
    assert loader.begun == []
    assert again.history == first.history


def test_best_epoch_has_the_lowest_monitored_value(tmp_path: Path) -> None:
    result = train(tmp_path, TinyLoader(), max_epochs=6, monitor="val/mae_energy_ev")
    best = load_checkpoint(result.best)
    values = [row["val/mae_energy_ev"] for row in result.history]
    assert best.metrics["val/mae_energy_ev"] == min(values)
    metrics, _ = best.task.evaluate(TinyLoader(6, shuffle=False))
    assert metrics["mae_energy_ev"] == pytest.approx(min(values), rel=1e-6)


def test_max_mode_takes_the_highest(tmp_path: Path) -> None:
    result = train(tmp_path, TinyLoader(), monitor="val/loss", mode="max")
    assert load_checkpoint(result.best).metrics["val/loss"] == max(row["val/loss"] for row in result.history)


def test_another_configuration_is_refused_by_key(tmp_path: Path) -> None:
    train(tmp_path, TinyLoader(), max_epochs=1, config={"data": {"sha": "a"}})
    with pytest.raises(CheckpointError, match=r"`config.data.sha` was \"a\", is \"b\".*resume='never'"):
        train(tmp_path, TinyLoader(), max_epochs=1, config={"data": {"sha": "b"}})
    with pytest.raises(CheckpointError, match="`fit.seed` was 3, is 4"):
        train(tmp_path, TinyLoader(), max_epochs=1, seed=4, config={"data": {"sha": "a"}})
    loader = TinyLoader()
    train(tmp_path, loader, max_epochs=1, config={"data": {"sha": "b"}}, resume="matching")
    assert loader.begun == [0]


def test_constant_schedule_may_be_prolonged(tmp_path: Path) -> None:
    def run(folder: Path, epochs: int, loader: TinyLoader) -> Path:
        task = tiny_task(optimizer={"schedule": "constant", "warmup_steps": 2})
        options = {"accelerator": "cpu", "out_dir": folder, "max_epochs": epochs}
        return fit(task, loader, TinyLoader(4), ema_decay=0.5, **options).final

    whole = run(tmp_path / "whole", 3, TinyLoader())
    run(tmp_path / "parts", 2, TinyLoader())
    loader = TinyLoader()
    parts = run(tmp_path / "parts", 3, loader)
    assert loader.begun == [2]
    assert_same_weights(whole, parts)


def test_max_steps_ends_within_an_epoch_with_a_validation(tmp_path: Path) -> None:
    result = train(tmp_path, TinyLoader(), max_steps=5)
    assert result.stopped_by == "max_steps"
    assert result.history[-1]["step"] == 5
    assert "val/loss" in result.history[-1]


def test_time_limit_ends_the_training(tmp_path: Path) -> None:
    result = train(tmp_path, TinyLoader(), max_minutes=1e-9)
    assert (result.stopped_by, result.history[-1]["step"]) == ("max_minutes", 1)
    assert "val/loss" in result.history[-1]


def test_early_stopping(tmp_path: Path) -> None:
    task = tiny_task(optimizer={"lr": 1e-30, "schedule": "constant"}, dropout=0.0)
    task.model.norm.momentum = 0.0
    result = fit(
        task,
        TinyLoader(),
        TinyLoader(4, shuffle=False),
        out_dir=tmp_path,
        max_epochs=20,
        early_stopping_patience=2,
        accelerator="cpu",
    )
    assert (result.stopped_by, result.epochs) == ("early_stopping", 3)


def test_without_validation_the_training_loss_is_monitored(tmp_path: Path) -> None:
    result = fit(tiny_task(), TinyLoader(), None, out_dir=tmp_path, max_epochs=2, accelerator="cpu")
    assert load_checkpoint(result.best).metrics["train/loss"] == min(r["train/loss"] for r in result.history)


def test_validation_every_other_epoch(tmp_path: Path) -> None:
    result = train(tmp_path, TinyLoader(), val_every=2)
    assert ["val/loss" in row for row in result.history] == [False, True, False, True]


def test_double_precision(tmp_path: Path) -> None:
    result = train(tmp_path, TinyLoader(), precision="64", max_epochs=1)
    loaded = load_checkpoint(result.final)
    assert {value.dtype for value in loaded.task.model.parameters()} == {torch.float64}


class Growing(TinyLoader):
    """One more batch in each epoch, as with batches that are cut by their number of edges."""

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.count = 8 + 4 * epoch


def test_no_batch_is_lost_when_epochs_differ_in_length(tmp_path: Path) -> None:
    result = train(tmp_path, Growing(), max_epochs=3)
    assert [row["step"] for row in result.history] == [2, 5, 9]
    assert all("val/loss" in row for row in result.history)


class Poisoned(TinyLoader):
    def __iter__(self):
        batch = molecule_batch([31, 32])
        batch.y = batch.y * float("nan")
        yield molecule_batch([1, 2])
        yield batch


def test_not_finite_loss_names_epoch_step_and_records(tmp_path: Path) -> None:
    message = r"training loss is nan in epoch 0, step 1, batch of records \[31, 32\]"
    with pytest.raises(DivergenceError, match=message):
        train(tmp_path, Poisoned(4, 2))


def test_mixed_precision_is_refused_by_model(tmp_path: Path) -> None:
    task = tiny_task("tiny-lorentz")
    options = {"out_dir": tmp_path, "max_epochs": 1, "accelerator": "cpu", "precision": "bf16"}
    with pytest.raises(ConfigError, match=r"`precision` must be '32' or '64' for the model tiny-lorentz"):
        fit(task, TinyLoader(), None, **options)
    fit(task, TinyLoader(), None, naive_amp=True, **options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": 0}, "`max_epochs` must be at least 1, got 0"),
        ({"val_every": 0}, "`val_every` must be at least 1"),
        ({"mode": "least"}, "`mode` must be 'min' or 'max', got 'least'"),
        ({"resume": "maybe"}, "`resume` must be one of auto, matching, never"),
        ({"precision": "8"}, "`precision` must be one of 32, 64, bf16, 16"),
        ({"gradient_clip": -1.0}, "`gradient_clip` must be a positive number or 'adaptive', got -1.0"),
        ({"gradient_clip": "often"}, "`gradient_clip` must be a positive number or 'adaptive', got 'often'"),
        ({"monitor": "val/auc"}, "`monitor` must be one of the logged metrics .*val/loss.*got 'val/auc'"),
    ],
)
def test_parameters_out_of_range(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, TinyLoader(), **settings)


def test_empty_loader_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`train_loader` must hold at least one batch"):
        train(tmp_path, TinyLoader(0))


def test_foreign_state_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match="not a training state of geograph, found keys state_dict"):
        train(tmp_path, TinyLoader())
    (tmp_path / "last.ckpt").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="last.ckpt: "):
        train(tmp_path, TinyLoader())


def test_task_without_fit_says_how_to_train() -> None:
    with pytest.raises(ConfigError, match="train with `geograph.training.fit.fit`"):
        tiny_task().configure_optimizers()
