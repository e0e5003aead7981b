"""Measures of result files of a retrieval track, over all queries and for each category."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geograph.interop.retrieval_files import DATASETS, Ignored, read_lists, result_root
from geograph.interop.retrieval_truth import RetrievalTruth
from geograph.tasks.retrieval import MEASURES, RankedLists, averages, query_measures


@dataclass(frozen=True)
class RetrievalReport:
    """Measures of one set of result files.

    Attributes
    ----------
    dataset, split
        Name of the folder, and the split of its queries; None where all objects are one set.
    num_queries, num_missing
        Objects with a result file, and without one.
    missing_count
        Whether queries without a file are in the averages, with zeros.
    averages
        `<measure>_micro` and `<measure>_macro`.
    per_category
        Measures and number of queries of each category.
    ignored
        What does not count.
    """

    dataset: str
    split: str | None
    num_queries: int
    num_missing: int
    missing_count: bool
    averages: dict[str, float]
    per_category: dict[str, dict[str, float]]
    ignored: Ignored = field(default_factory=Ignored)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {**vars(self), "ignored": vars(self.ignored)}


def evaluate_folder(
    folder: str | Path,
    truth: RetrievalTruth,
    *,
    split: str | None = None,
    missing_count: bool = False,
) -> list[RetrievalReport]:
    """Measure result files, or each of the folders named as in the competition.

    Parameters
    ----------
    folder
        Folder or zip file.
    truth
        Categories of all objects.
    split
        Of the queries; None takes it from the name of the folder, or all objects where it says none.
    missing_count
        Give zeros to queries without a file; the competition leaves them out.

    Raises
    ------
    DataError
        As `read_lists`.
    ConfigError
        If no object is of the split.
    """
    root = result_root(folder)
    inner = [(name, root / name) for name in DATASETS if (root / name).is_dir()]
    stem = (Path(folder).resolve() if root == Path(folder) else root).name.removesuffix(".zip")
    reports = []
    for name, place in inner or [(stem, root)]:
        chosen = split
        if chosen is None and name.split("_")[0] in truth.split:
            chosen = name.split("_")[0]
        reports.append(_report(name, place, truth.of_split(chosen), chosen, missing_count))
    return reports


def _report(
    name: str, place: Path | zipfile.Path, truth: RetrievalTruth, split: str | None, missing_count: bool
) -> RetrievalReport:
    queries, lists, ignored = read_lists(place, truth)
    answered = len(queries)
    if missing_count:
        absent = np.setdiff1d(np.arange(len(truth.ids)), queries)
        queries = np.concatenate([queries, absent])
        lists = RankedLists(lists.results, np.append(lists.ptr, np.full(len(absent), lists.ptr[-1])))
    sub = truth.subcategory if truth.has_subcategories else None
    values = query_measures(lists, queries, truth.category, sub)
    asked = truth.category[queries]
    per_category = {}
    for code in np.unique(asked):
        means = {measure: float(value[asked == code].mean()) for measure, value in values.items()}
        per_category[truth.names[code]] = {"num_queries": float((asked == code).sum()), **means}
    missing = len(truth.ids) - answered
    mean = averages(values, asked)
    return RetrievalReport(name, split, answered, missing, missing_count, mean, per_category, ignored)


def write_table(path: str | Path, reports: Sequence[RetrievalReport]) -> None:
    """Write a CSV file with a row for each average and each category, as the competition's evaluator does."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class", "num_queries", *MEASURES, "dataset"])
        for one in reports:
            for kind in ("micro", "macro"):
                means = [one.averages.get(f"{name}_{kind}", "") for name in MEASURES]
                writer.writerow([f"{kind}ALL", one.num_queries, *means, one.dataset])
            for name, values in one.per_category.items():
                means = [values.get(measure, "") for measure in MEASURES]
                writer.writerow([name, int(values["num_queries"]), *means, one.dataset])
