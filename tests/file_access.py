"""Which files below the working folder a block of code opens: to compare with what a DVC stage declares."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class FileAccess:
    """Paths relative to the working folder; what was written and then read counts as written."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)

    def unexpected(self, kind: str, declared: list[str]) -> list[str]:
        """Return paths of one kind (`read`, `written`) that neither are nor lie below what is declared."""
        below = [entry + "/" for entry in declared]
        return sorted(
            path
            for path in getattr(self, kind)
            if path not in declared and not any(path.startswith(folder) for folder in below)
        )


_watching: list[tuple[Path, FileAccess]] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _watching:
        return
    path, mode, flags = arguments
    folder, access = _watching[-1]
    if not isinstance(path, str | os.PathLike):
        return
    place = Path(os.path.normpath(os.path.join(os.getcwd(), path)))
    if not place.is_relative_to(folder) or place.is_dir():
        return
    name = place.relative_to(folder).as_posix()
    writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool(flags & _WRITES)
    if writes:
        access.written.add(name)
    elif name not in access.written and place.is_file():  # not an attempt in vain
        access.read.add(name)


@contextlib.contextmanager
def watch_files() -> Iterator[FileAccess]:
    """Note every file below the present working folder that the block opens."""
    if not getattr(watch_files, "is_installed", False):
        sys.addaudithook(_audit)  # cannot be taken away again; does nothing outside the block
        watch_files.is_installed = True
    access = FileAccess()
    _watching.append((Path.cwd(), access))
    try:
        yield access
    finally:
        _watching.pop()
