from __future__ import annotations

import numpy as np
import pytest

from geograph.datasets.published_splits import edm_split, edm_split_ids, edm_split_of, qm7_split
from geograph.errors import ConfigError, DataError
from geograph.readers.qm9 import read_uncharacterized


def test_edm_split_has_the_published_sizes_and_order():
    split = edm_split()
    assert [len(part) for part in (split.train, split.val, split.test)] == [100_000, 17_748, 13_083]
    # What the released code does: a global seed of 0, one permutation, cut in the order train, val, test.
    state = np.random.get_state()
    np.random.seed(0)
    order = np.random.permutation(130_831)
    np.random.set_state(state)
    assert (np.concatenate([split.train, split.val, split.test]) == order).all()


def test_edm_split_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()
    edm_split(100, num_train=50)
    assert (np.random.get_state()[1] == before).all()


def test_edm_split_ids_skip_the_excluded_numbers():
    excluded = frozenset(range(1, 3055))
    ids = edm_split_ids(excluded)
    everything = np.concatenate(list(ids.values()))
    assert sorted(everything.tolist()) == list(range(3055, 133_886))
    # Position p in the split is the molecule with the number p + 3055 here.
    assert (ids["val"] == edm_split().val + 3055).all()


def test_part_of_qm9_goes_where_the_published_split_has_it():
    excluded = frozenset(range(1, 3055))
    ids = edm_split_ids(excluded)
    numbers = np.array([ids["test"][5], ids["train"][7], ids["val"][0], ids["train"][2]])
    split = edm_split_of(numbers, excluded)
    assert (split.train.tolist(), split.val.tolist(), split.test.tolist()) == ([1, 3], [2], [0])
    with pytest.raises(DataError, match="record 1: molecule 3054 is in no part of the published split; "):
        edm_split_of(np.array([4000, 3054]), excluded)


def test_edm_split_errors():
    with pytest.raises(ConfigError, match="`num_train` must be 1 to 90 with 100 molecules, got 91"):
        edm_split(100, num_train=91)
    with pytest.raises(DataError, match="2 excluded molecules, but the published list has 3054"):
        edm_split_ids([1, 2, 2])
    with pytest.raises(DataError, match="between 1 and 133885"):
        edm_split_ids(range(3054))


def test_edm_split_ids_of_the_published_list(shared_data):
    excluded = read_uncharacterized(shared_data / "qm9" / "uncharacterized.txt")
    ids = edm_split_ids(excluded)
    assert {part: len(numbers) for part, numbers in ids.items()} == {
        "train": 100_000,
        "val": 17_748,
        "test": 13_083,
    }
    assert not excluded & set(np.concatenate(list(ids.values())).tolist())


def test_qm7_split_by_folds():
    split = qm7_split(np.array([0, 1, 2, 1, 0]), test_fold=1, val_fold=2)
    assert (split.train.tolist(), split.val.tolist(), split.test.tolist()) == ([0, 4], [2], [1, 3])
    assert qm7_split(np.array([0, 1]), test_fold=1).val.tolist() == []


def test_qm7_split_errors():
    folds = np.array([0, 1, 2])
    with pytest.raises(ConfigError, match="`test_fold` 4 has no records; the folds there are: 0, 1, 2"):
        qm7_split(folds, test_fold=4)
    with pytest.raises(ConfigError, match="`val_fold` 3 has no records"):
        qm7_split(folds, test_fold=0, val_fold=3)
    with pytest.raises(ConfigError, match="must differ, both are 1"):
        qm7_split(folds, test_fold=1, val_fold=1)
