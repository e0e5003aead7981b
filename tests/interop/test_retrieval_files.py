from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from geograph.cli_evaluate import evaluate_app
from geograph.errors import ConfigError, DataError
from geograph.interop.retrieval_files import Ignored, read_lists, write_lists
from geograph.interop.retrieval_report import evaluate_folder, write_table
from geograph.interop.retrieval_truth import RetrievalTruth, read_truth, write_truth
from geograph.tasks.retrieval import MEASURES, RankedLists, lists_from_scores, retrieval_metrics

CSV = """id,synsetId,subSynsetId,modelId,split
000001,chair,armchair,a,test
000002,chair,armchair,b,test
000003,chair,chair,c,test
000004,table,desk,d,test
000005,table,,e,test
000006,chair,armchair,f,train
"""


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    path = tmp_path / "all.csv"
    path.write_text(CSV)
    return path


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_truth_is_read(truth: Path) -> None:
    read = read_truth(truth)
    assert read.ids == [f"{number:06d}" for number in range(1, 7)]
    assert [read.names[number] for number in read.category] == ["chair"] * 3 + ["table"] * 2 + ["chair"]
    sub = [read.names[number] for number in read.subcategory]
    assert sub == ["armchair", "armchair", "chair", "desk", "table", "armchair"]
    assert read.has_subcategories
    assert read.of_split("test").ids == read.ids[:5]
    packed = truth.with_name("all.csv.gz")
    packed.write_bytes(gzip.compress(CSV.encode()))
    assert read_truth(packed).ids == read.ids


def test_lists_are_read_as_the_competition_does(truth: Path, tmp_path: Path) -> None:
    folder = tmp_path / "test_normal"
    # Without zeros in front, a duplicate, one of another split, one that is unknown, an empty line.
    write(
        folder,
        {"1": "1 0.0\n3 0.5\n\n000003 0.6\n6 0.7\n999999 0.8\n4 0.9\n", "777777": "1\n", ".notes": "x"},
    )
    write(folder, {"000004": "000005\n000004\n"})
    queries, lists, ignored = read_lists(folder, read_truth(truth).of_split("test"))
    assert [queries[0], queries[1]] == [3, 0]
    assert lists.results.tolist() == [4, 3, 0, 2, 3]
    assert lists.ptr.tolist() == [0, 2, 5]
    assert vars(ignored) == vars(Ignored(unknown_queries=1, duplicates=1, unknown_results=2))


def test_lines_after_the_thousandth_do_not_count(tmp_path: Path) -> None:
    ids = [f"{number:06d}" for number in range(1200)]
    write_truth(tmp_path / "all.csv", ids, ["one"] * 1200)
    truth = read_truth(tmp_path / "all.csv")
    write(tmp_path / "lists", {"000000": "\n".join(ids)})
    report = evaluate_folder(tmp_path / "lists", truth)[0]
    assert report.ignored.beyond_limit == 200
    assert not truth.has_subcategories
    assert report.averages["recall_at_n_micro"] == 1.0
    assert "ndcg_graded_micro" not in report.averages


def test_measures_are_those_of_the_lists(truth: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "run" / "test_perturbed", {"000001": "1\n3\n4\n", "000004": "5\n4\n"})
    write(tmp_path / "run" / "notes", {"readme": "not looked at"})
    report = evaluate_folder(folder.parent, read_truth(truth))[0]
    assert (report.dataset, report.split, report.num_queries, report.num_missing) == (
        "test_perturbed",
        "test",
        2,
        3,
    )
    average = report.averages
    assert average["precision_at_n_micro"] == pytest.approx((2 / 3 + 1) / 2)
    assert average["recall_at_n_micro"] == pytest.approx((2 / 3 + 1) / 2)
    assert average["map_micro"] == pytest.approx((2 / 3 + 1) / 2)
    # Gains 3, 2, 0 of at best 3, 3, 2; and 2, 3 of at best 3, 2.
    log3 = np.log2(3)
    graded = ((3 + 2) / (3 + 3 + 2 / log3) + (2 + 3) / (3 + 2)) / 2
    assert average["ndcg_graded_micro"] == pytest.approx(graded)
    assert report.per_category["table"]["precision_at_n"] == 1.0
    zero = evaluate_folder(folder, read_truth(truth), missing_count=True)[0]
    assert zero.averages["precision_at_n_micro"] == pytest.approx((2 / 3 + 1) / 5)
    assert zero.num_missing == 3


def test_zip_is_read_like_its_folder(truth: Path, tmp_path: Path) -> None:
    files = {"000001": "1\n3\n4\n", "000004": "5\n4\n"}
    for prefix in ("", "Author_Method/", "test_normal/", "Author_Method/test_normal/"):
        with zipfile.ZipFile(tmp_path / "run.zip", "w") as archive:
            for name, text in files.items():
                archive.writestr(prefix + name, text)
        report = evaluate_folder(tmp_path / "run.zip", read_truth(truth), split="test")[0]
        assert report.num_queries == 2
        assert report.averages["precision_at_n_micro"] == pytest.approx((2 / 3 + 1) / 2)


