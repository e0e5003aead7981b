"""Object File Format (.off): an own parser, because files in circulation break the header and end early."""

from __future__ import annotations

import re

import numpy as np
from jaxtyping import Float, Int

from geograph.errors import DataError

_AGAIN = "the file is damaged or incomplete: fetch it again"
#: Prefixes announce more columns for a vertex (texture, colour, normal); the first three stay the position.
_HEADER = re.compile(r"\A\s*(?:ST)?C?N?OFF")


def parse_off(content: bytes) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Return vertices and triangles of an ASCII OFF file.

    Polygons are cut into triangle fans. A missing line break after `OFF`, as in many ModelNet files, is
    accepted; colours and further columns are ignored.

    Parameters
    ----------
    content
        Bytes of the file.

    Raises
    ------
    DataError
        If the header, a vertex or a face is malformed, or there are fewer of them than the header says.
    """
    text = re.sub(r"#[^\n]*", "", content.decode("utf-8", errors="replace"))
    header = _HEADER.match(text)
    if header is None:
        raise DataError("not an OFF file: it does not begin with `OFF`", remedy=_AGAIN)
    lines = [line for line in text[header.end() :].splitlines() if line.strip()]
    try:
        num_vertices, num_faces = (int(word) for word in (lines[0] if lines else "").split()[:2])
    except ValueError as error:
        raise DataError("the OFF header has no counts of vertices and faces", remedy=_AGAIN) from error
    if len(lines) < 1 + num_vertices + num_faces:
        raise DataError(
            f"the header promises {num_vertices} vertices and {num_faces} faces, "
            f"but only {len(lines) - 1} lines follow",
            remedy=_AGAIN,
        )
    try:
        vertices = np.array([line.split()[:3] for line in lines[1 : 1 + num_vertices]], dtype=np.float64)
        faces = _triangles([line.split() for line in lines[1 + num_vertices : 1 + num_vertices + num_faces]])
    except ValueError as error:
        raise DataError(f"a vertex or face is malformed ({error})", remedy=_AGAIN) from error
    return vertices.reshape(-1, 3), faces


def _triangles(rows: list[list[str]]) -> np.ndarray:
    triangles = [
        (row[1], row[corner], row[corner + 1]) for row in rows for corner in range(2, _num_corners(row))
    ]
    return np.array(triangles, dtype=np.int64).reshape(-1, 3)


def _num_corners(row: list[str]) -> int:
    count = int(row[0])
    if len(row) <= count:
        raise ValueError(f"a face of {count} corners lists {len(row) - 1}")
    return count
