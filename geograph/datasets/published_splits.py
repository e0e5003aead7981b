"""Splits that papers published, rebuilt from their recipe: QM9 as used by EDM, and the five folds of QM7."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from jaxtyping import Int

from geograph.datasets.splits import Split
from geograph.errors import ConfigError, DataError

#: Molecules of QM9, and of those the ones on the published list of inconsistent geometries.
QM9_NUM_MOLECULES = 133_885
QM9_NUM_EXCLUDED = 3_054
_QM9_NUM_TRAIN = 100_000
_QM9_TEST_FRACTION = 0.1


def edm_split(
    num_molecules: int = QM9_NUM_MOLECULES - QM9_NUM_EXCLUDED, *, num_train: int = _QM9_NUM_TRAIN
) -> Split:
    """Split of QM9 that Cormorant introduced and EGNN and EDM used: 100,000 train, 17,748 val, 13,083 test.

    The record numbers count the molecules that are left, in the order of their QM9 number, after the
    uncharacterized ones are taken out.

    Parameters
    ----------
    num_molecules
        How many molecules are left; only with 130,831 is this the published split.
    num_train
        Size of the train part; a tenth of all molecules is the test part, the rest the validation part.

    Raises
    ------
    ConfigError
        If the parts do not fit into `num_molecules`.

    References
    ----------
    Anderson et al. (2019), arXiv:1906.04015; Hoogeboom et al. (2022), arXiv:2203.17003.
    """
    num_test = int(_QM9_TEST_FRACTION * num_molecules)
    num_val = num_molecules - num_train - num_test
    if num_train < 1 or num_val < 0:
        raise ConfigError(
            f"`num_train` must be 1 to {num_molecules - num_test} with {num_molecules} molecules,"
            f" got {num_train}"
        )
    # The legacy generator on purpose: the published numbers are its permutation with seed 0.
    order = np.random.RandomState(0).permutation(num_molecules)
    train, val, test = np.split(order, [num_train, num_train + num_val])
    return Split("edm", train, val, test).check(num_molecules)


def edm_split_ids(excluded: Collection[int]) -> dict[str, Int[np.ndarray, " n"]]:
    """QM9 numbers (1 to 133,885) of the parts "train", "val" and "test" of the published split.

    Parameters
    ----------
    excluded
        The 3,054 uncharacterized molecules, as `readers.qm9.read_uncharacterized` gives them.

    Raises
    ------
    DataError
        If `excluded` does not have exactly 3,054 different numbers of QM9 molecules.
    """
    numbers = np.unique(np.fromiter(excluded, dtype=np.int64, count=len(excluded)))
    in_range = len(numbers) > 0 and numbers[0] >= 1 and numbers[-1] <= QM9_NUM_MOLECULES
    if len(numbers) != QM9_NUM_EXCLUDED or not in_range:
        raise DataError(
            f"{len(numbers)} excluded molecules, but the published list has {QM9_NUM_EXCLUDED} between 1 and"
            f" {QM9_NUM_MOLECULES}",
            remedy="use the published uncharacterized.txt",
        )
    included = np.setdiff1d(np.arange(1, QM9_NUM_MOLECULES + 1), numbers)
    split = edm_split(len(included))
    return {"train": included[split.train], "val": included[split.val], "test": included[split.test]}


def edm_split_of(numbers: Int[np.ndarray, " n"], excluded: Collection[int]) -> Split:
    """Put the records of a part of QM9 where the published split has them.

    Parameters
    ----------
    numbers
        QM9 number of each record.
    excluded
        The 3,054 uncharacterized molecules.

    Raises
    ------
    DataError
        If a record is on the list of the excluded ones, or the list is not the published one.
    """
    parts = {part: np.flatnonzero(np.isin(numbers, ids)) for part, ids in edm_split_ids(excluded).items()}
    if sum(len(rows) for rows in parts.values()) != len(numbers):
        odd = np.setdiff1d(np.arange(len(numbers)), np.concatenate(list(parts.values())))[0]
        raise DataError(
            f"molecule {int(numbers[odd])} is in no part of the published split",
            record=int(odd),
            remedy="leave out the uncharacterized molecules: source.exclude",
        )
    return Split("edm", parts["train"], parts["val"], parts["test"])


def qm7_split(folds: Int[np.ndarray, " n"], test_fold: int, val_fold: int | None = None) -> Split:
    """Split by the published folds of QM7: one fold is the test part, one may be the validation part.

    Parameters
    ----------
    folds
        Fold of each record, as `readers.qm7.qm7_folds` gives them.
    test_fold
        Fold of the test part.
    val_fold
        Fold of the validation part; without it that part is empty.

    Raises
    ------
    ConfigError
        If a fold does not occur, or if both are the same.
    """
    for name, fold in (("test_fold", test_fold), ("val_fold", val_fold)):
        if fold is not None and not (folds == fold).any():
            there = ", ".join(str(f) for f in np.unique(folds))
            raise ConfigError(f"`{name}` {fold} has no records; the folds there are: {there}")
    if test_fold == val_fold:
        raise ConfigError(f"`test_fold` and `val_fold` must differ, both are {test_fold}")
    is_test = folds == test_fold
    is_val = folds == val_fold if val_fold is not None else np.zeros(len(folds), dtype=bool)
    parts = (np.flatnonzero(mask) for mask in (~is_test & ~is_val, is_val, is_test))
    return Split("qm7", *parts).check(len(folds))
