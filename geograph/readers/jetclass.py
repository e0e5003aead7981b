"""JetClass and JetClass-II jets from parquet files.

References
----------
Qu, Li and Qian, arXiv:2202.03772 (JetClass); Li et al., arXiv:2405.12972 (JetClass-II, Sophon).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from geograph.errors import DataError
from geograph.records import Jet

#: Published class order of JetClass: the class number is the position of the one-hot column.
JETCLASS_LABELS = (
    "label_QCD",
    "label_Hbb",
    "label_Hcc",
    "label_Hgg",
    "label_H4q",
    "label_Hqql",
    "label_Zqq",
    "label_Wqq",
    "label_Tbqq",
    "label_Tbl",
)
_MOMENTA = ("part_energy", "part_px", "part_py", "part_pz")

OnError = Callable[[DataError], None]


def read_jetclass(
    path: str | PathLike[str],
    *,
    label_columns: str | Sequence[str] | None = None,
    num_classes: int | None = None,
    batch_size: int = 1000,
    on_error: OnError | None = None,
) -> Iterator[Jet]:
    """Jets of one parquet file, in the laboratory frame, constituents sorted by falling pT.

    Parameters
    ----------
    path
        Parquet file with the lists ``part_px``, ``part_py``, ``part_pz``, ``part_energy`` (GeV).
    label_columns
        Column with the class number, or one-hot columns in the order of the classes. By default ``jet_label``
        (JetClass-II) if the file has it, else the ``label_*`` columns of JetClass in their published order.
    num_classes
        Labels must be below this; by default the number of one-hot columns, or not checked.
    batch_size
        Jets that are read at once.
    on_error
        Called with the error of each broken jet, which is then left out; without it the error is raised.

    Raises
    ------
    DataError
        If the file is missing, damaged or lacks a column, or a jet is broken.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("no such file", source=path, remedy="check the path, or put the file there")
    try:
        with pq.ParquetFile(path) as file:
            labels = _label_columns(file.schema_arrow.names, label_columns, path)
            limit = num_classes if num_classes is not None or len(labels) == 1 else len(labels)
            first = 0
            for batch in file.iter_batches(batch_size, columns=[*_MOMENTA, *labels]):
                yield from _jets(batch, first, labels, limit, path, on_error)
                first += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"not a readable parquet file ({str(error).splitlines()[0]})",
            source=path,
            remedy="the file is damaged or incomplete: fetch it again",
        ) from error


def _label_columns(names: list[str], wanted: str | Sequence[str] | None, path: Path) -> list[str]:
    if wanted is None:
        one_hot = [name for name in JETCLASS_LABELS if name in names]
        labels = one_hot if one_hot and "jet_label" not in names else ["jet_label"]
    else:
        labels = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in (*_MOMENTA, *labels):
        if name not in names:
            raise DataError(
                f"missing column `{name}`",
                source=path,
                remedy="JetClass files have part_px, part_py, part_pz, part_energy and jet_label or label_*; "
                "name other labels with `label_columns`",
            )
    return labels


def _jets(
    batch: pa.RecordBatch,
    first: int,
    labels: list[str],
    limit: int | None,
    path: Path,
    on_error: OnError | None,
) -> Iterator[Jet]:
    counts = _lengths(batch, first, path)
    p4 = np.stack(
        [np.asarray(pc.list_flatten(batch[name]).to_numpy(zero_copy_only=False), float) for name in _MOMENTA],
        axis=1,
    )
    jet = np.repeat(np.arange(len(counts)), counts)
    p4 = p4[np.lexsort((-np.hypot(p4[:, 1], p4[:, 2]), jet))]
    stops = np.cumsum(counts)
    values = np.stack([batch[name].to_numpy(zero_copy_only=False) for name in labels], axis=1)
    for row, (start, stop) in enumerate(zip(stops - counts, stops, strict=True)):
        index = first + row
        try:
            yield Jet(p4[start:stop], _class_number(values[row], limit), f"{path.stem}-{index}")
        except DataError as error:
            located = DataError(error.what, source=path, record=index, remedy=error.remedy)
            if on_error is None:
                raise located from None
            on_error(located)


def _lengths(batch: pa.RecordBatch, first: int, path: Path) -> np.ndarray:
    """Constituents of each jet; all four lists must agree, since they are flattened together."""
    lengths = np.stack(
        [
            pc.fill_null(pc.list_value_length(batch[name]), 0).to_numpy(zero_copy_only=False)
            for name in _MOMENTA
        ]
    )
    uneven = np.any(lengths != lengths[0], axis=0)
    if uneven.any():
        row = int(np.argmax(uneven))
        raise DataError(
            f"{', '.join(_MOMENTA)} have {', '.join(map(str, lengths[:, row]))} entries",
            source=path,
            record=first + row,
            remedy="the columns do not belong together: write the file again",
        )
    return lengths[0].astype(np.int64)


def _class_number(values: np.ndarray, limit: int | None) -> int:
    if len(values) > 1:
        if sorted(values.tolist()) != [0] * (len(values) - 1) + [1]:
            raise DataError(
                f"the label columns are not one-hot: {values.tolist()}",
                remedy="exactly one of them must be 1",
            )
        return int(np.argmax(values))
    label = values[0]
    if label != label or int(label) != label or label < 0 or (limit is not None and label >= limit):
        raise DataError(
            f"label {label} is out of range",
            remedy="class numbers are whole, start at 0" + (f" and end at {limit - 1}" if limit else ""),
        )
    return int(label)
