"""The store that MLflow writes to: its address and its creation."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
from pathlib import Path
from urllib.parse import urlparse

SQLITE = "sqlite:///"


def default_uri(root: str | Path | None = None) -> str:
    """Return the absolute tracking URI.

    `MLFLOW_TRACKING_URI` if it is set, else a SQLite file `mlflow.db` in `root`, in the folder that DVC names
    in `DVC_ROOT` (the main repository also in temporary experiment folders), or in the working folder.
    """
    chosen = os.environ.get("MLFLOW_TRACKING_URI")
    if chosen:
        return chosen
    folder = Path(root or os.environ.get("DVC_ROOT") or Path.cwd()).resolve()
    return f"{SQLITE}{folder / 'mlflow.db'}"


def database_of(uri: str) -> Path | None:
    """Return the file of a SQLite store, None for any other store."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def initialise(uri: str) -> None:
    """Create the database of a SQLite store once, guarded by a lock file against a second process.

    Call it before processes start that would each create it. Other stores are left as they are.
    """
    database = database_of(uri)
    if database is None or _has_tables(database):
        return
    import fcntl

    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(database.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _has_tables(database):
            from mlflow import MlflowClient

            MlflowClient(tracking_uri=uri).search_experiments(max_results=1)


def _has_tables(database: Path) -> bool:
    if not database.is_file() or database.stat().st_size == 0:
        return False
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        # Written last by the creation of the schema, within its transaction.
        query = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
        if not connection.execute(query).fetchone()[0]:
            return False
        return bool(connection.execute("SELECT count(*) FROM alembic_version").fetchone()[0])


def check_reachable(uri: str) -> None:
    """Fail within seconds where MLflow would retry for minutes."""
    place = urlparse(uri)
    if place.scheme in ("http", "https"):
        port = place.port or (443 if place.scheme == "https" else 80)
        socket.create_connection((place.hostname or "localhost", port), timeout=5).close()
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")


def stored_run_id(run_file: str | Path | None, uri: str, run_key: str = "") -> str | None:
    """Run that a file of an earlier start names, if it has the same key and this store still has it."""
    if run_file is None or not Path(run_file).is_file():
        return None
    content = json.loads(Path(run_file).read_text())
    if content.get("uri") != uri or content.get("run_key", "") != run_key:
        return None
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        info = MlflowClient(tracking_uri=uri).get_run(content["run_id"]).info
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return str(info.run_id) if info.lifecycle_stage == "active" else None


def set_alias(uri: str, registered_name: str, alias: str, version: str | int) -> None:
    """Point an alias such as `champion` to a version of a registered model."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.set_registered_model_alias(registered_name, alias, str(version))
