"""Frames of xyz text, whole and broken."""

from __future__ import annotations

import io

import pytest

from geograph.errors import DataError
from geograph.readers.xyz_frames import split_frames

HELIUM, WATER = "1\nhelium\nHe 0 0 0\n", "3\n7\nO 0 0 0\nH 0 0 1\nH 0 1 0\n"


def split(text: str) -> list[str]:
    frames = split_frames(io.StringIO(text).readline)
    return [frame.what if isinstance(frame, DataError) else "".join(frame) for frame in frames]


def test_whole_frames() -> None:
    assert split(HELIUM + "\n \n" + WATER + HELIUM) == [HELIUM, WATER, HELIUM]
    assert split("") == []
    assert split("0\ncomment\n" + HELIUM) == ["0\ncomment\n", HELIUM]


def test_a_comment_may_be_a_number() -> None:
    assert split(WATER) == [WATER]


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        ("3\nwater\nO 0 0 0\nH 0 0 1\n", "3 atoms announced, 2 there"),
        ("2\nhelium\nHe 0 0 0\n", "2 atoms announced, 1 there"),
        ("words\nHe 0 0 0\n", "a frame must begin with its number of atoms, got 'words'"),
        ("1\nhelium\nHe 0 0 0\nHe 0 0 1\n", "a frame must begin with its number of atoms, got 'He 0 0 1'"),
    ],
)
def test_broken_frame_among_good_ones(broken: str, what: str) -> None:
    found = split(HELIUM + broken + WATER)
    assert found[0] == HELIUM
    assert found[-2:] == [what, WATER]


def test_end_of_the_file() -> None:
    assert split("3\n") == ["3 atoms announced, 0 there"]
    assert split("1\ncomment\n") == ["1 atoms announced, 0 there"]