def test_written_lists_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((40, 3))
    ids = [f"shape-{number}" for number in range(40)]
    labels, sub = rng.integers(0, 3, size=40), rng.integers(0, 2, size=40)
    lists = lists_from_scores(scores)
    write_lists(tmp_path / "out", ids, lists, np.arange(len(lists.results), dtype=np.float64))
    subs = [f"{a}.{b}" for a, b in zip(labels, sub, strict=True)]
    write_truth(tmp_path / "all.csv", ids, [str(one) for one in labels], subs, ["test"] * 40)
    truth = read_truth(tmp_path / "all.csv")
    report = evaluate_folder(tmp_path / "out", truth, split="test")[0]
    expected = retrieval_metrics(lists, np.arange(40), truth.category, truth.subcategory)
    assert report.averages == pytest.approx(expected)
    assert vars(report.ignored) == vars(Ignored())
    write_table(tmp_path / "table.csv", [report])
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[0] == ",".join(["class", "num_queries", *MEASURES, "dataset"])
    assert len(lines) == 1 + 2 + 3


def test_falling_distances_are_noticed(truth: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "run", {"000001": "1 0.9\n3 0.5\n", "000002": "2 0.1\n1 0.2\n"})
    assert evaluate_folder(folder, read_truth(truth))[0].ignored.unordered == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "all.csv: no objects; give the CSV of the competition"),
        ("id,class\n1,chair\n", r"the columns \['class', 'id'\] lack `id` or `synsetId`"),
        ("id,synsetId\n1,\n", "record 1: no id or no category; complete the line"),
        ("id,synsetId\n1,chair\n1,chair\n", "record 1: the object is there twice; remove a line"),
    ],
)
def test_broken_truth_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_truth(tmp_path / "all.csv")


def test_unreadable_files_are_named(truth: Path, tmp_path: Path) -> None:
    (tmp_path / "all.csv.gz").write_bytes(b"not packed")
    with pytest.raises(DataError, match="not a readable CSV file"):
        read_truth(tmp_path / "all.csv.gz")
    with pytest.raises(DataError, match="none.csv: no such file; check the path"):
        read_truth(tmp_path / "none.csv")
    objects = read_truth(truth)
    with pytest.raises(DataError, match="no such folder; check the path"):
        evaluate_folder(tmp_path / "none", objects)
    with pytest.raises(DataError, match="neither a folder nor a zip file"):
        evaluate_folder(truth, objects)
    folder = write(tmp_path / "run", {"other": "1\n"})
    with pytest.raises(DataError, match=r"no result file of any of 6 objects \(1 other files\)"):
        evaluate_folder(folder, objects)
    write(folder, {"000001": "2 near\n"})
    with pytest.raises(DataError, match="run/000001: a distance is no number: .*'near'"):
        evaluate_folder(folder, objects)
    with pytest.raises(
        ConfigError, match=r"`split` must be one of those of the truth \(\['test', 'train'\]\)"
    ):
        evaluate_folder(folder, objects, split="val")


@pytest.mark.parametrize("name", ["", "a/b", "a b", ".hidden"])
def test_ids_that_are_no_file_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the id cannot be a file name; rename the object"):
        write_lists(tmp_path, [name], RankedLists(np.array([0]), np.array([0, 1])))


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(evaluate_app, ["retrieval", *arguments])
    return result.exit_code, " ".join(result.output.split())


def test_command_prints_and_writes(truth: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "run" / "test_normal", {"000001": "1\n2\n1\n", "000004": "5\n4\n"}).parent
    out, table = tmp_path / "out" / "figures.json", tmp_path / "out" / "table.csv"
    code, text = run(str(folder), "--truth", str(truth), "--json", str(out), "--table", str(table))
    assert code == 0, text
    assert "test_normal: 2 queries of split test" in text
    assert "3 queries have no file and are in no average, as in the competition." in text
    assert "1 lines with an object that was there already: left out." in text
    values = json.loads(out.read_text())
    assert values[0]["averages"]["precision_at_n_micro"] == 1.0
    assert values[0]["ignored"]["duplicates"] == 1
    assert table.read_text().splitlines()[1].startswith("microALL,2,1.0,")


def test_command_refuses_in_one_line(truth: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "test_normal", {"000001": "1\n2\n1\n"})
    code, text = run(str(folder), "--truth", str(truth), "--strict")
    assert code == 1
    assert "test_normal has 1 duplicates, 4 missing; mend the files" in text
    code, text = run(str(folder), "--truth", str(tmp_path / "none.csv"))
    assert (code, text) == (1, f"error: {tmp_path / 'none.csv'}: no such file; check the path.")


def test_truth_without_splits_has_none_to_choose(tmp_path: Path) -> None:
    write_truth(tmp_path / "all.csv", ["1"], ["one"])
    truth: RetrievalTruth = read_truth(tmp_path / "all.csv")
    with pytest.raises(ConfigError, match=r"must be one of those of the truth \(none at all\), got 'test'"):
        truth.of_split("test")
