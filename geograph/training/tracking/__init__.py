"""Runs, metrics and models in MLflow: the one place that imports it, and only when a run is started.

Tracking never stops a training: when the store cannot be reached or written, one `TrackingWarning` says so,
`Tracker.failure` keeps the reason, and all later calls do nothing.
"""

from geograph.training.tracking.fetch import CHECKPOINT_FOLDER, fetch_checkpoint
from geograph.training.tracking.run import Tracker, TrackingWarning
from geograph.training.tracking.store import default_uri, initialise, set_alias, stored_run_id

__all__ = [
    "CHECKPOINT_FOLDER",
    "Tracker",
    "TrackingWarning",
    "default_uri",
    "fetch_checkpoint",
    "initialise",
    "set_alias",
    "stored_run_id",
]
