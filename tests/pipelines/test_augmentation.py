"""Accuracy against rotated copies, read from the metrics of an experiment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from geograph.errors import ConfigError
from pipelines import augmentation


def write(folder: Path, **rotations: dict[str, Any] | None) -> None:
    """Write an experiment with one run for each rule of rotations, judged with accuracies 0.1, 0.2, ..."""
    run = {
        "dataset": "digits-sphere",
        "task": {"kind": "classification"},
        "model": {"name": "planar-cnn"},
        "training": {"max_epochs": 1, "batch_size": 2},
    }
    runs = {name: {**run, **({"rotations": rule} if rule else {})} for name, rule in rotations.items()}
    content = {
        "data": {"digits": {"domain": "maps", "source": {"kind": "digits", "bandlimit": 4, "seed": 1}}},
        "projections": {"digits-sphere": {"kind": "maps", "bandlimit": 4}},
        "runs": runs,
    }
    (folder / "metrics" / "evaluate").mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    for number, name in enumerate(rotations, start=1):
        metrics = {"accuracy": 0.9, "accuracy_so3": number / 10, "num_parameters": 34834}
        (folder / "metrics" / "evaluate" / f"{name}.json").write_text(json.dumps(metrics))


def test_runs_stand_at_their_number_of_copies(tmp_path: Path) -> None:
    write(
        tmp_path,
        fresh={"train": "so3"},
        many={"train": "so3", "copies": 30},
        none={"test": ["so3"]},
        plain=None,
    )
    lines, labels = augmentation.read_lines(tmp_path)
    assert labels == ["0", "30", "new"]
    # The last run without rotations takes the place of the one before.
    assert lines == {"planar-cnn, 35k parameters": {2: (0.1, 0.9), 1: (0.2, 0.9), 0: (0.4, 0.9)}}


def test_picture_is_written(tmp_path: Path) -> None:
    write(tmp_path, fresh={"train": "so3"}, none={"test": ["so3"]})
    app = typer.Typer()
    app.command()(augmentation.main)
    result = CliRunner().invoke(app, [str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "plots/augmentation.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_was_run(tmp_path: Path) -> None:
    write(tmp_path, none={"test": ["so3"]})
    (tmp_path / "metrics/evaluate/none.json").unlink()
    with pytest.raises(ConfigError, match="no run there was judged on rotated data"):
        augmentation.read_lines(tmp_path)
