"""What a source of records gives, and where the files are that the parameters name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geograph.errors import DataError
from geograph.records import Record

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass
class Source:
    """Records of one data set as its source gives them.

    Attributes
    ----------
    records
        The records, possibly lazily read.
    attributes
        Facts for the manifest (class names, generator, ...).
    parts
        Gives the part ("train", "val", "test") of each record from all identifiers, where the source says so.
    folds
        Gives the published fold of each record, in order, where there is one; call it after `records`.
    rejects
        Records that were refused, with the reason; filled while `records` is consumed.
    counts
        Figures about the making of the data, for the metrics.
    """

    records: Iterable[Record]
    attributes: dict[str, Any] = field(default_factory=dict)
    parts: Callable[[list[str]], list[str]] | None = None
    folds: Callable[[], np.ndarray] | None = None
    rejects: list[str] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)


def data_folders() -> list[Path]:
    """Folders in which a relative path is looked up: $GEOGRAPH_DATA, then data/downloads."""
    folders = [REPOSITORY / "data" / "downloads"]
    if "GEOGRAPH_DATA" in os.environ:
        folders.insert(0, Path(os.environ["GEOGRAPH_DATA"]))
    return folders


def locate(path: str) -> Path:
    """Find a file that the parameters name.

    Raises
    ------
    DataError
        If it is in none of the folders, with all of them.
    """
    candidates = [Path(path)] if Path(path).is_absolute() else [folder / path for folder in data_folders()]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    tried = ", ".join(str(candidate) for candidate in candidates)
    raise DataError(
        f"file not found; tried {tried}", source=path, remedy="set GEOGRAPH_DATA to the folder that holds it"
    )


def make_rejects_report(rejects: list[str]) -> str:
    """Return the refused records as CSV text with one reason on each line."""
    return "reason\n" + "".join('"' + reason.replace('"', "'") + '"\n' for reason in rejects)
