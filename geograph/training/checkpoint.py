"""Self-contained checkpoints: everything that is needed to predict or sample, in plain values and tensors.

The file is `torch.save` of one dictionary and is read with `weights_only=True`, so that loading runs no code.
It is written beside its place and then moved there, so that a file with this name is always whole.
"""

from __future__ import annotations

import os
import pickle
import platform
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import geograph
from geograph.errors import CheckpointError
from geograph.tasks import TASKS, Task, build_task

FORMAT = "geograph checkpoint"
FORMAT_VERSION = 1
_KEYS = ("format", "version", "kind", "settings", "weights", "ema_weights")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """What a checkpoint holds.

    Attributes
    ----------
    task
        The task in evaluation mode, on the CPU.
    kind
        Kind of the task, a key of `geograph.tasks.TASKS`.
    config
        Configuration of the run that made it.
    data
        Description of the data set.
    metrics
        Metrics at the moment of saving.
    versions
        Of geograph, torch and Python.
    has_ema
        Whether averaged weights are there besides the raw ones.
    """

    task: Task
    kind: str
    config: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, float]
    versions: dict[str, str]
    has_ema: bool
    path: Path = field(compare=False)


def write_atomically(path: Path, content: Mapping[str, Any]) -> None:
    """Save a dictionary with `torch.save` such that the file is either the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_plain(path: Path) -> dict[str, Any]:
    """Read a dictionary of plain values and tensors without running any code of the file.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, unsafe to load, or not a dictionary.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; train first, or check the path.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: not a checkpoint of plain values, loading it could run code; convert it with "
            "`geograph import-checkpoint` if it comes from another program."
        ) from error
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        size = path.stat().st_size
        raise CheckpointError(
            f"{path}: unreadable or truncated ({size} bytes); copy the file again or train again."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a {FORMAT}, found a {type(content).__name__}.")
    return content


def save_checkpoint(
    path: str | Path,
    task: Task,
    *,
    weights: Mapping[str, Tensor] | None = None,
    ema_weights: Mapping[str, Tensor] | None = None,
    config: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Path:
    """Write a self-contained checkpoint of a task.

    Parameters
    ----------
    path
        Where to write; folders are made.
    task
        Its settings hold the model's name and parameters and the statistics of the training part.
    weights
        Raw weights; None takes the present ones of the task.
    ema_weights
        Averaged weights, if there are any.
    config, data, metrics
        Of the run, as JSON values.
    """
    path = Path(path)
    present = task.state_dict() if weights is None else weights
    content = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "kind": task.kind,
        "settings": task.settings,
        "weights": _detached(present),
        "ema_weights": None if ema_weights is None else _detached(ema_weights),
        "config": dict(config or {}),
        "data": dict(data or {}),
        "metrics": dict(metrics or {}),
        "versions": {
            "geograph": geograph.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }
    write_atomically(path, content)
    return path


def _detached(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in weights.items()}


def load_checkpoint(
    path: str | Path,
    *,
    weights: str = "ema",
    expected_kind: str | None = None,
    expected_model: str | None = None,
) -> LoadedCheckpoint:
    """Read a checkpoint and build its task.

    Parameters
    ----------
    path
        Written by `save_checkpoint`.
    weights
        `ema` for the averaged weights where there are any and the raw ones elsewhere; `raw` for the latter.
    expected_kind, expected_model
        Refuse a checkpoint of another task or model.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, not a geograph checkpoint, newer than this version, of another
        kind or model than expected, or its weights do not fit.
    """
    path = Path(path)
    if weights not in ("ema", "raw"):
        raise CheckpointError(f"`weights` must be 'ema' or 'raw', got {weights!r}.")
    content = _checked(path, read_plain(path))
    for name, found, expected in (
        ("task", content["kind"], expected_kind),
        ("model", content["settings"].get("model"), expected_model),
    ):
        if expected is not None and found != expected:
            raise CheckpointError(f"{path}: the {name} must be {expected}, this checkpoint is of {found}.")
    return LoadedCheckpoint(
        task=_build(path, content, weights),
        kind=content["kind"],
        config=content.get("config", {}),
        data=content.get("data", {}),
        metrics=content.get("metrics", {}),
        versions=content.get("versions", {}),
        has_ema=content["ema_weights"] is not None,
        path=path,
    )


def _checked(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    if content.get("format") != FORMAT:
        found = ", ".join(sorted(map(str, content))[:8]) or "nothing"
        raise CheckpointError(
            f"{path}: not a {FORMAT}, found keys {found}; released checkpoints are read by "
            "`geograph import-checkpoint`."
        )
    if content.get("version", 0) > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {content['version']} is newer than version {FORMAT_VERSION}, which this "
            f"geograph {geograph.__version__} reads; upgrade geograph."
        )
    missing = [key for key in _KEYS if key not in content]
    if missing:
        raise CheckpointError(f"{path}: incomplete, without {', '.join(missing)}; save it again.")
    if content["kind"] not in list(TASKS):
        raise CheckpointError(f"{path}: task {content['kind']!r} is not known; there are {', '.join(TASKS)}.")
    return content


def _build(path: Path, content: dict[str, Any], weights: str) -> Task:
    use_raw = weights == "raw" or content["ema_weights"] is None
    chosen = content["weights"] if use_raw else content["ema_weights"]
    task = build_task(content["kind"], **content["settings"])
    dtypes = {value.dtype for name, value in chosen.items() if value.is_floating_point()}
    if torch.float64 in dtypes:
        task = task.double()
    try:
        task.load_state_dict(chosen)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path}: the weights do not fit the model {content['settings'].get('model')!r} that the "
            f"checkpoint names, perhaps because geograph changed since version "
            f"{content.get('versions', {}).get('geograph')}: {error}"
        ) from error
    return task.eval()
