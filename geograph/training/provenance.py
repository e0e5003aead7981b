"""Where a run comes from: stage, commit, digests; and plain values that JSON can hold."""

from __future__ import annotations

import hashlib
import math
import os
import platform
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geograph
from geograph.errors import DataError


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings with dots; lists and empty mappings stay values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, path)
        else:
            flat[path] = value
    return flat


def json_safe(value: Any) -> Any:
    """Return plain JSON values: numbers that are not finite become None, other objects their text."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): json_safe(entry) for key, entry in value.items()}
    if isinstance(value, Sequence):
        return [json_safe(entry) for entry in value]
    if hasattr(value, "tolist"):
        return json_safe(value.tolist())
    return str(value)


def md5_of(path: str | Path) -> str:
    """MD5 of a file, or of the sorted names and MD5s of all files in a folder.

    Raises
    ------
    DataError
        If there is no such file or folder.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(
            entry for entry in path.rglob("*") if entry.is_file() and "__pycache__" not in entry.parts
        )
        listing = "\n".join(f"{entry.relative_to(path).as_posix()} {md5_of(entry)}" for entry in files)
        return hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest()
    if not path.is_file():
        raise DataError("dependency is missing", source=path, remedy="run the stage that makes it")
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def run_tags(root: str | Path | None = None, deps: Iterable[str | Path] = ()) -> dict[str, str]:
    """Tags of a run: DVC's stage and experiment, git commit and whether it is dirty, host, versions, digests.

    Parameters
    ----------
    root
        Repository; `DVC_ROOT` or the working folder by default.
    deps
        Files and folders whose MD5 is kept as `dep.<path>`.

    Raises
    ------
    DataError
        If a dependency is missing.
    """
    folder = Path(root or os.environ.get("DVC_ROOT") or Path.cwd())
    tags = {
        "host": socket.gethostname(),
        "geograph": geograph.__version__,
        "torch": version("torch"),  # read without the import, which takes seconds
        "python": platform.python_version(),
    }
    for variable, tag in (
        ("DVC_STAGE", "dvc.stage"),
        ("DVC_EXP_NAME", "dvc.exp_name"),
        ("DVC_EXP_BASELINE_REV", "dvc.baseline_rev"),
    ):
        if os.environ.get(variable):
            tags[tag] = os.environ[variable]
    commit = _git(folder, "rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit
        tags["git.dirty"] = str(bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))).lower()
    return tags | {f"dep.{Path(dep).as_posix()}": md5_of(dep) for dep in deps}
