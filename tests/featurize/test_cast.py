from __future__ import annotations

import numpy as np
import pytest

from geograph.errors import DataError
from geograph.featurize.cast import cast_fields


def test_dtypes_are_those_of_the_fields():
    largest = float(np.finfo(np.float32).max)
    made = cast_fields(
        {"pos": np.array([[1.0, -largest, 1e-300]]), "z": np.array([6], dtype=np.int8), "vel": None}
    )
    assert set(made) == {"pos", "z"}
    assert (made["pos"].dtype, made["z"].dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(made["pos"], np.array([[1.0, -largest, 0.0]], dtype=np.float32))


def test_targets_keep_what_they_are():
    y = np.array([1e300, np.nan])
    made = cast_fields({"y": y})["y"]
    np.testing.assert_array_equal(made, y)
    assert made.dtype == np.float64


@pytest.mark.parametrize(("value", "shown"), [(1e300, r"1e\+300"), (-1e39, r"-1e\+39"), (np.nan, "nan")])
def test_numbers_that_do_not_fit_are_named(value: float, shown: str):
    message = f"1 of 6 values of the field `pos` are not finite in float32, the first of them {shown}; remove"
    pos = np.zeros((2, 3))
    pos[1, 1] = value
    with pytest.raises(DataError, match=f"^{message}"):
        cast_fields({"pos": pos})
    with pytest.raises(DataError, match=f"^record far: {message}"):
        cast_fields({"pos": pos}, "far")
