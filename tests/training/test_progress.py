from __future__ import annotations

from io import StringIO
from types import SimpleNamespace
from unittest.mock import Mock

import lightning
import pytest
import torch
from rich.console import Console

from geograph.training.progress import ProgressLines

TRAINER = Mock(spec=lightning.Trainer, current_epoch=1)
MODULE = lightning.LightningModule()
ROW = {"epoch": 1.0, "lr": 0.1, "train/loss": 2.0, "val/loss": 3.0, "val/auc": 0.5, "epoch_s": 1.25}


def run(*, terminal: bool, every_s: float = 60.0) -> str:
    console = Console(file=StringIO(), force_terminal=terminal, width=120, highlight=False)
    progress = ProgressLines(5, SimpleNamespace(length=4), every_s, console)
    progress.on_train_epoch_start(TRAINER, MODULE)
    for index in range(4):
        progress.on_train_batch_end(TRAINER, MODULE, {"loss": torch.tensor(1.5)}, None, index)
    progress.epoch_line(ROW, "val/auc")
    progress.close()
    return console.file.getvalue()


def test_one_plain_line_for_each_epoch() -> None:
    line = run(terminal=False)
    assert line == "epoch 2/5  train/loss 2  val/auc 0.5  val/loss 3  1.2 s  left 0:00\n"


def test_lines_within_a_long_epoch() -> None:
    lines = run(terminal=False, every_s=0.0).splitlines()
    assert len(lines) == 5
    assert lines[1] == "epoch 2/5  batch 2/4  train/loss 1.5"


@pytest.mark.parametrize("text", ["epoch 2/5", "4/4", "val/auc 0.5"])
def test_bar_on_a_terminal(text: str) -> None:
    assert text in run(terminal=True)
