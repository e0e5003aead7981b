"""From sources to records: splits, refused records, where files are looked up, reference sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geograph.datasets.records import read_text
from geograph.errors import ConfigError, DataError
from pipelines import prepare, sources
from pipelines.params import Params
from pipelines.source import Source, locate, make_rejects_report
from pipelines.sources import open_source

PARTS = ("train", "val", "test")


def molecules(split: dict[str, Any], **source: Any) -> dict[str, Any]:
    return {
        "domain": "molecules",
        "source": {"kind": "files", "format": "atoms", "path": "molecules.xyz", **source},
        "split": split,
        "graph": {},
    }


def params_of(dataset: dict[str, Any], name: str = "small") -> Params:
    content = {"data": {name: dataset}, "runs": {}, "tracking": {"enabled": False}}
    return Params.model_validate(content | {"parallel": {"num_workers": 1}})


def split_of(split: dict[str, Any], source: Source, count: int = 20) -> dict[str, list[int]]:
    dataset = params_of(molecules(split)).data["small"]
    made = prepare.make_split(dataset, source, [str(number) for number in range(count)]).check(count)
    return {part: getattr(made, part).tolist() for part in PARTS}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, which is also where data files are looked up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEOGRAPH_DATA", str(tmp_path))
    return tmp_path


# Splits -----------------------------------------------------------------------------------------------------


def test_seeded_split() -> None:
    split = {"kind": "seeded", "val": 0.1, "test": 0.2, "seed": 3}
    parts = split_of(split, Source([]))
    assert [len(parts[part]) for part in PARTS] == [14, 2, 4]
    assert sorted(sum(parts.values(), [])) == list(range(20))
    assert split_of(split, Source([])) == parts
    assert split_of({**split, "seed": 4}, Source([])) != parts


def test_provided_split_is_taken_as_it_is() -> None:
    names = ["test", "train", "val", "train"] * 5
    parts = split_of({"kind": "provided"}, Source([], parts=lambda _: names))
    assert parts == {part: [n for n in range(20) if names[n] == part] for part in PARTS}


def test_provided_split_sees_the_identifiers() -> None:
    source = Source([], parts=lambda ids: ["test" if int(name) >= 15 else "train" for name in ids])
    parts = split_of({"kind": "provided", "val": 0.2}, source)
    assert parts["test"] == [15, 16, 17, 18, 19]


def test_provided_split_without_validation_part_holds_some_out() -> None:
    source = Source([], parts=lambda _: ["train"] * 15 + ["test"] * 5)
    split = {"kind": "provided", "val": 0.2, "seed": 1}
    parts = split_of(split, source)
    assert (len(parts["train"]), len(parts["val"])) == (12, 3)
    assert sorted(parts["train"] + parts["val"]) == list(range(15))
    assert parts["test"] == list(range(15, 20))
    assert split_of(split, source) == parts
    assert split_of({**split, "seed": 2}, source)["val"] != parts["val"]


@pytest.mark.parametrize("test_fold", [0, 3])
def test_qm7_folds(test_fold: int) -> None:
    folds = np.arange(20) % 5
    split = {"kind": "qm7-folds", "test_fold": test_fold, "val": 0.25, "seed": 1}
    parts = split_of(split, Source([], folds=lambda: folds))
    assert parts["test"] == np.flatnonzero(folds == test_fold).tolist()
    assert (len(parts["train"]), len(parts["val"])) == (12, 4)
    assert split_of(split, Source([], folds=lambda: folds)) == parts


def test_published_qm9_split_needs_all_of_qm9_or_the_list_of_excluded_molecules() -> None:
    with pytest.raises(ConfigError, match="needs QM9 whole, .* source.exclude: .* has 20 records"):
        split_of({"kind": "qm9-edm"}, Source([]))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            {"kind": "qm7-folds", "test_fold": 1},
            "split.kind qm7-folds needs a QM7 file, which holds the folds",
        ),
        ({"kind": "provided"}, "split.kind provided: this source does not say .*; use seeded"),
    ],
)
def test_split_that_the_source_does_not_offer(split: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split_of(split, Source([]))


# Refused records --------------------------------------------------------------------------------------------

HYDROGEN = "2\nhydrogen\nH 0 0 0\nH 0 0 0.74\n"
BROKEN = "2\nbroken\nH 0 0 0\nXx 0 0 0.74\n"


def test_refused_records_are_counted_and_listed(here: Path) -> None:
    (here / "molecules.xyz").write_text(HYDROGEN * 2 + BROKEN + HYDROGEN * 4)
    params = params_of(molecules({"val": 0.2, "test": 0.2}, max_rejected=1))
    prepare.run(params, "small")
    figures = json.loads(Path("metrics/prepare/small.json").read_text())
    assert (figures["num_records"], figures["num_nodes"], figures["num_rejected"]) == (6, 12, 1)
    assert [figures[f"num_{part}"] for part in PARTS] == [4, 1, 1]
    lines = Path("data/raw/small/rejected.csv").read_text().splitlines()
    assert lines[0] == "reason"
    assert len(lines) == 2
    assert "molecules.xyz, record 2: unknown element: atom 1 is 'Xx'" in lines[1]
    assert read_text("data/raw/small")["id"] == ["0", "1", "3", "4", "5", "6"]


def test_too_many_refused_records_stop_the_stage(here: Path) -> None:
    (here / "molecules.xyz").write_text(HYDROGEN + BROKEN + HYDROGEN + BROKEN)
    with pytest.raises(DataError, match="molecules.xyz, record 1: unknown element"):
        prepare.run(params_of(molecules({})), "small")
    with pytest.raises(DataError, match="molecules.xyz, record 3: unknown element"):
        prepare.run(params_of(molecules({}, max_rejected=1)), "small")
    assert not Path("metrics/prepare/small.json").exists()


def test_nothing_refused_leaves_an_empty_list(here: Path) -> None:
    (here / "molecules.xyz").write_text(HYDROGEN * 3)
    prepare.run(params_of(molecules({})), "small")
    assert Path("data/raw/small/rejected.csv").read_text() == "reason\n"


def test_reasons_are_one_line_each() -> None:
    assert make_rejects_report(['a "b", c', "d"]) == 'reason\n"a \'b\', c"\n"d"\n'


def write_qm7(path: Path, *, broken: tuple[int, ...] = (), has_folds: bool = True) -> None:
    """Ten hydrogen molecules whose fold is their number modulo 5."""
    positions = np.zeros((10, 2, 3))
    positions[:, 1, 2] = 0.74
    positions[list(broken), 0, 0] = np.nan
    arrays = {"R_angstrom": positions, "Z": np.ones((10, 2), int), "T_kcalmol": np.full(10, -109.5)}
    np.savez(path, **arrays, **({"fold": np.arange(10) % 5} if has_folds else {}))


def qm7(**source: Any) -> dict[str, Any]:
    split = {"kind": "qm7-folds", "test_fold": 3, "val": 0.0}
    return molecules(split, format="qm7", path="qm7.npz", **source)


def test_folds_stay_with_their_records_when_one_is_refused(here: Path) -> None:
    write_qm7(here / "qm7.npz", broken=(2,))
    prepare.run(params_of(qm7(max_rejected=1)), "small")
    ids = read_text("data/raw/small")["id"]
    split = json.loads(Path("data/raw/small-split.json").read_text())
    assert [ids[record] for record in split["test"]] == ["qm7_3", "qm7_8"]


def test_limit_reads_only_the_first_records(here: Path) -> None:
    write_qm7(here / "qm7.npz")
    prepare.run(params_of(qm7(limit=7)), "small")
    assert read_text("data/raw/small")["id"] == [f"qm7_{number}" for number in range(7)]
    assert json.loads(Path("data/raw/small-split.json").read_text())["test"] == [3]


def test_folds_are_asked_for_only_where_the_split_needs_them(here: Path) -> None:
    write_qm7(here / "qm7.npz", has_folds=False)
    prepare.run(params_of(qm7() | {"split": {"kind": "seeded"}}), "small")
    assert len(read_text("data/raw/small")["id"]) == 10
    with pytest.raises(DataError, match="fold"):
        prepare.run(params_of(qm7()), "small")


# Where files are --------------------------------------------------------------------------------------------


def test_missing_file_lists_the_folders_tried(here: Path) -> None:
    downloads = sources.REPOSITORY / "data" / "downloads"
    tried = f"{here / 'qm9' / 'none.xyz'}, {downloads / 'qm9' / 'none.xyz'}"
    with pytest.raises(
        DataError, match="file not found; tried .*; set GEOGRAPH_DATA to the folder"
    ) as caught:
        locate("qm9/none.xyz")
    assert tried in str(caught.value)


def test_missing_file_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEOGRAPH_DATA", raising=False)
    with pytest.raises(DataError, match=r"tried \S*data/downloads/none.xyz; set GEOGRAPH_DATA"):
        locate("none.xyz")


def test_absolute_path_is_looked_up_nowhere_else(here: Path) -> None:
    (here / "there.xyz").write_text("")
    assert locate(str(here / "there.xyz")) == here / "there.xyz"
    with pytest.raises(DataError, match=f"tried {here}/none.xyz; set"):
        locate(str(here / "none.xyz"))


# Reference sets ---------------------------------------------------------------------------------------------


def write_jets(path: Path, count: int, *, broken: tuple[int, ...] = ()) -> None:
    momenta = np.tile([50.0, 30.0, 40.0, 0.0], (count, 3, 1)) * np.arange(1, 4)[:, None]
    label = np.arange(count) % 2
    label[list(broken)] = 7
    np.savez(path, p4=momenta, label=label)


def fake_fetch(monkeypatch: pytest.MonkeyPatch, paths: list[Path]) -> list[tuple[str, Path]]:
    calls: list[tuple[str, Path]] = []

    def fetch(name: str, folder: Path) -> list[Path]:
        calls.append((name, folder))
        return paths

    monkeypatch.setattr("geograph.datasets.download.fetch", fetch)
    return calls


def top_tagging(**source: Any) -> dict[str, Any]:
    return {
        "domain": "jets",
        "source": {"kind": "reference", "name": "top_tagging", **source},
        "split": {"kind": "provided"},
        "graph": {},
    }


def test_top_tagging_keeps_its_three_parts(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part, count in (("train", 6), ("val", 3), ("test", 4)):
        write_jets(here / f"{part}.npz", count, broken=(1,) if part == "val" else ())
    calls = fake_fetch(monkeypatch, [here / f"{part}.npz" for part in PARTS])
    prepare.run(params_of(top_tagging(max_rejected=1)), "small")
    assert calls == [("top_tagging", sources.REPOSITORY / "data" / "downloads" / "top_tagging")]
    ids = read_text("data/raw/small")["id"]
    split = json.loads(Path("data/raw/small-split.json").read_text())
    named = {part: [ids[record] for record in split[part]] for part in PARTS}
    assert named["train"] == [f"train-{number}" for number in range(6)]
    assert named["val"] == ["val-0", "val-2"]
    assert named["test"] == [f"test-{number}" for number in range(4)]
    # What the second file refused is counted and listed, too.
    assert json.loads(Path("metrics/prepare/small.json").read_text())["num_rejected"] == 1
    assert "val.npz, record 1: label 7" in Path("data/raw/small/rejected.csv").read_text()
    attributes = json.loads(Path("data/raw/small/manifest.json").read_text())["attributes"]
    assert attributes["class_names"] == ["QCD", "top"]
    assert attributes["path"] == "train.npz, val.npz, test.npz"


def test_limit_holds_for_each_part(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in PARTS:
        write_jets(here / f"{part}.npz", 5)
    fake_fetch(monkeypatch, [here / f"{part}.npz" for part in PARTS])
    prepare.run(params_of(top_tagging(limit=2)), "small")
    split = json.loads(Path("data/raw/small-split.json").read_text())
    assert [split[part] for part in PARTS] == [[0, 1], [2, 3], [4, 5]]


def test_qm7_as_a_reference_set(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_qm7(here / "qm7.npz")
    fake_fetch(monkeypatch, [here / "qm7.npz"])
    dataset = qm7() | {"source": {"kind": "reference", "name": "qm7"}}
    prepare.run(params_of(dataset), "small")
    assert json.loads(Path("data/raw/small-split.json").read_text())["test"] == [3, 8]


def test_unknown_reference_set() -> None:
    dataset = params_of(top_tagging(name="top")).data["small"]
    with pytest.raises(ConfigError, match="`name` must be one of top_tagging, .*, got 'top'"):
        open_source(dataset, 1)


# Maps -------------------------------------------------------------------------------------------------------


def test_maps_are_read_from_one_folder_for_each_class(here: Path) -> None:
    for number, name in enumerate(("cold", "hot")):
        (here / "skies" / name).mkdir(parents=True)
        np.save(here / "skies" / name / "first.npy", np.full((16, 16), number, dtype=np.float32))
    np.save(here / "skies" / "cold" / "broken.npy", np.full((16, 16), np.nan, dtype=np.float32))
    source = {"kind": "files", "path": "skies", "bandlimit": 8, "max_rejected": 1}
    opened = open_source(params_of({"domain": "maps", "source": source}).data["small"], 1)
    maps = {record.id: record for record in opened.records}
    assert opened.attributes["class_names"] == ["cold", "hot"]
    assert [record.label for record in maps.values()] == [0, 1]
    # The map that is 1 everywhere is sqrt(4 pi) times the constant harmonic.
    np.testing.assert_allclose(maps["hot/first.npy"].harmonic[0, 0], np.sqrt(4 * np.pi), rtol=1e-6)
    assert len(opened.rejects) == 1
    assert "broken.npy" in opened.rejects[0]


def test_too_many_broken_maps(here: Path) -> None:
    (here / "skies" / "cold").mkdir(parents=True)
    np.save(here / "skies" / "cold" / "broken.npy", np.full((16, 16), np.nan, dtype=np.float32))
    dataset = {"domain": "maps", "source": {"kind": "files", "path": "skies", "bandlimit": 8}}
    with pytest.raises(DataError, match="broken.npy: 256 of 256 pixels are not finite"):
        list(open_source(params_of(dataset).data["small"], 1).records)
