"""Two pipelines at a tiny size, and what the tests of the stages check about files and metrics."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import torch
import yaml
from file_access import FileAccess

from geograph.training.checkpoint import load_checkpoint
from pipelines.params import Params

STAGES = yaml.safe_load((Path(__file__).resolve().parents[1] / "dvc.yaml").read_text(encoding="utf-8"))[
    "stages"
]
PARTS = ("train", "val", "test")

NBODY = {
    "domain": "nbody",
    "source": {"kind": "generated", "num_train": 60, "num_val": 20, "num_test": 20, "seed": 1},
    "graph": {},
}
NBODY_RUN = {
    "dataset": "nbody",
    "task": {"kind": "trajectory"},
    "model": {"name": "egnn-dynamics", "num_hidden": 8, "num_layers": 2},
    "optimizer": {"schedule": "cosine"},
    "training": {"max_epochs": 2, "batch_size": 20, "ema_decay": 0.9},
}
MOLECULES = {
    "domain": "molecules",
    "source": {"kind": "files", "format": "atoms", "path": "small.extxyz"},
    "split": {"kind": "seeded", "val": 0.2, "test": 0.2, "seed": 1},
    "graph": {},
}
EDM_RUN = {
    "dataset": "molecules",
    "task": {"kind": "generation"},
    "model": {"name": "edm-dynamics", "num_hidden": 8, "num_layers": 1},
    "training": {"max_epochs": 1, "batch_size": 4},
}


def params_of(**changes: Any) -> Params:
    """Parameters of both small pipelines; `changes` replace top-level parts."""
    content: dict[str, Any] = {
        "parallel": {"num_workers": 1},
        "tracking": {"enabled": False},
        "data": {"nbody": NBODY, "molecules": MOLECULES},
        "runs": {"nbody-egnn": NBODY_RUN, "molecules-edm": EDM_RUN},
        "sample": {
            "molecules-edm": {
                "num_molecules": 3,
                "batch_size": 2,
                "num_steps": 5,
                "quality": {"samplers": ["ancestral", "dpm-solver++"], "steps": [4, 2], "num_molecules": 2},
            }
        },
    }
    return Params.model_validate(content | changes)


def declared(name: str, **item: str) -> tuple[list[str], list[str]]:
    """Return the data that a stage of `dvc.yaml` may read, and what it may write."""

    def paths(key: str) -> list[str]:
        found = [next(iter(e)) if isinstance(e, dict) else e for e in STAGES[name].get(key, [])]
        for axis, value in item.items():
            found = [path.replace("${item." + axis + "}", value) for path in found]
        return found

    reads = [path for path in paths("deps") if not path.endswith(".py")]
    return reads, list(itertools.chain(*(paths(key) for key in ("outs", "metrics", "plots"))))


def check_files(access: FileAccess, name: str, *, also_reads: list[str] | None = None, **item: str) -> None:
    """Compare what a stage touched with what `dvc.yaml` says."""
    reads, writes = declared(name, **item)
    assert access.unexpected("read", [*reads, *writes, *(also_reads or [])]) == []
    # `metrics/runs` holds wall time and run id, which differ each time: a record, no output.
    assert access.unexpected("written", [*writes, "metrics/runs"]) == []
    assert all(Path(path).exists() for path in writes)


def check_metrics(path: str) -> dict[str, float]:
    """Metrics are flat, finite numbers."""
    metrics = json.loads(Path(path).read_text())
    assert metrics
    for key, value in metrics.items():
        assert isinstance(value, int | float), f"{key} is {value!r}"
        assert math.isfinite(value), f"{key} is {value!r}"
    return metrics


def weights(name: str) -> dict[str, torch.Tensor]:
    return load_checkpoint(f"models/{name}.pt").task.state_dict()


def assert_same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    different = [name for name, value in first.items() if not torch.equal(value, second[name])]
    assert different == []
