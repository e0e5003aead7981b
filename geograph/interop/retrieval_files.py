"""Ranked lists of queries in the file layout of the SHREC'16 and SHREC'17 retrieval tracks.

One file for each query, named by its id without a suffix, with one line `id distance` for each object found,
best first; the distance may be missing, and is not used. Ids of fewer than six digits are read as if zeros
stood before them.

What counts is what counts in the competition: the first 1000 lines of a file, of these each object once, of
these the objects of the query's split; the rest is left out and counted.

References
----------
Savva et al. 2017, "SHREC'17 Track: Large-Scale 3D Shape Retrieval from ShapeNet Core55".
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from geograph.errors import DataError
from geograph.interop.retrieval_truth import RetrievalTruth
from geograph.tasks.retrieval import LIMIT, RankedLists

#: Folders of the competition: the split that queries and results come from, and how the shapes were posed.
DATASETS = tuple(f"{split}_{pose}" for split in ("test", "val", "train") for pose in ("normal", "perturbed"))
_ID_WIDTH = 6


@dataclass
class Ignored:
    """How much of the result files does not count, by reason.

    Attributes
    ----------
    unknown_queries
        Files whose name is no object of the split.
    beyond_limit, duplicates, unknown_results
        Lines after the first 1000, objects that were there already, objects that are none of the split.
    unordered
        Files whose distances fall somewhere; the order of the lines counts.
    """

    unknown_queries: int = 0
    beyond_limit: int = 0
    duplicates: int = 0
    unknown_results: int = 0
    unordered: int = 0


def write_lists(
    folder: str | Path,
    ids: Sequence[str],
    lists: RankedLists,
    distances: Float[np.ndarray, " results"] | None = None,
) -> None:
    """Write one file for each query, `ids` being the names of all objects, which are the queries as well.

    Parameters
    ----------
    distances
        Of all results, in the order of `lists`; without them the lines have ids alone.

    Raises
    ------
    DataError
        If an id cannot be the name of a file or a word on a line.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for one in ids:
        if not one or "/" in one or one != one.strip() or len(one.split()) != 1 or one.startswith("."):
            raise DataError("the id cannot be a file name", record=repr(one), remedy="rename the object")
    words = [ids[number] for number in lists.results]
    if distances is not None:
        words = [f"{word} {value:.9g}" for word, value in zip(words, distances, strict=True)]
    for one, begin, end in zip(ids, lists.ptr[:-1], lists.ptr[1:], strict=True):
        text = "".join(f"{word}\n" for word in words[begin:end])
        (target / one).write_text(text, encoding="utf-8", newline="\n")


def read_lists(
    folder: str | Path | zipfile.Path, truth: RetrievalTruth
) -> tuple[Int[np.ndarray, " queries"], RankedLists, Ignored]:
    """Read result files, with what does not count left out.

    Parameters
    ----------
    folder
        Of the files; names that begin with a dot are not looked at.
    truth
        The objects that can be queries and results: those of one split.

    Returns
    -------
    Objects that are queries, their lists, and what was left out.

    Raises
    ------
    DataError
        If the folder is missing or has no query among the objects, or a distance is no number.
    """
    number_of = {name: number for number, name in enumerate(truth.ids)}
    ignored, queries, found, ptr = Ignored(), [], [], [0]
    for name, text in _files(folder):
        query = number_of.get(name, number_of.get(name.zfill(_ID_WIDTH)))
        if query is None:
            ignored.unknown_queries += 1
            continue
        found += _results(text, number_of, ignored, f"{folder}/{name}")
        queries.append(query)
        ptr.append(len(found))
    if not queries:
        what = f"no result file of any of {len(truth.ids)} objects ({ignored.unknown_queries} other files)"
        raise DataError(
            what, source=str(folder), remedy="name each file by the id of its query, without suffix"
        )
    return np.array(queries), RankedLists(np.array(found, dtype=np.int64), np.array(ptr)), ignored


def _results(text: str, number_of: dict[str, int], ignored: Ignored, source: str) -> list[int]:
    lines = [line.split() for line in text.splitlines() if line.strip()]
    ignored.beyond_limit += max(0, len(lines) - LIMIT)
    lines = lines[:LIMIT]
    try:
        distances = [float(words[1]) for words in lines if len(words) > 1]
    except ValueError as error:
        raise DataError(
            f"a distance is no number: {error}",
            source=source,
            remedy="write lines `id distance`, or ids alone",
        ) from error
    ignored.unordered += any(b < a for a, b in zip(distances, distances[1:], strict=False))
    once = dict.fromkeys(words[0] if words[0] in number_of else words[0].zfill(_ID_WIDTH) for words in lines)
    ignored.duplicates += len(lines) - len(once)
    found = [number_of[word] for word in once if word in number_of]
    ignored.unknown_results += len(once) - len(found)
    return found


def _files(folder: str | Path | zipfile.Path) -> Iterator[tuple[str, str]]:
    place = result_root(folder) if isinstance(folder, str | Path) else folder
    entries: list[Path | zipfile.Path] = list(place.iterdir())
    for entry in sorted(entries, key=lambda one: one.name):
        if entry.is_file() and not entry.name.startswith("."):
            yield entry.name, entry.read_text(encoding="utf-8")


def result_root(folder: str | Path) -> Path | zipfile.Path:
    """Return the folder, or what takes its place in a zip file.

    Raises
    ------
    DataError
        If there is neither.
    """
    path = Path(folder)
    if path.is_dir():
        return path
    if not path.is_file():
        raise DataError("no such folder", source=path, remedy="check the path")
    if not zipfile.is_zipfile(path):
        raise DataError(
            "neither a folder nor a zip file", source=path, remedy="give the folder of the results"
        )
    root = zipfile.Path(path)
    entries = [entry for entry in root.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    # Archives often have one folder with everything in it.
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else root
