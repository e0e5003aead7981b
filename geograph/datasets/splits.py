"""Splits: which records belong to train, validation and test, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Int

from geograph.errors import DataError

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Disjoint record numbers of the three parts.

    Attributes
    ----------
    name
        Where the split comes from: "seeded", or the name of a published split.
    train, val, test
        Record numbers.
    """

    name: str
    train: Int[np.ndarray, " a"]
    val: Int[np.ndarray, " b"]
    test: Int[np.ndarray, " c"]

    def check(self, num_records: int, source: str | PathLike[str] | None = None) -> Split:
        """Return the split itself if it is sound.

        Raises
        ------
        DataError
            If a number is out of range, stands twice, or the train part is empty.
        """
        numbers = np.concatenate([self.train, self.val, self.test])
        if len(numbers) and (numbers.min() < 0 or numbers.max() >= num_records):
            raise DataError(
                f"split names record {int(numbers.max())}, the data set has {num_records} records",
                source=source,
                remedy="the split belongs to other data; make it anew",
            )
        values, counts = np.unique(numbers, return_counts=True)
        if (counts > 1).any():
            raise DataError(
                f"record {int(values[counts > 1][0])} stands in more than one part of the split",
                source=source,
            )
        if len(self.train) == 0:
            raise DataError("the train part of the split is empty", source=source)
        return self


def seeded_split(num_records: int, fractions: Mapping[str, float], seed: int) -> Split:
    """Cut a seeded permutation into parts; rounding goes to the train part.

    Parameters
    ----------
    num_records
        Size of the data set.
    fractions
        Share of "val" and "test"; the rest is train.
    seed
        Seed of the permutation.
    """
    order = np.random.default_rng(seed).permutation(num_records)
    num_val, num_test = (int(num_records * fractions[part]) for part in ("val", "test"))
    cut = num_records - num_val - num_test
    return Split("seeded", order[:cut], order[cut : cut + num_val], order[cut + num_val :]).check(num_records)


def write_split(path: str | PathLike[str], split: Split) -> None:
    """Write a split as JSON."""
    content = {"name": split.name} | {part: getattr(split, part).tolist() for part in PARTS}
    Path(path).write_text(json.dumps(content) + "\n", encoding="utf-8")


def read_split(path: str | PathLike[str], num_records: int) -> Split:
    """Read a split and check it against the size of its data set.

    Raises
    ------
    DataError
        If the file is missing, malformed, or does not fit the data set.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("split file not found", source=path, remedy="run the stage that writes it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        parts = {part: np.asarray(content[part], dtype=np.int64) for part in PARTS}
    except (json.JSONDecodeError, KeyError, ValueError) as error:
        raise DataError(
            f"malformed split file ({error})",
            source=path,
            remedy="it must map train, val and test to record numbers",
        ) from error
    return Split(str(content.get("name", "unnamed")), **parts).check(num_records, path)
