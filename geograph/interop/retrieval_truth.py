"""Which category and sub-category the objects of a retrieval track have: its CSV file.

The columns are `id`, `synsetId`, `subSynsetId` (may be missing or empty), `split` (may be missing), and any
others. The file may be packed (.gz).

References
----------
Savva et al. 2017, "SHREC'17 Track: Large-Scale 3D Shape Retrieval from ShapeNet Core55".
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from geograph.errors import ConfigError, DataError

_HEADER = ("id", "synsetId", "subSynsetId", "modelId", "split")


@dataclass(frozen=True)
class RetrievalTruth:
    """Categories of objects.

    Attributes
    ----------
    ids
        Of the objects, in the order of the file.
    category, subcategory
        Numbers in `names`; an object without a sub-category has its category there.
    split
        Of each object; empty where the file has none.
    names
        Of categories and sub-categories.
    has_subcategories
        Whether any object has one.
    """

    ids: list[str]
    category: Int[np.ndarray, " objects"]
    subcategory: Int[np.ndarray, " objects"]
    split: list[str]
    names: list[str]
    has_subcategories: bool

    def of_split(self, split: str | None) -> RetrievalTruth:
        """Objects of one split; all of them for None.

        Raises
        ------
        ConfigError
            If no object is of that split.
        """
        if split is None:
            return self
        keep = [number for number, name in enumerate(self.split) if name == split]
        if not keep:
            known = sorted(name for name in set(self.split) if name) or "none at all"
            raise ConfigError(f"`split` must be one of those of the truth ({known}), got {split!r}.")
        return RetrievalTruth(
            [self.ids[number] for number in keep],
            self.category[keep],
            self.subcategory[keep],
            [split] * len(keep),
            self.names,
            self.has_subcategories,
        )


def read_truth(path: str | Path) -> RetrievalTruth:
    """Read the categories of objects.

    Raises
    ------
    DataError
        If the file is missing, lacks a column, is empty, or has an object twice or without a category.
    """
    rows = list(csv.DictReader(io.StringIO(_text(Path(path)))))
    columns = set(rows[0]) if rows else set()
    if not {"id", "synsetId"} <= columns:
        what = (
            "no objects" if not rows else f"the columns {sorted(map(str, columns))} lack `id` or `synsetId`"
        )
        raise DataError(what, source=path, remedy="give the CSV of the competition, with its header")
    for number, row in enumerate(rows, start=1):
        if not row["id"] or not row["synsetId"]:
            raise DataError("no id or no category", source=path, record=number, remedy="complete the line")
    ids = [row["id"].strip() for row in rows]
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise DataError("the object is there twice", source=path, record=twice, remedy="remove a line")
    category = [row["synsetId"].strip() for row in rows]
    sub = [
        (row.get("subSynsetId") or "").strip() or parent for row, parent in zip(rows, category, strict=True)
    ]
    names = sorted({*category, *sub})
    number_of = {name: number for number, name in enumerate(names)}
    return RetrievalTruth(
        ids,
        np.array([number_of[name] for name in category]),
        np.array([number_of[name] for name in sub]),
        [(row.get("split") or "").strip() for row in rows],
        names,
        sub != category,
    )


def write_truth(
    path: str | Path,
    ids: Sequence[str],
    categories: Sequence[str],
    subcategories: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
) -> None:
    """Write the categories of objects as the competition does."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    empty = [""] * len(ids)
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows(zip(ids, categories, subcategories or empty, ids, splits or empty, strict=True))


def _text(path: Path) -> str:
    if not path.is_file():
        raise DataError("no such file", source=path, remedy="check the path")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return content.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"not a readable CSV file: {error}", source=path, remedy="fetch it again") from error
