"""Opening files for the molecule readers: NumPy, tar and zip archives, and who is told of a bad record."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np

from geograph.errors import DataError

OnError = Callable[[DataError], None]

#: What the standard library raises on damaged or cut off archives.
_DAMAGED = (EOFError, OSError, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, zlib.error)
_DOWNLOAD_AGAIN = "the file is damaged or cut off; fetch it again"


def existing(path: str | PathLike[str]) -> Path:
    """Return `path` as a Path.

    Raises
    ------
    DataError
        If there is no such file or folder.
    """
    found = Path(path)
    if not found.exists():
        raise DataError("no such file", source=found, remedy="check the path, or fetch the data set first")
    return found


def report(error: DataError, on_error: OnError | None) -> None:
    """Hand a bad record to `on_error`, or raise it where nobody listens."""
    if on_error is None:
        raise error
    on_error(error)


def load_npz(path: str | PathLike[str], required: Sequence[str]) -> dict[str, np.ndarray]:
    """All arrays of a `.npz` file.

    Raises
    ------
    DataError
        If the file is missing, damaged, holds pickled objects, or lacks a required array.
    """
    found = existing(path)
    try:
        # Opened here: NumPy leaves a damaged file open. A single `.npy` array has no context: TypeError.
        with found.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (*_DAMAGED, TypeError, ValueError) as error:
        raise DataError(
            f"not a readable .npz file ({error})", source=found, remedy=_DOWNLOAD_AGAIN
        ) from error
    missing = [name for name in required if name not in arrays]
    if missing:
        raise DataError(
            f"array {missing[0]!r} is missing",
            source=found,
            remedy=f"the arrays there are: {', '.join(sorted(arrays)) or 'none'}",
        )
    return arrays


def read_text(path: str | PathLike[str]) -> str:
    """Contents of a text file.

    Raises
    ------
    DataError
        If the file is missing or is not text.
    """
    found = existing(path)
    try:
        return found.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"not a readable text file ({error})", source=found, remedy=_DOWNLOAD_AGAIN
        ) from error


def iterate_texts(path: str | PathLike[str], suffix: str) -> Iterator[tuple[str, str]]:
    """Name and contents of every text file with this suffix in a folder or archive, or of one file.

    Folders are read in the order of the numbers that end the names, archives in their own order.

    Raises
    ------
    DataError
        If the path is missing, the archive is damaged, or there is no such text file in it.
    """
    found = existing(path)
    count = 0
    try:
        for name, content in _iterate_bytes(found, suffix):
            count += 1
            # What is no text becomes a record that cannot be parsed, named by its file.
            yield name, content.decode("utf-8", errors="replace")
    except _DAMAGED as error:
        raise DataError(
            f"not readable after {count} files ({error})", source=found, remedy=_DOWNLOAD_AGAIN
        ) from error
    if count == 0:
        raise DataError(
            f"there is no {suffix} file in it", source=found, remedy="check that this is the right archive"
        )


def _iterate_bytes(path: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.glob(f"*{suffix}"), key=lambda file: _numbered(file.name)):
            yield file.name, file.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as zipped:
            for name in zipped.namelist():
                if name.endswith(suffix):
                    yield PurePosixPath(name).name, zipped.read(name)
    elif path.suffix == suffix:
        yield path.name, path.read_bytes()
    else:
        with _decompressed(path) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    content = archive.extractfile(member) if member.name.endswith(suffix) else None
                    if content is not None:
                        yield PurePosixPath(member.name).name, content.read()
            # To the end, so that the check sum is compared: tarfile stops before it.
            while stream.read(1 << 20):
                pass


def _decompressed(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as stream:
        magic = stream.read(6)
    for start, module in ((b"\x1f\x8b", gzip), (b"BZh", bz2), (b"\xfd7zXZ\x00", lzma)):
        if magic.startswith(start):
            return module.open(path, "rb")
    return path.open("rb")


def _numbered(name: str) -> tuple[int, str]:
    digits = "".join(c if c.isdigit() else " " for c in name).split()
    return int(digits[-1]) if digits else -1, name
