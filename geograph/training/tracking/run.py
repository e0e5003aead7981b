"""One MLflow run, which never stops the work that it records."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geograph.errors import ConfigError
from geograph.training.provenance import flatten, json_safe
from geograph.training.tracking.store import check_reachable, database_of, initialise, stored_run_id

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch_geometric.data import Data

MAX_PARAM_LENGTH = 6000
_MAX_BATCH = 100


class TrackingWarning(UserWarning):
    """Tracking does not work; the training goes on without it."""


def _expected_failures() -> tuple[type[BaseException], ...]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, sqlite3.Error, OSError)


class Tracker:
    """One MLflow run; made by `Tracker.start`.

    Attributes
    ----------
    uri
        Absolute tracking URI.
    run_id
        Of the run; empty while tracking does not work.
    failure
        Why tracking does not work; empty while it does.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.run_id = ""
        self.failure = ""
        self._client: Any = None

    @classmethod
    @contextlib.contextmanager
    def start(
        cls,
        uri: str,
        experiment: str,
        run_name: str,
        *,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        run_file: str | Path | None = None,
        run_key: str = "",
        inputs: Sequence[tuple[str, str, str]] = (),
    ) -> Iterator[Tracker]:
        """Start a run, or go on with one, and end it as finished, failed or killed.

        Parameters
        ----------
        uri
            As from `default_uri`.
        experiment, run_name
            Names in the store.
        tags, params
            Of the run; nested parameters are flattened with dots.
        run_id
            Run to go on with.
        run_file
            JSON file that keeps `run_id`, `uri` and `run_key`: if it names a run that this store still has,
            with the same key, that run goes on (unless `run_id` is given); it is written anyway.
        run_key
            What the run is a run of, such as a digest of its configuration.
        inputs
            Data sets as (name, digest, source).
        """
        tracker = cls(uri)
        with tracker._guard("start a run"):
            check_reachable(uri)
            initialise(uri)
            tracker._begin(
                experiment, run_name, dict(tags or {}), run_id or stored_run_id(run_file, uri, run_key)
            )
        if run_file is not None and tracker.run_id:
            Path(run_file).parent.mkdir(parents=True, exist_ok=True)
            content = {"run_id": tracker.run_id, "uri": uri, "run_key": run_key}
            Path(run_file).write_text(json.dumps(content, indent=1) + "\n")
        tracker.log_params(params or {})
        tracker._log_inputs(inputs)
        try:
            yield tracker
        except KeyboardInterrupt:
            tracker._end("KILLED")
            raise
        except BaseException:
            tracker._end("FAILED")
            raise
        tracker._end("FINISHED")

    @contextlib.contextmanager
    def _guard(self, action: str) -> Iterator[None]:
        """Turn a failure of the store into one warning."""
        try:
            yield
        except _expected_failures() as error:
            self.failure = f"could not {action} at {self.uri}: {type(error).__name__}: {error}"
            self._client = None
            warnings.warn(
                f"MLflow {self.failure}. The work goes on without tracking; metrics files are not affected.",
                TrackingWarning,
                stacklevel=4,
            )

    def _begin(self, experiment: str, run_name: str, tags: dict[str, str], run_id: str | None) -> None:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        if run_id is not None:
            self.run_id = client.get_run(run_id).info.run_id
            client.update_run(run_id, status="RUNNING")
            for name, value in tags.items():
                client.set_tag(run_id, name, value)
        else:
            tags = {"mlflow.source.type": "JOB", **tags}
            run = client.create_run(self._experiment(client, experiment), run_name=run_name, tags=tags)
            self.run_id = run.info.run_id
        self._client = client

    def _experiment(self, client: Any, name: str) -> str:
        found = client.get_experiment_by_name(name)
        if found is None:
            database = database_of(self.uri)
            place = None if database is None else (database.parent / "mlartifacts" / name).resolve().as_uri()
            return str(client.create_experiment(name, artifact_location=place))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _end(self, status: str) -> None:
        if self._client is not None:
            with self._guard("end the run"):
                self._client.set_terminated(self.run_id, status=status)

    # Logging ------------------------------------------------------------------------------------------------

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters, flattened with dots; a value that MLflow would refuse becomes an artifact.

        Values longer than 6000 characters are stored whole as `params/<key>.txt`, and the parameter says so.
        """
        if self._client is None or not params:
            return
        from mlflow.entities import Param

        entries = []
        with self._guard("log parameters"):
            for key, value in flatten(params).items():
                text = value if isinstance(value, str) else json.dumps(json_safe(value))
                if len(text) > MAX_PARAM_LENGTH:
                    self._client.log_text(self.run_id, text, f"params/{key}.txt")
                    text = f"{len(text)} characters, see the artifact params/{key}.txt"
                entries.append(Param(key, text))
            for start in range(0, len(entries), _MAX_BATCH):
                self._client.log_batch(self.run_id, params=entries[start : start + _MAX_BATCH])

    def log_metrics(self, metrics: Mapping[str, float | int], step: int = 0) -> None:
        """Log all metrics of a step in one request; values that are not finite are left out."""
        if self._client is None:
            return
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        entries = [Metric(key, float(v), now, step) for key, v in metrics.items() if math.isfinite(v)]
        with self._guard("log metrics"):
            for start in range(0, len(entries), 500):
                self._client.log_batch(self.run_id, metrics=entries[start : start + 500])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        if self._client is not None:
            with self._guard("set tags"):
                for name, value in tags.items():
                    self._client.set_tag(self.run_id, name, value)

    def log_figure(self, figure: Figure, name: str) -> None:
        """Store a Matplotlib figure as an artifact."""
        if self._client is not None:
            with self._guard("log a figure"):
                self._client.log_figure(self.run_id, figure, name)

    def log_dict(self, values: Mapping[str, Any] | Sequence[Any], name: str) -> None:
        """Store JSON values as an artifact."""
        self.log_text(json.dumps(json_safe(values), indent=1), name)

    def log_text(self, text: str, name: str) -> None:
        """Store a text as an artifact."""
        if self._client is not None:
            with self._guard("log a text"):
                self._client.log_text(self.run_id, text, name)

    def log_artifact(self, path: str | Path, folder: str | None = None) -> None:
        """Store a file, or all files of a folder.

        Raises
        ------
        ConfigError
            If the path does not exist.
        """
        path = Path(path)
        if not path.exists():
            raise ConfigError(f"`path` of an artifact must exist, got {path}.")
        if self._client is not None:
            log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
            with self._guard("log an artifact"):
                log(self.run_id, str(path), folder)

    def _log_inputs(self, inputs: Sequence[tuple[str, str, str]]) -> None:
        if self._client is None or not inputs:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entries = [
            DatasetInput(
                Dataset(
                    name=name,
                    # The store keeps 36 characters.
                    digest=digest[:36],
                    source_type="local",
                    source=json.dumps({"uri": source}),
                ),
                [InputTag("mlflow.data.context", "training")],
            )
            for name, digest, source in inputs
        ]
        with self._guard("log data sets"):
            self._client.log_inputs(self.run_id, datasets=entries)

    def log_model(
        self,
        checkpoint: str | Path,
        example: Data,
        *,
        name: str = "model",
        registered_name: str | None = None,
        alias: str = "newest",
    ) -> str:
        """Store a geograph checkpoint as a model with signature and requirements.

        The model is the checkpoint with `geograph.training.serving` as its loader, so no pickle is made. It
        predicts from a table with one graph in each row.

        Parameters
        ----------
        checkpoint
            Written by `save_checkpoint`.
        example
            A batch whose first graph becomes the input example.
        name
            Of the model in the run.
        registered_name
            Registers it as a new version, and points `alias` to that.

        Returns
        -------
        URI of the model; empty while tracking does not work.
        """
        if self._client is None:
            return ""
        from geograph.training.tracking.model import log_pyfunc

        with self._guard("log the model"):
            uri, version = log_pyfunc(self.uri, self.run_id, Path(checkpoint), name, registered_name, example)
            if registered_name is not None and version is not None:
                self._client.set_registered_model_alias(registered_name, alias, version)
            return uri
        return ""
