"""Molecule files: round trips, and errors that name file, record and remedy."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geograph.errors import DataError
from geograph.interop.molecule_files import concatenate, read_molecule_files, write_molecules
from geograph.records import Molecule


def water(record_id: str = "water") -> Molecule:
    pos = np.array([[0.0, 0.0, 0.11779], [0.0, 0.75545, -0.47116], [0.0, -0.75545, -0.47116]])
    return Molecule(z=np.array([8, 1, 1]), pos=pos, properties={"energy_ev": -1.25}, id=record_id)


def oxygen_atom() -> Molecule:
    return Molecule(z=np.array([8]), pos=np.full((1, 3), 0.5), id="O")


def test_several_files_and_zip(tmp_path: Path) -> None:
    write_molecules(tmp_path / "a.sdf", [water()])
    write_molecules(tmp_path / "b.xyz", [water()])
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        for name in ("b.xyz", "a.sdf"):
            archive.write(tmp_path / name, f"folder/../{name}")
    found = read_molecule_files([tmp_path / "a.sdf", str(tmp_path / "b.xyz"), tmp_path / "both.zip"])
    assert [molecule.id for molecule in found] == ["water", "b.xyz:0", "water#1", "b.xyz:0#1"]


def test_ase_database(tmp_path: Path) -> None:
    from ase import Atoms
    from ase.db import connect

    with connect(tmp_path / "two.db") as database:
        database.write(Atoms("OH2", positions=water().pos))
        database.write(Atoms("He", positions=[[0, 0, 0]]))
    assert [molecule.z.tolist() for molecule in read_molecule_files(tmp_path / "two.db")] == [[8, 1, 1], [2]]


def test_concatenate() -> None:
    z, pos, ptr = concatenate([water(), oxygen_atom()])
    assert (z.tolist(), ptr.tolist(), pos.shape) == ([8, 1, 1, 8], [0, 3, 4], (4, 3))


def cut_off(text: str) -> str:
    return text[: len(text) * 3 // 4]


def as_drawing(text: str) -> str:
    return text.replace("RDKit          3D", "RDKit          2D")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_off, r"record 1: the record ends before `M  END`; the file is truncated"),
        (as_drawing, r"record 0: the record is a 2-D drawing; embed it in three dimensions"),
        (lambda text: text.replace("    0.7554", "       nan"), r"record 0: a coordinate is not finite"),
        (
            lambda text: text.replace(" O   0", " R#  0"),
            r"record 0: unknown element: atom 0 has atomic number 0",
        ),
        (lambda text: text.replace("  3  2", " xx  2"), r"record 0: RDKit cannot read the record; check"),
        (
            lambda _: "title\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n$$$$\n",
            "record 0: empty molecule",
        ),
        (lambda _: "", "no molecules in the file; check that it was written to its end"),
    ],
    ids=["truncated", "2-D", "nan", "unknown element", "malformed", "empty molecule", "empty file"],
)
def test_broken_sdf(tmp_path: Path, damage: Callable[[str], str], message: str) -> None:
    path = tmp_path / "broken.sdf"
    write_molecules(path, [water("a"), water("b")])
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=rf"broken\.sdf.*{message}"):
        read_molecule_files(path)


def test_a_title_may_say_nan(tmp_path: Path) -> None:
    write_molecules(tmp_path / "a.sdf", [water("nan")])
    assert read_molecule_files(tmp_path / "a.sdf")[0].id == "nan"


@pytest.mark.parametrize(
    "text",
    ["3\n\nO 0 0 0\nH 0 0 1\n", "1\n\nO 0 0 nan\n", "1\n\nQq 0 0 0\n", "0\n\n", "", "words\n"],
    ids=["truncated", "nan", "unknown element", "empty molecule", "empty file", "not xyz"],
)
@pytest.mark.parametrize("suffix", [".xyz", ".extxyz"])
def test_broken_xyz(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_text(text)
    with pytest.raises(DataError, match=rf"broken\{suffix}"):
        read_molecule_files(path)


def test_missing_file_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.sdf: no such file; check the path"):
        read_molecule_files(tmp_path / "none.sdf")
    with pytest.raises(DataError, match="no molecule file was named; give at least one"):
        read_molecule_files([])


def test_broken_zip_names_archive_and_member(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(DataError, match=r"broken\.zip: not a readable zip file .*; copy the file again"):
        read_molecule_files(tmp_path / "broken.zip")
    with zipfile.ZipFile(tmp_path / "member.zip", "w") as archive:
        archive.writestr("inside.sdf", "cut")
    with pytest.raises(DataError, match=r"member\.zip:inside\.sdf, record 0: the record ends before"):
        read_molecule_files(tmp_path / "member.zip")


def refused(path: Path | list[Path]) -> tuple[list[Molecule], list[str]]:
    errors: list[DataError] = []
    found = read_molecule_files(path, on_error=errors.append)
    folder = str((path[0] if isinstance(path, list) else path).parent)
    return found, [str(error).replace(folder, "") for error in errors]


def test_corrupt_sdf_records_among_good_ones_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "some.sdf"
    write_molecules(path, [water(name) for name in "abcd"])
    blocks = path.read_text().split("$$$$\n")
    blocks[1] = blocks[1].replace(" O   0", " Qq  0")
    blocks[2] = blocks[2][: len(blocks[2]) // 3]
    path.write_text("$$$$\n".join(blocks))
    found, errors = refused(path)
    assert [molecule.id for molecule in found] == ["a", "d"]
    assert [error.split(":")[0] for error in errors] == ["/some.sdf, record 1", "/some.sdf, record 2"]
    with pytest.raises(DataError, match=r"some\.sdf, record 1: "):
        read_molecule_files(path)


def test_a_record_that_is_cut_off_does_not_take_the_next_one_with_it(tmp_path: Path) -> None:
    path = tmp_path / "some.sdf"
    write_molecules(path, [water(name) for name in "abc"])
    blocks = path.read_text().split("$$$$\n")
    path.write_text(blocks[0] + "$$$$\n" + blocks[1][: blocks[1].index("M  END")] + blocks[2] + "$$$$\n")
    found, errors = refused(path)
    assert [molecule.id for molecule in found] == ["a", "c"]
    assert len(errors) == 1
    assert errors[0].startswith("/some.sdf, record 1: the record ends before `M  END`; the file is truncated")


@pytest.mark.parametrize("suffix", [".xyz", ".extxyz"])
def test_truncated_xyz_frame_among_good_ones_is_listed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"some{suffix}"
    write_molecules(path, [water(name) for name in "abc"])
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:9] + lines[10:]))
    found, errors = refused(path)
    assert len(found) == 2
    assert errors == [
        f"/some{suffix}, record 1: 3 atoms announced, 2 there; the frame is cut off; repair it."
    ]


def test_unknown_element_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "some.xyz"
    path.write_text("1\n\nQq 0 0 0\n1\n\nHe 0 0 0\n")
    found, errors = refused(path)
    assert [molecule.z.tolist() for molecule in found] == [[2]]
    assert "record 0: unknown element: atom 0 is 'Qq'" in errors[0]


def test_broken_files_among_good_ones_are_listed(tmp_path: Path) -> None:
    write_molecules(tmp_path / "a.sdf", [water()])
    (tmp_path / "empty.sdf").write_text("")
    (tmp_path / "words.dat").write_text("some words\n")
    (tmp_path / "broken.zip").write_bytes(b"PK no")
    (tmp_path / "broken.xyz.gz").write_bytes(b"no gzip")
    names = ["a.sdf", "empty.sdf", "words.dat", "broken.zip", "broken.xyz.gz"]
    found, errors = refused([tmp_path / name for name in names])
    assert len(found) == 1
    assert errors[0] == "/empty.sdf: no molecules in the file; check that it was written to its end."
    assert errors[1].startswith(
        "/words.dat: not a molecule file that can be read: unknown suffix '.dat'; give"
    )
    assert errors[2].startswith("/broken.zip: not a readable zip file")
    assert errors[3].startswith("/broken.xyz.gz: not a readable gzip file")
    with pytest.raises(DataError, match=r"a\.sd: no such file"):
        refused([tmp_path / "a.sd"])


def test_nothing_readable_raises_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.sdf").write_text("")
    (tmp_path / "words.dat").write_text("some words\n")
    with pytest.raises(DataError, match=r"empty\.sdf: no molecules in the file"):
        refused([tmp_path / "empty.sdf", tmp_path / "words.dat"])


@pytest.mark.parametrize("suffix", [".sdf", ".xyz", ".extxyz"])
def test_gzip_alone_and_in_a_zip(tmp_path: Path, suffix: str) -> None:
    plain, packed = tmp_path / f"a{suffix}", tmp_path / f"a{suffix}.gz"
    write_molecules(plain, [water("a"), water("b")])
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    expected = [molecule.id for molecule in read_molecule_files(plain)]
    assert [molecule.id for molecule in read_molecule_files(packed)] == expected
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(packed, f"inner/a{suffix}.gz")
        archive.writestr("__MACOSX/._a.sdf", "junk")
        archive.writestr(".DS_Store", "junk")
    assert len(read_molecule_files(tmp_path / "a.zip")) == 2


def test_broken_member_of_a_zip_is_listed(tmp_path: Path) -> None:
    write_molecules(tmp_path / "a.sdf", [water("a")])
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.write(tmp_path / "a.sdf", "a.sdf")
        archive.writestr("b.sdf", "cut")
        archive.writestr("c.txt", "read me")
    found, errors = refused(tmp_path / "some.zip")
    assert [molecule.id for molecule in found] == ["a"]
    assert errors[0].startswith("/some.zip:b.sdf, record 0: the record ends before")
    assert errors[1].startswith("/some.zip:c.txt: not a molecule file that can be read")
