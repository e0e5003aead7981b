from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geograph.datasets.splits import Split, read_split, seeded_split, write_split
from geograph.errors import DataError


@given(st.integers(3, 200), st.integers(0, 5))
def test_seeded_split_is_a_partition(count, seed):
    split = seeded_split(count, {"val": 0.2, "test": 0.1}, seed)
    assert sorted(np.concatenate([split.train, split.val, split.test])) == list(range(count))
    assert len(split.val) == int(count * 0.2)
    again = seeded_split(count, {"val": 0.2, "test": 0.1}, seed)
    np.testing.assert_array_equal(split.train, again.train)


def test_file_round_trip(tmp_path):
    split = seeded_split(20, {"val": 0.2, "test": 0.1}, 0)
    write_split(tmp_path / "split.json", split)
    read = read_split(tmp_path / "split.json", 20)
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(read, part), getattr(split, part))


def test_split_of_other_data_is_refused(tmp_path):
    write_split(tmp_path / "split.json", seeded_split(20, {"val": 0.2, "test": 0.1}, 0))
    with pytest.raises(DataError, match=r"split\.json: split names record 19, the data set has 10 records"):
        read_split(tmp_path / "split.json", 10)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (([0, 1], [1], [2]), "record 1 stands in more than one part"),
        (([], [1], [2]), "train part of the split is empty"),
        (([-1], [1], [2]), "split names record"),
    ],
)
def test_unsound_splits_are_refused(parts, message):
    with pytest.raises(DataError, match=message):
        Split("x", *(np.array(part, dtype=int) for part in parts)).check(5)


def test_missing_and_malformed_files(tmp_path):
    with pytest.raises(DataError, match="split file not found"):
        read_split(tmp_path / "none.json", 3)
    (tmp_path / "bad.json").write_text('{"train": [0]}')
    with pytest.raises(DataError, match="malformed split file"):
        read_split(tmp_path / "bad.json", 3)
