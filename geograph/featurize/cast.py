"""Give featurized arrays the dtypes that `geograph.fields` lays down."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from geograph.fields import FIELDS


def cast_fields(values: Mapping[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    """Return contiguous arrays with the dtype of their field, without those that are None.

    `edge_index` stays [2, edges]; `y` stays as it is: float64 [targets] or one int64, as its data set says.

    Parameters
    ----------
    values
        Arrays by field name.
    """
    return {
        name: np.array(value, dtype=value.dtype if name == "y" else FIELDS[name].dtype, order="C")
        for name, value in values.items()
        if value is not None
    }


def class_label(label: int | None) -> np.ndarray | None:
    """Return a class number as field `y` (int64, no axes), or None if there is none."""
    return None if label is None else np.array(label, dtype=np.int64)
