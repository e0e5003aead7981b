"""Get the checkpoint of a run back from the store."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from geograph.errors import CheckpointError

#: Folder of a run's artifacts that holds its checkpoint.
CHECKPOINT_FOLDER = "checkpoint"


def fetch_checkpoint(uri: str, run_id: str) -> Path:
    """Copy the checkpoint of a run to a new folder and return its path.

    Parameters
    ----------
    uri
        Tracking URI.
    run_id
        Id of a training run.

    Raises
    ------
    CheckpointError
        If there is no such run in the store, or it has no checkpoint.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=uri)
    try:
        files = [entry.path for entry in client.list_artifacts(run_id, CHECKPOINT_FOLDER)]
    except (MlflowException, sqlite3.Error, OSError) as error:
        raise CheckpointError(f"run {run_id} cannot be read from {uri}: {error}") from error
    if not files:
        raise CheckpointError(f"run {run_id} at {uri} has no checkpoint; give the id of a training run.")
    return Path(client.download_artifacts(run_id, files[0], tempfile.mkdtemp(prefix="geograph-")))
