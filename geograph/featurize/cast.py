"""Give featurized arrays the dtypes that `geograph.fields` lays down."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from geograph.errors import DataError
from geograph.fields import FIELDS


def cast_fields(values: Mapping[str, np.ndarray | None], record: str | None = None) -> dict[str, np.ndarray]:
    """Return contiguous arrays with the dtype of their field, without those that are None.

    `edge_index` stays [2, edges]; `y` stays as it is: float64 [targets] or one int64, as its data set says.

    Parameters
    ----------
    values
        Arrays by field name.
    record
        Identifier of the record that they were made from, for errors.

    Raises
    ------
    DataError
        If a value is not finite, or too large for the dtype of its field; with the name of the field.
    """
    return {name: _cast(name, value, record) for name, value in values.items() if value is not None}


def _cast(name: str, value: np.ndarray, record: str | None) -> np.ndarray:
    if name == "y":
        return np.array(value, order="C")
    with np.errstate(over="ignore"):
        made = np.array(value, dtype=FIELDS[name].dtype, order="C")
    is_bad = ~np.isfinite(made)
    if is_bad.any():
        raise DataError(
            f"{is_bad.sum()} of {made.size} values of the field `{name}` are not finite in {made.dtype}, the"
            f" first of them {np.asarray(value)[is_bad][0]:.3g}",
            record=record,
            remedy="remove the record, or give it in a unit in which its numbers are moderate",
        )
    return made


def class_label(label: int | None) -> np.ndarray | None:
    """Return a class number as field `y` (int64, no axes), or None if there is none."""
    return None if label is None else np.array(label, dtype=np.int64)
