"""HTTP transfers that survive cut connections: retries with growing pauses, and resumed downloads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import requests
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

T = TypeVar("T")

_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
_LONGEST_PAUSE_S = 60.0
#: A cut connection loses at most this much.
_PIECE_BYTES = 1 << 16
#: A compressed transfer would change the offsets.
_HEADERS = {"Accept-Encoding": "identity"}


class TransferError(Exception):
    """One address could not be read; the message says why."""


class _PassingFaultError(Exception):
    """Worth another attempt: the server is busy or the connection broke."""

    def __init__(self, reason: str, pause_s: float | None = None) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


@dataclass(frozen=True)
class Patience:
    """When to give a server up.

    Attributes
    ----------
    retries
        How many attempts in a row may bring nothing new.
    wait_s
        First pause in seconds; doubled after each attempt that brought nothing.
    timeout_s
        Longest silence of the server in seconds.
    """

    retries: int = 5
    wait_s: float = 1.0
    timeout_s: float = 30.0


class ResumingDownloader:
    """Downloader for pooch that continues where an earlier attempt, or an earlier process, stopped.

    What has arrived is kept in ``NAME.part``, and in ``NAME.part.from`` the address and the validator
    (ETag or date) of the file it belongs to. It is continued only if the server confirms by
    ``If-Range`` that the file is still the same; otherwise the download starts again.

    Parameters
    ----------
    part
        Where to collect the bytes.
    patience
        When to give up.
    """

    def __init__(self, part: Path, patience: Patience) -> None:
        self._part = part
        self._origin = part.with_name(part.name + ".from")
        self._patience = patience

    def __call__(self, url: str, output_file: str, _pooch: object = None) -> None:
        """Fetch `url` into `output_file`.

        Raises
        ------
        TransferError
            If the server refuses, or the attempts are used up.
        """
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns) as progress:
            task = progress.add_task(f"fetching {self._part.stem}", total=None)
            _with_retries(lambda: self._attempt(url, progress, task), self._patience, self._size)
        os.replace(self._part, output_file)
        self._origin.unlink(missing_ok=True)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _attempt(self, url: str, progress: Progress, task: TaskID) -> None:
        headers, start = dict(_HEADERS), self._size()
        validator = self._validator(url) if start else ""
        if validator:
            headers |= {"Range": f"bytes={start}-", "If-Range": validator}
        try:
            with requests.get(
                url, headers=headers, stream=True, timeout=self._patience.timeout_s
            ) as response:
                if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    self._part.unlink()
                    raise _PassingFaultError("the partial file does not fit to the one on the server", 0.0)
                _check_status(response)
                if response.headers.get("Content-Type", "").startswith("text/html"):
                    raise TransferError("a web page came instead of the file")
                start = start if _continues_at(response, start) else 0
                self._origin.write_text(f"{url}\n{_validator_of(response)}\n")
                length = response.headers.get("Content-Length")
                total = None if length is None else start + int(length)
                progress.update(task, total=total, completed=start)
                with self._part.open("r+b" if start else "wb") as file:
                    file.seek(start)
                    for piece in response.iter_content(_PIECE_BYTES):
                        file.write(piece)
                        progress.update(task, advance=len(piece))
        except requests.RequestException as error:
            raise _PassingFaultError(_reason(error)) from error
        if total is not None and self._size() < total:
            raise _PassingFaultError(f"the connection broke after {self._size()} of {total} bytes")

    def _validator(self, url: str) -> str:
        lines = self._origin.read_text().splitlines() if self._origin.exists() else []
        return lines[1] if len(lines) > 1 and lines[0] == url else ""


def get_json(url: str, patience: Patience) -> Any:  # noqa: ANN401
    """Fetch a small JSON document.

    Raises
    ------
    TransferError
        If the server refuses, the attempts are used up, or the answer is not JSON.
    """

    def attempt() -> Any:  # noqa: ANN401
        try:
            response = requests.get(url, headers={"Accept": "application/json"}, timeout=patience.timeout_s)
        except requests.RequestException as error:
            raise _PassingFaultError(_reason(error)) from error
        _check_status(response)
        try:
            return response.json()
        except requests.JSONDecodeError as error:
            raise TransferError("the answer is not JSON") from error

    return _with_retries(attempt, patience)


def _with_retries(attempt: Callable[[], T], patience: Patience, progress: Callable[[], int] = lambda: 0) -> T:
    """Call `attempt` until it succeeds, pausing after passing faults; `progress` says how much has come."""
    idle = 0
    while True:
        before = progress()
        try:
            return attempt()
        except _PassingFaultError as fault:
            idle = 1 if progress() > before else idle + 1
            if idle > patience.retries:
                raise TransferError(f"{fault} (after {patience.retries + 1} attempts)") from fault
            pause_s = patience.wait_s * 2 ** (idle - 1) if fault.pause_s is None else fault.pause_s
            time.sleep(min(pause_s, _LONGEST_PAUSE_S))


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        return
    reason = f"HTTP {status} {response.reason}".strip()
    if status not in _PASSING:
        raise TransferError(reason)
    after = response.headers.get("Retry-After", "")
    raise _PassingFaultError(reason, float(after) if after.isdigit() else None)


def _continues_at(response: requests.Response, start: int) -> bool:
    asked = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
    return response.status_code == HTTPStatus.PARTIAL_CONTENT and asked


def _validator_of(response: requests.Response) -> str:
    """Strong ETag, else the date, else nothing: weak ETags do not promise equal bytes."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    return f"no connection ({type(error).__name__})"
