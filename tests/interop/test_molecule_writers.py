"""Written molecule files: what is in them, and that they are read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geograph.errors import ConfigError, DataError
from geograph.interop.molecule_files import read_molecule_files
from geograph.interop.molecule_writers import write_molecules
from geograph.readers.atoms import read_atoms
from geograph.records import Molecule


def water(record_id: str = "water") -> Molecule:
    pos = np.array([[0.0, 0.0, 0.11779], [0.0, 0.75545, -0.47116], [0.0, -0.75545, -0.47116]])
    return Molecule(z=np.array([8, 1, 1]), pos=pos, properties={"energy_ev": -1.25}, id=record_id)


def oxygen_atom() -> Molecule:
    return Molecule(z=np.array([8]), pos=np.full((1, 3), 0.5), id="O")


def odd_positions(dtype: type = np.float64) -> np.ndarray:
    return np.array([[1 / 3, -2e-9, 1e5 / 7], [np.pi, -0.1, 1e-30], [2.5, 0.0, -1 / 7]]).astype(dtype)


def awkward() -> list[Molecule]:
    """Names, identifiers and values that a careless format changes."""
    ids = ["007", "T", "1.5", 'a=b "quoted" \\ end', "[1, 2]", "0 0", "", "Ünïcode", "_JSON {"]
    properties = {
        "gap_ev": 1 / 3,
        "with space": -0.0,
        "tiny": 1e-300,
        'a="b\\': 5.0,
        "H2O": 2.0,
        "x-y": 3.0,
        "n": 4.0,
    }
    return [
        Molecule(
            np.array([9, 1, 17]), odd_positions(), properties, id=name, smiles="F" if number % 2 else "[H]Cl"
        )
        for number, name in enumerate(ids)
    ]


@pytest.mark.parametrize(
    ("suffix", "accuracy"), [(".sdf", 0.5e-4), (".xyz", 1e-8), (".extxyz", 0.0), (".db", 0.0)]
)
def test_round_trip(tmp_path: Path, suffix: str, accuracy: float) -> None:
    path = tmp_path / "new" / f"molecules{suffix}"
    molecules = [water("a b"), oxygen_atom(), water("c")]
    write_molecules(path, molecules)
    found = read_molecule_files(path)
    assert [molecule.z.tolist() for molecule in found] == [[8, 1, 1], [8], [8, 1, 1]]
    for molecule, original in zip(found, molecules, strict=True):
        np.testing.assert_allclose(molecule.pos, original.pos, rtol=0, atol=accuracy + 1e-12 * bool(accuracy))
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
    assert "id=water" in comment
    assert "energy_ev=-1.25" in comment
    assert first.split() == ["O", "0.0", "0.0", "0.11779"]


def test_same_molecules_give_the_same_bytes(tmp_path: Path) -> None:
    for suffix in (".sdf", ".xyz", ".extxyz"):
        first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
        write_molecules(first, [water(), oxygen_atom()])
        write_molecules(second, [water(), oxygen_atom()])
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("suffix", [".extxyz", ".db"])
def test_positions_and_values_are_exact(tmp_path: Path, suffix: str, dtype: type) -> None:
    molecule = Molecule(np.array([6, 8, 1]), odd_positions(dtype), {"energy_ev": -1111.1 / 3}, id="one")
    write_molecules(tmp_path / f"a{suffix}", [molecule])
    (found,) = read_atoms(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(found.pos.astype(dtype), molecule.pos)
    assert found.properties == molecule.properties


@pytest.mark.parametrize("suffix", [".extxyz", ".db"])
def test_awkward_names_and_identifiers_survive(tmp_path: Path, suffix: str) -> None:
    from ase.io import read

    path = tmp_path / f"a{suffix}"
    write_molecules(path, awkward())
    for found, molecule in zip(read_atoms(path), awkward(), strict=True):
        assert found.properties == molecule.properties
        np.testing.assert_array_equal(found.z, molecule.z)
    if suffix == ".extxyz":
        frames = read(path, ":")
        assert [frame.info.get("id", "") for frame in frames] == [molecule.id for molecule in awkward()]
        assert [frame.info["smiles"] for frame in frames] == [molecule.smiles for molecule in awkward()]
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def test_database_holds_what_ase_can_search(tmp_path: Path) -> None:
    from ase.db import connect

    write_molecules(tmp_path / "a.db", awkward())
    database = connect(tmp_path / "a.db", use_lock_file=False)
    assert database.count("gap_ev<0.5") == len(awkward())
    row = database.get(id=1)
    assert set(row.key_value_pairs) == {"gap_ev", "n", "tiny"}
    assert row.data == {
        "with space": -0.0,
        "H2O": 2.0,
        'a="b\\': 5.0,
        "x-y": 3.0,
        "id": "007",
        "smiles": "[H]Cl",
    }
    assert database.metadata["_distance_unit"] == "Ang"


def test_database_that_is_there_is_neither_changed_nor_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    write_molecules(path, [water("first")])
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"a\.db is there; nothing is added to it: choose another name"):
        write_molecules(path, [oxygen_atom()])
    assert path.read_bytes() == before
    write_molecules(path, [oxygen_atom()], replace=True)
    assert [molecule.z.tolist() for molecule in read_atoms(path)] == [[8]]


@pytest.mark.parametrize("suffix", [".sdf", ".extxyz", ".db"])
def test_unknown_values_are_left_out_and_infinite_ones_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_molecules(path, [replace(water(), properties={"strain_ev": float("nan"), "gap_ev": 2.0})])
    text = path.read_bytes()
    assert b"gap_ev" in text
    assert b"strain_ev" not in text
    broken = replace(water("w"), properties={"strain_ev": float("inf")})
    with pytest.raises(DataError, match=rf"b\{suffix}, record w: property `strain_ev` is infinite"):
        write_molecules(tmp_path / f"b{suffix}", [water(), broken])
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("suffix", "name", "message"),
    [
        (".sdf", "a>b", "a data field of SDF cannot be called 'a>b'; rename it"),
        (".sdf", " a", "a data field of SDF cannot be called ' a'"),
        (".extxyz", "energy", "extended xyz keeps the name 'energy' for itself; rename it, with its unit"),
        (".extxyz", "Lattice", "extended xyz keeps the name 'Lattice' for itself"),
        (".db", "", "a property cannot be called '' in a file"),
        (".db", "id", "a property cannot be called 'id' in a file"),
        (".sdf", "two\nlines", r"a property cannot be called 'two\\nlines' in a file"),
    ],
)
def test_names_that_a_format_cannot_hold_are_refused(
    tmp_path: Path, suffix: str, name: str, message: str
) -> None:
    with pytest.raises(DataError, match=f"a{suffix}, record water: {message}"):
        write_molecules(tmp_path / f"a{suffix}", [replace(water(), properties={name: 1.0})])


def test_periodic_structures_and_titles_that_end_a_record_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="record water: a periodic structure cannot be written, its cell"):
        write_molecules(tmp_path / "a.xyz", [replace(water(), is_periodic=True)])
    with pytest.raises(DataError, match=r"an SDF title cannot hold `\$\$\$\$`"):
        write_molecules(tmp_path / "a.sdf", [water("a $$$$")])


def test_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"`path` must end in one of \.sdf, \.xyz, \.extxyz, \.db, got 'a\.pdb'"
    ):
        write_molecules(tmp_path / "a.pdb", [water()])


@pytest.mark.parametrize("suffix", ["sdf", "extxyz", "db"])
def test_identity_and_properties_come_back_through_our_reader(tmp_path: Path, suffix: str) -> None:
    pos = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.9584]])
    written = [
        Molecule(np.array([8, 1]), pos, {"gap_ev": 4.25, "target_gap_ev": -1e-7}, id="007", smiles="[OH]"),
        Molecule(np.array([7, 1]), pos, {"gap_ev": 0.1}, id="an id"),
        Molecule(np.array([9, 1]), pos),
    ]
    path = tmp_path / f"small.{suffix}"
    write_molecules(path, written)
    found = read_molecule_files(path)
    assert [m.id for m in found[:2]] == ["007", "an id"]
    assert found[2].id == ("small.db:3" if suffix == "db" else f"small.{suffix}:2")
    assert [dict(m.properties) for m in found] == [dict(m.properties) for m in written]
    assert [m.smiles for m in found] == [m.smiles for m in written]
