"""Molecule files: round trips, and errors that name file, record and remedy."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geograph.errors import ConfigError, DataError
from geograph.interop.molecule_files import concatenate, read_molecule_files, write_molecules
from geograph.records import Molecule


def water(record_id: str = "water") -> Molecule:
    pos = np.array([[0.0, 0.0, 0.11779], [0.0, 0.75545, -0.47116], [0.0, -0.75545, -0.47116]])
    return Molecule(z=np.array([8, 1, 1]), pos=pos, properties={"energy_ev": -1.25}, id=record_id)


def oxygen_atom() -> Molecule:
    return Molecule(z=np.array([8]), pos=np.full((1, 3), 0.5), id="O")


@pytest.mark.parametrize(("suffix", "accuracy"), [(".sdf", 0.5e-4), (".xyz", 1e-8), (".extxyz", 1e-8)])
def test_round_trip(tmp_path: Path, suffix: str, accuracy: float) -> None:
    path = tmp_path / "new" / f"molecules{suffix}"
    molecules = [water("a b"), oxygen_atom(), water("c")]
    write_molecules(path, molecules)
    found = read_molecule_files(path)
    assert [molecule.z.tolist() for molecule in found] == [[8, 1, 1], [8], [8, 1, 1]]
    for molecule, original in zip(found, molecules, strict=True):
        np.testing.assert_allclose(molecule.pos, original.pos, atol=accuracy + 1e-12)
    assert len({molecule.id for molecule in found}) == 3


def test_written_sdf_has_bonds_title_and_properties(tmp_path: Path) -> None:
    path = tmp_path / "water.sdf"
    write_molecules(path, [water()])
    lines = path.read_text().splitlines()
    assert lines[0] == "water"
    assert lines[3].split()[:2] == ["3", "2"]
    assert lines[-4:] == [">  <energy_ev>", "-1.25", "", "$$$$"]


def test_written_extxyz_has_id_and_properties(tmp_path: Path) -> None:
    path = tmp_path / "water.extxyz"
    write_molecules(path, [water()])
    count, comment, first, *_ = path.read_text().splitlines()
    assert count == "3"
    assert 'id="water"' in comment
    assert "energy_ev=-1.25" in comment
    assert first.split() == ["O", "0.00000000", "0.00000000", "0.11779000"]


def test_same_molecules_give_the_same_bytes(tmp_path: Path) -> None:
    for suffix in (".sdf", ".xyz", ".extxyz"):
        first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
        write_molecules(first, [water(), oxygen_atom()])
        write_molecules(second, [water(), oxygen_atom()])
        assert first.read_bytes() == second.read_bytes()


def test_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`path` must end in one of \.sdf, \.xyz, \.extxyz, got 'a\.pdb'"):
        write_molecules(tmp_path / "a.pdb", [water()])


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
