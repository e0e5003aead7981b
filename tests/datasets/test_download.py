"""Downloads against a local HTTP server: success, resume, wrong sums, refusals, hand-placed files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from http_archive import Archive

from geograph.datasets.download import CHECKSUM_FILE, fetch
from geograph.datasets.reference_sets import HOSTS, REFERENCE_SETS
from geograph.errors import ConfigError, DownloadError

CONTENT = np.random.default_rng(0).bytes(300_000)
QM7 = "/data/qm7.mat"
TRAIN = "/records/2603256/files/train.h5"


def publish_top_tagging(archive: Archive, checksum: str | None = None) -> None:
    """Serve the three files and the record that states their MD5 sums."""
    entries = []
    for name in ("train.h5", "val.h5", "test.h5"):
        content = CONTENT + name.encode()
        archive.files[f"/records/2603256/files/{name}"] = content
        md5 = checksum or hashlib.md5(content).hexdigest()
        entries.append({"key": name, "checksum": f"md5:{md5}"})
    archive.files["/api/records/2603256"] = json.dumps({"files": entries}).encode()


@pytest.fixture
def archive() -> Iterator[Archive]:
    archive = Archive()
    archive.start()
    yield archive
    archive.stop()


def hosts_of(archive: Archive) -> dict[str, str]:
    return dict.fromkeys(HOSTS, archive.url)


def get(archive: Archive, name: str, folder: Path, **options: Any) -> list[Path]:
    return fetch(name, folder, hosts=hosts_of(archive), **{"retries": 2, "wait_s": 0.01, **options})


def checksums(folder: Path) -> dict[str, Any]:
    return json.loads((folder / CHECKSUM_FILE).read_text())


def test_zenodo_files_are_checked_against_the_record(archive: Archive, tmp_path: Path) -> None:
    publish_top_tagging(archive)
    paths = get(archive, "top_tagging", tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["train.h5", "val.h5", "test.h5"]
    assert paths[0].read_bytes() == CONTENT + b"train.h5"
    entry = checksums(paths[0].parent)["train.h5"]
    assert entry["sha256"] == hashlib.sha256(CONTENT + b"train.h5").hexdigest()
    assert entry["source"] == f"{archive.url}/api/records/2603256"
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(
        [*(path.name for path in paths), CHECKSUM_FILE]
    )


def test_second_call_makes_no_request(archive: Archive, tmp_path: Path) -> None:
    publish_top_tagging(archive)
    first = get(archive, "top_tagging", tmp_path)
    archive.requests.clear()
    assert get(archive, "top_tagging", tmp_path) == first
    assert archive.requests == []


def test_chosen_files_only(archive: Archive, tmp_path: Path) -> None:
    publish_top_tagging(archive)
    assert get(archive, "top_tagging", tmp_path, files=["val.h5"]) == [tmp_path / "val.h5"]
    assert [path for path, _ in archive.requests] == ["/api/records/2603256", "/records/2603256/files/val.h5"]


def test_figshare_sums_come_from_the_articles_of_the_collection(archive: Archive, tmp_path: Path) -> None:
    names = {"dsgdb9nsd.xyz.tar.bz2": (11, "3195389"), "uncharacterized.txt": (12, "3195404")}
    archive.files["/collections/978904/articles"] = json.dumps([{"id": 11}, {"id": 12}]).encode()
    for name, (article, file_id) in names.items():
        content = CONTENT + name.encode()
        archive.files[f"/files/{file_id}"] = content
        entry = {"name": name, "computed_md5": hashlib.md5(content).hexdigest()}
        archive.files[f"/articles/{article}/files"] = json.dumps([entry]).encode()
    paths = get(archive, "qm9", tmp_path)
    assert [path.name for path in paths] == list(names)
    assert paths[1].read_bytes() == CONTENT + b"uncharacterized.txt"


def test_first_download_is_recorded_where_no_record_exists(archive: Archive, tmp_path: Path) -> None:
    archive.files[QM7] = CONTENT
    (path,) = get(archive, "qm7", tmp_path)
    entry = checksums(tmp_path)["qm7.mat"]
    assert entry["source"] == "first download"
    assert entry["url"] == archive.url + QM7
    path.unlink()
    archive.files[QM7] = CONTENT[::-1]
    with pytest.raises(DownloadError, match=f"wrong checksum, sha256:{entry['sha256']} was expected"):
        get(archive, "qm7", tmp_path)
    assert not path.exists()


def test_cut_connection_is_resumed(archive: Archive, tmp_path: Path) -> None:
    archive.files[QM7] = CONTENT
    archive.faults[QM7] = [("cut", 100_000), ("cut", 70_000)]
    (path,) = get(archive, "qm7", tmp_path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in archive.requests] == [None, "bytes=65536-", "bytes=131072-"]


def test_interrupted_call_is_resumed_by_the_next(archive: Archive, tmp_path: Path) -> None:
    archive.files[QM7] = CONTENT
    archive.faults[QM7] = [("cut", 100_000)] + [("status", 503)] * 4
    with pytest.raises(DownloadError, match=r"HTTP 503 .* \(after 2 attempts\)"):
        get(archive, "qm7", tmp_path, retries=1)
    assert (tmp_path / "qm7.mat.part").stat().st_size == 65_536
    archive.requests.clear()
    archive.faults.clear()
    (path,) = get(archive, "qm7", tmp_path)
    assert path.read_bytes() == CONTENT
    assert archive.requests[0] == (QM7, "bytes=65536-")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [CHECKSUM_FILE, "qm7.mat"]


def test_changed_file_is_not_glued_to_the_old_part(archive: Archive, tmp_path: Path) -> None:
    archive.files[QM7] = CONTENT
    archive.faults[QM7] = [("cut", 100_000)] + [("status", 404)] * 2
    with pytest.raises(DownloadError, match="HTTP 404"):
        get(archive, "qm7", tmp_path)
    archive.files[QM7], archive.etags[QM7] = CONTENT[::-1], '"2"'
    (path,) = get(archive, "qm7", tmp_path)
    assert path.read_bytes() == CONTENT[::-1]


def test_part_without_strong_validator_is_dropped(archive: Archive, tmp_path: Path) -> None:
    archive.files[QM7], archive.etags[QM7] = CONTENT, 'W/"1"'
    archive.faults[QM7] = [("cut", 100_000)]
    (path,) = get(archive, "qm7", tmp_path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in archive.requests] == [None, None]


def test_part_that_does_not_fit_is_dropped(archive: Archive, tmp_path: Path) -> None:
    archive.files[QM7] = CONTENT
    archive.faults[QM7] = [("cut", 100_000), ("status", 416)]
    (path,) = get(archive, "qm7", tmp_path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_faults_are_tried_again(archive: Archive, tmp_path: Path, status: int) -> None:
    publish_top_tagging(archive)
    archive.faults = {"/api/records/2603256": [("status", status)], TRAIN: [("status", status)] * 2}
    (path,) = get(archive, "top_tagging", tmp_path, files=["train.h5"])
    assert path.read_bytes() == CONTENT + b"train.h5"
    assert len(archive.requests) == 5


@pytest.mark.parametrize(("status", "reason"), [(403, "HTTP 403 Forbidden"), (404, "HTTP 404 Not Found")])
def test_refusal_names_address_and_place(archive: Archive, tmp_path: Path, status: int, reason: str) -> None:
    publish_top_tagging(archive)
    archive.faults[TRAIN] = [("status", status)]
    url = rf"{archive.url}{TRAIN}\?download=1"
    place = rf"Fetch it by hand from {url} and put it at {tmp_path}/train\.h5"
    with pytest.raises(DownloadError, match=rf"could not fetch `train\.h5`: {url}: {reason}\. {place}"):
        get(archive, "top_tagging", tmp_path)
    assert sum(path == TRAIN for path, _ in archive.requests) == 1


def test_mirror_is_tried_after_the_first_address(archive: Archive, tmp_path: Path) -> None:
    archive.files[QM7] = CONTENT
    hosts = {**hosts_of(archive), "quantum_machine": archive.url + "/gone"}
    (path,) = fetch("qm7", tmp_path, hosts=hosts, retries=0, wait_s=0.01)
    assert path.read_bytes() == CONTENT
    assert checksums(tmp_path)["qm7.mat"]["url"] == archive.url + QM7


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(
        DownloadError, match=r"no connection \(ConnectionError\) \(after 1 attempts\).*by hand"
    ):
        fetch("qm7", tmp_path, hosts=dict.fromkeys(HOSTS, "http://127.0.0.1:9"), retries=0)


def test_wrong_checksum_leaves_nothing_behind(archive: Archive, tmp_path: Path) -> None:
    publish_top_tagging(archive, checksum="0" * 32)
    with pytest.raises(DownloadError, match=f"wrong checksum, md5:{'0' * 32} was expected"):
        get(archive, "top_tagging", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_web_page_is_not_taken_for_the_file(archive: Archive, tmp_path: Path) -> None:
    archive.files[QM7], archive.types[QM7] = b"<html>log in</html>", "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="a web page came instead of the file"):
        get(archive, "qm7", tmp_path)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, "api/records/2603256: HTTP 404 Not Found"),
        (b"<html>", "the answer is not JSON"),
        (b'{"metadata": {}}', "the record has no checksums where they are expected"),
        (b'{"files": []}', "api/records/2603256 does not list it"),
    ],
)
def test_no_file_is_trusted_without_the_record(
    archive: Archive, tmp_path: Path, record: bytes | None, message: str
) -> None:
    publish_top_tagging(archive)
    del archive.files["/api/records/2603256"]
    if record is not None:
        archive.files["/api/records/2603256"] = record
    with pytest.raises(DownloadError, match=rf"could not fetch `train\.h5`: .*{message}.*put it at"):
        get(archive, "top_tagging", tmp_path)


def test_file_placed_by_hand_is_accepted_and_recorded(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "qm7.mat").write_bytes(CONTENT)
    assert get(archive, "qm7", tmp_path) == [tmp_path / "qm7.mat"]
    assert archive.requests == []
    assert checksums(tmp_path)["qm7.mat"]["source"] == "placed by hand"


def test_changed_file_is_refused(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "qm7.mat").write_bytes(CONTENT)
    get(archive, "qm7", tmp_path)
    (tmp_path / "qm7.mat").write_bytes(CONTENT + b"!")
    with pytest.raises(
        DownloadError, match=r"was recorded \(placed by hand\): delete the file to fetch it again"
    ):
        get(archive, "qm7", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", r"is damaged .*; delete it"), ("[]", "is damaged"), ('{"a": {}}', "lacks `sha256` or `source`")],
)
def test_damaged_checksum_file(archive: Archive, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / CHECKSUM_FILE).write_text(text)
    with pytest.raises(DownloadError, match=rf"checksums\.json {message}"):
        get(archive, "qm7", tmp_path)


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="unknown reference data set `qm8`; there are top_tagging, qm9, qm7"
    ):
        fetch("qm8", tmp_path)
    with pytest.raises(
        ConfigError, match=r"unknown file `a\.h5` for `top_tagging`; there are train\.h5, val"
    ):
        fetch("top_tagging", tmp_path, files=["a.h5"])
    with pytest.raises(ConfigError, match="unknown host `mirror` for `qm7`; there are zenodo"):
        fetch("qm7", tmp_path, hosts={"mirror": "http://127.0.0.1"})


def test_table_is_complete() -> None:
    for name, reference in REFERENCE_SETS.items():
        assert reference.citation, name
        assert reference.licence, name
        assert (reference.archive == "none") == (reference.record == ""), name
        for file in reference.files:
            assert all(url.format(**HOSTS).startswith("http") for url in file.urls), name
