"""Reference data sets by name: fetched once, checked against the archive's record, and checked ever after."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geograph.datasets.reference_sets import HOSTS, REFERENCE_SETS, ReferenceFile, ReferenceSet
from geograph.datasets.transfer import Patience, ResumingDownloader, TransferError, get_json
from geograph.errors import ConfigError, DownloadError

CHECKSUM_FILE = "checksums.json"
_PLACED_BY_HAND = "placed by hand"
_FIRST_DOWNLOAD = "first download"


def fetch(
    name: str,
    folder: str | os.PathLike[str],
    *,
    files: Sequence[str] | None = None,
    hosts: Mapping[str, str] | None = None,
    retries: int = 5,
    wait_s: float = 1.0,
    timeout_s: float = 30.0,
) -> list[Path]:
    """Make sure that the files of a reference data set lie in `folder`, and return their paths.

    A file that is there and has its recorded checksum is left alone, without any request. A file that was put
    there by hand is accepted and its checksum written down. Everything else is downloaded, continuing
    an interrupted download, and compared with the checksum in the archive's record; where the archive
    has none, the checksum of the first download is written down. ``checksums.json`` beside the files holds
    what was recorded, and from where.

    Parameters
    ----------
    name
        Entry of `REFERENCE_SETS`.
    folder
        Where the files belong; made if needed.
    files
        Which of its files; by default all.
    hosts
        Replacements for entries of `HOSTS`.
    retries
        How many attempts in a row may bring nothing new, for each address.
    wait_s
        First pause between attempts in seconds; doubled each time.
    timeout_s
        Longest silence of a server in seconds.

    Raises
    ------
    ConfigError
        If the data set, a file or a host is unknown.
    DownloadError
        If a file could not be fetched, or its checksum differs.
    """
    reference = _look_up(name, files, hosts or {})
    addresses = {**HOSTS, **(hosts or {})}
    patience = Patience(retries, wait_s, timeout_s)
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [file for file in reference.files if files is None or file.name in files]
    published: dict[str, str] | None = None
    for file in wanted:
        target = folder / file.name
        recorded = _read_checksums(folder).get(file.name)
        if target.exists():
            _accept(target, recorded)
            continue
        if recorded is None and published is None:
            published = _published_checksums(reference, addresses, patience, target)
        _download(reference, file, target, recorded, published or {}, addresses, patience)
    return [folder / file.name for file in wanted]


def _look_up(name: str, files: Sequence[str] | None, hosts: Mapping[str, str]) -> ReferenceSet:
    if name not in REFERENCE_SETS:
        raise ConfigError(f"unknown reference data set `{name}`; there are {', '.join(REFERENCE_SETS)}.")
    known = [file.name for file in REFERENCE_SETS[name].files]
    for what, asked, available in (("file", files or (), known), ("host", hosts, list(HOSTS))):
        unknown = [entry for entry in asked if entry not in available]
        if unknown:
            raise ConfigError(
                f"unknown {what} `{unknown[0]}` for `{name}`; there are {', '.join(available)}."
            )
    return REFERENCE_SETS[name]


def _accept(target: Path, recorded: Mapping[str, Any] | None) -> None:
    """Check a file that is there, or write its checksum down if there is none yet."""
    if recorded is None:
        _write_checksum(target, _PLACED_BY_HAND)
        return
    found = _digest(target, "sha256")
    if found != recorded["sha256"]:
        raise DownloadError(
            f"`{target}` has SHA-256 {found}, but {recorded['sha256']} was recorded ({recorded['source']}): "
            "delete the file to fetch it again, or its entry in "
            f"{target.with_name(CHECKSUM_FILE)} to accept it as it is."
        )


def _download(
    reference: ReferenceSet,
    file: ReferenceFile,
    target: Path,
    recorded: Mapping[str, Any] | None,
    published: Mapping[str, str],
    addresses: Mapping[str, str],
    patience: Patience,
) -> None:
    """Try the addresses of a file one after the other."""
    if recorded is not None:
        expected, source = f"sha256:{recorded['sha256']}", str(recorded["source"])
    elif file.name in published:
        expected, source = f"md5:{published[file.name]}", _record_url(reference, addresses)
    elif reference.archive != "none":
        reason = f"the record {_record_url(reference, addresses)} does not list it"
        raise _failure(file, target, addresses, [reason])
    else:
        expected, source = None, _FIRST_DOWNLOAD
    reasons = []
    for url in (url.format(**addresses) for url in file.urls):
        try:
            _retrieve(url, target, expected, patience)
        except TransferError as error:
            reasons.append(f"{url}: {error}")
        else:
            _write_checksum(target, source, url)
            return
    raise _failure(file, target, addresses, reasons)


def _retrieve(url: str, target: Path, expected: str | None, patience: Patience) -> None:
    import pooch

    downloader = ResumingDownloader(target.with_name(target.name + ".part"), patience)
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(url, expected, fname=target.name, path=target.parent, downloader=downloader)
    except ValueError as error:  # pooch: the checksum differs
        raise TransferError(f"wrong checksum, {expected} was expected ({error})") from error


def _failure(
    file: ReferenceFile, target: Path, addresses: Mapping[str, str], reasons: Sequence[str]
) -> DownloadError:
    urls = " or ".join(url.format(**addresses) for url in file.urls)
    return DownloadError(
        f"could not fetch `{file.name}`: {'; '.join(reasons)}. Fetch it by hand from {urls} "
        f"and put it at {target}; it is then used as it is, and its checksum written down."
    )


def _record_url(reference: ReferenceSet, addresses: Mapping[str, str]) -> str:
    if reference.archive == "zenodo":
        return f"{addresses['zenodo']}/api/records/{reference.record}"
    return f"{addresses['figshare_api']}/collections/{reference.record}/articles?page_size=100"


def _published_checksums(
    reference: ReferenceSet, addresses: Mapping[str, str], patience: Patience, target: Path
) -> dict[str, str]:
    """MD5 sums that the archive itself states, by file name; empty if it keeps no record."""
    if reference.archive == "none":
        return {}
    url = _record_url(reference, addresses)
    try:
        record = get_json(url, patience)
        if reference.archive == "zenodo":
            return {entry["key"]: entry["checksum"].removeprefix("md5:") for entry in record["files"]}
        sums: dict[str, str] = {}
        for article in record:
            entries = get_json(f"{addresses['figshare_api']}/articles/{article['id']}/files", patience)
            sums |= {entry["name"]: entry["computed_md5"] for entry in entries}
        return sums
    except TransferError as error:
        reason = f"{url}: {error}"
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{url}: the record has no checksums where they are expected ({error!r})"
    file = next(file for file in reference.files if file.name == target.name)
    raise _failure(file, target, addresses, [reason])


def _read_checksums(folder: Path) -> dict[str, Any]:
    path = folder / CHECKSUM_FILE
    if not path.exists():
        return {}
    try:
        entries = json.loads(path.read_text())
        if all(
            isinstance(entry, dict) and {"sha256", "source"} <= entry.keys() for entry in entries.values()
        ):
            return dict(entries)
    except (json.JSONDecodeError, AttributeError) as error:
        raise DownloadError(
            f"{path} is damaged ({error}); delete it to record the checksums again."
        ) from error
    raise DownloadError(f"{path} lacks `sha256` or `source`; delete it to record the checksums again.")


def _write_checksum(target: Path, source: str, url: str = "") -> None:
    """Add one entry; the file is replaced in one step, so that a kill leaves the old or the new one."""
    path = target.with_name(CHECKSUM_FILE)
    entries = _read_checksums(target.parent)
    entries[target.name] = {
        "sha256": _digest(target, "sha256"),
        "md5": _digest(target, "md5"),
        "size_bytes": target.stat().st_size,
        "source": source,
        "url": url,
    }
    draft = path.with_name(path.name + ".new")
    draft.write_text(json.dumps(entries, indent=2, sort_keys=True) + "\n")
    os.replace(draft, path)


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
