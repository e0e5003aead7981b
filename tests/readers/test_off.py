from __future__ import annotations

import numpy as np
import pytest

from geograph.errors import DataError
from geograph.readers.off import parse_off

SQUARE = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"


@pytest.mark.parametrize(
    "text",
    [
        f"OFF\n4 1 0\n{SQUARE}4 0 1 2 3\n",
        f"OFF4 1 0\n{SQUARE}4 0 1 2 3\n",
        f"OFF 4 1 0\r\n{SQUARE}4 0 1 2 3 255 0 0",
        f"# made by hand\nOFF\n\n4 1 0 # counts\n{SQUARE}\n4 0 1 2 3\n",
        "COFF\n4 1 0\n" + SQUARE.replace("\n", " 1 0 0 1\n") + "4 0 1 2 3\n",
    ],
    ids=["plain", "no line break", "one line and colours", "comments", "vertex colours"],
)
def test_square_is_cut_into_two_triangles(text: str):
    vertices, faces = parse_off(text.encode())
    np.testing.assert_array_equal(vertices[:, :2], [[0, 0], [1, 0], [1, 1], [0, 1]])
    np.testing.assert_array_equal(faces, [[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PLY\n", "does not begin with `OFF`"),
        ("OFF\n", "no counts of vertices and faces"),
        ("OFF\nfour one\n", "no counts of vertices and faces"),
        (f"OFF\n4 3 0\n{SQUARE}4 0 1 2 3\n", "promises 4 vertices and 3 faces, but only 5 lines follow"),
        (f"OFF\n4 1 0\n{SQUARE}4 0 1 2\n", "a face of 4 corners lists 3"),
        (f"OFF\n4 1 0\n{SQUARE.replace('1 1 0', '1 x 0')}4 0 1 2 3\n", "a vertex or face is malformed"),
        (f"OFF\n4 1 0\n{SQUARE.replace('1 1 0', '1 1')}4 0 1 2 3\n", "a vertex or face is malformed"),
    ],
)
def test_broken_files(text: str, message: str):
    with pytest.raises(DataError, match=message):
        parse_off(text.encode())
