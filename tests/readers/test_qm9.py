from __future__ import annotations

import tarfile
import zipfile
from itertools import islice

import numpy as np
import pytest

from geograph.errors import DataError
from geograph.readers.qm9 import (
    read_atomref,
    read_qm9,
    read_uncharacterized,
    with_atomization_energies,
)

# Hydrogen fluoride with made-up numbers in the published layout; `*^` stands in three places.
HF = """2
gdb 42\t600.5\t599.0\t1.5*^2\t1.82\t5.5\t-0.5\t0.25\t0.75\t10.25\t0.01\t-100.5\t-100.25\t-100.0\t-101.0\t4.5
F\t0.0\t0.0\t0.1\t-0.4
H\t-1.5*^-3\t 0.0\t-8.5*^-1\t 0.4
4100.0
F\tF
InChI=1S/FH/h1H\tInChI=1S/FH/h1H
"""
HARTREE = 27.211386245988

ATOMREF = """
=====
  Ele-    ZPVE         U (0 K)      U (298.15 K)    H (298.15 K)    G (298.15 K)     CV
   H     0.000000     -0.5      -0.25       -0.125       -0.75       2.981
   C     0.000000    -37.0     -37.0       -37.0        -37.0       2.981
   N     0.000000    -54.0     -54.0       -54.0        -54.0       2.981
   O     0.000000    -75.0     -75.0       -75.0        -75.0       2.981
   F     0.000000    -99.0     -99.0       -99.0        -99.0       2.981
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in (42, 7, 100):
        (folder / f"dsgdb9nsd_{number}.xyz").write_text(HF.replace("gdb 42", f"gdb {number}"))
    return folder


def write_npz(path, **changes):
    arrays = {
        "Z": np.array([9, 1, 1, 1], dtype=np.int8),
        "R": np.arange(12, dtype=np.float32).reshape(4, 3),
        "n_atoms": np.array([2, 2], dtype=np.int16),
        "qm9_id": np.array([5, 8]),
        "props": np.array([[-1.0, 2.0], [-2.0, 3.0]]),
        "prop_names": np.array(["u0", "mu"]),
    } | changes
    np.savez(path, **{name: values for name, values in arrays.items() if values is not None})
    return path


def test_raw_file_with_its_exponents_and_units(tmp_path):
    (tmp_path / "one.xyz").write_text(HF)
    (molecule,) = read_qm9(tmp_path / "one.xyz")
    assert molecule.z.tolist() == [9, 1]
    assert molecule.pos.tolist() == [[0.0, 0.0, 0.1], [-0.0015, 0.0, -0.85]]
    assert (molecule.id, molecule.smiles) == ("gdb_42", "F")
    expected = {
        "rotational_constant_a_ghz": 600.5,
        "rotational_constant_b_ghz": 599.0,
        "rotational_constant_c_ghz": 150.0,
        "dipole_debye": 1.82,
        "polarizability_bohr3": 5.5,
        "homo_ev": -0.5 * HARTREE,
        "lumo_ev": 0.25 * HARTREE,
        "gap_ev": 0.75 * HARTREE,
        "r2_bohr2": 10.25,
        "zpve_ev": 0.01 * HARTREE,
        "u0_ev": -100.5 * HARTREE,
        "u298_ev": -100.25 * HARTREE,
        "h298_ev": -100.0 * HARTREE,
        "g298_ev": -101.0 * HARTREE,
        "cv_cal_per_mol_k": 4.5,
    }
    assert molecule.properties == pytest.approx(expected, rel=1e-14)


def test_folders_and_archives_hold_the_same(folder, tmp_path):
    for name, mode in (("raw.tar.gz", "w:gz"), ("raw.tar.bz2", "w:bz2")):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(folder, "raw")
    with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"raw/{file.name}")
    assert [molecule.id for molecule in read_qm9(folder)] == ["gdb_7", "gdb_42", "gdb_100"]
    for name in ("raw.tar.gz", "raw.tar.bz2", "raw.zip"):
        assert {molecule.id for molecule in read_qm9(tmp_path / name)} == {"gdb_7", "gdb_42", "gdb_100"}


def test_excluded_numbers_are_left_out(folder):
    assert [molecule.id for molecule in read_qm9(folder, exclude={42})] == ["gdb_7", "gdb_100"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (HF, "", "first line must be the number of atoms, got ''"),
        ("2\ngdb", "0\ngdb", "first line must be the number of atoms, got '0'"),
        ("2\ngdb", "9\ngdb", "9 atoms announced, 5 there; the file is cut off"),
        ("gdb 42", "gdb x", "second line must be `gdb`, a number and 15 properties"),
        ("\t4.5\n", "\n", "got 16 words"),
        ("1.82", "1,82", "mu is not a number: '1,82'"),
        ("F\t0.0", "Xx\t0.0", "unknown element: atom 0 is 'Xx'"),
        ("-1.5*^-3", "left", "coordinate of atom 1 is not a number: 'left'"),
        ("-1.5*^-3", "nan", "`pos` of row 1 is not finite"),
        ("H\t-1.5*^-3\t 0.0\t-8.5*^-1\t 0.4", "H\t1", "atom 1 has 2 columns"),
        ("-100.5\t", "nan\t", "property `u0_ev` is not finite"),
    ],
)
def test_broken_raw_record_is_named_and_left_out(folder, old, new, message):
    broken = HF.replace(old, new, 1)
    assert broken != HF
    (folder / "dsgdb9nsd_42.xyz").write_text(broken)
    with pytest.raises(DataError, match=message) as caught:
        list(read_qm9(folder))
    assert caught.value.record == "dsgdb9nsd_42.xyz"
    errors: list[DataError] = []
    assert [molecule.id for molecule in read_qm9(folder, on_error=errors.append)] == ["gdb_7", "gdb_100"]
    assert len(errors) == 1


def test_bad_sources_are_named(folder, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        list(read_qm9(tmp_path / "no.tar.gz"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"there is no \.xyz file in it"):
        list(read_qm9(empty))
    with tarfile.open(tmp_path / "raw.tar.gz", "w:gz") as archive:
        archive.add(folder, "raw")
    whole = (tmp_path / "raw.tar.gz").read_bytes()
    for cut in (5, len(whole) // 2, len(whole) - 8):
        (tmp_path / "cut.tar.gz").write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"cut\.tar\.gz: not readable after \d files .*damaged or cut"):
            list(read_qm9(tmp_path / "cut.tar.gz"))
    (folder / "dsgdb9nsd_7.xyz").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"record dsgdb9nsd_7\.xyz: the first line must be"):
        list(read_qm9(folder))


def test_npz_with_named_properties(tmp_path):
    first, second = read_qm9(write_npz(tmp_path / "qm9.npz"))
    assert first.z.tolist() == [9, 1]
    assert second.pos.tolist() == [[6, 7, 8], [9, 10, 11]]
    assert second.id == "gdb_8"
    assert first.properties == pytest.approx({"u0_ev": -HARTREE, "dipole_debye": 2.0}, rel=1e-14)


def test_npz_with_electronic_energies_and_missing_values(tmp_path):
    path = write_npz(
        tmp_path / "qm9.npz",
        props=None,
        prop_names=None,
        E_elec_hartree=np.array([-1.0, np.nan]),
        dipole_debye=np.array([[0.0, 3.0, 4.0], [1.0, 0.0, 0.0]]),
    )
    errors: list[DataError] = []
    (first,) = read_qm9(path, on_error=errors.append)
    assert first.properties == pytest.approx({"electronic_energy_ev": -HARTREE, "dipole_debye": 5.0})
    assert [error.record for error in errors] == ["1 (gdb_8)"]
    with pytest.raises(DataError, match="property `electronic_energy_ev` is not finite; leave the record"):
        list(read_qm9(path))
    assert list(read_qm9(path, require=["dipole_debye"]))[1].properties == {"dipole_debye": 1.0}
    with pytest.raises(DataError, match="property `gap_ev` is not there"):
        list(read_qm9(path, require=["gap_ev"]))


def test_bad_npz_is_named(tmp_path):
    with pytest.raises(DataError, match="array 'R' is missing; the arrays there are: Z, n_atoms"):
        list(read_qm9(write_npz(tmp_path / "a.npz", R=None)))
    with pytest.raises(DataError, match="shapes do not fit"):
        list(read_qm9(write_npz(tmp_path / "b.npz", n_atoms=np.array([2, 3]))))
    with pytest.raises(DataError, match=r"c\.npz: unknown property 'colour'"):
        list(read_qm9(write_npz(tmp_path / "c.npz", prop_names=np.array(["u0", "colour"]))))


def test_atomref_gives_atomization_energies(tmp_path):
    (tmp_path / "atomref.txt").write_text(ATOMREF)
    (tmp_path / "one.xyz").write_text(HF)
    table = read_atomref(tmp_path / "atomref.txt")
    assert table["u0_ev"][9] == pytest.approx(-99.0 * HARTREE)
    assert table["cv_cal_per_mol_k"][1] == 2.981
    (molecule,) = read_qm9(tmp_path / "one.xyz")
    properties = with_atomization_energies(molecule, table).properties
    assert properties["u0_atom_ev"] == pytest.approx((-100.5 + 99.0 + 0.5) * HARTREE)
    assert properties["g298_atom_ev"] == pytest.approx((-101.0 + 99.0 + 0.75) * HARTREE)
    del table["u0_ev"][1]
    with pytest.raises(DataError, match="no reference energy for atomic number 1"):
        with_atomization_energies(molecule, table)


def test_bad_tables_are_named(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text(ATOMREF.replace("   F  ", "   f  "))
    with pytest.raises(DataError, match="no line for F"):
        read_atomref(path)
    path.write_text(ATOMREF.replace("2.981", "", 1))
    with pytest.raises(DataError, match="5 values for H, expected 6"):
        read_atomref(path)
    path.write_text("# list\n  58  NC(=N)C#N\n  61 CC\n")
    with pytest.raises(DataError, match="2 molecule numbers, but the published list has 3054"):
        read_uncharacterized(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not a readable text file"):
        read_atomref(path)


def test_real_development_file(shared_data):
    molecules = list(read_qm9(shared_data / "qm9" / "qm9_dev_10000.npz"))
    assert len(molecules) == 10_000
    # Table of the file in Hartree (u0) and kcal/mol (u0_atom) against the atomic references.
    table = read_atomref(shared_data / "qm9" / "atomref.txt")
    for molecule in molecules[::500]:
        ours = with_atomization_energies(molecule, table).properties["u0_atom_ev"]
        assert ours == pytest.approx(molecule.properties["u0_atom_ev"], rel=2e-6)
        gap = molecule.properties["lumo_ev"] - molecule.properties["homo_ev"]
        assert gap == pytest.approx(molecule.properties["gap_ev"], abs=2e-4 * HARTREE)


def test_real_raw_files(shared_data):
    molecules = list(read_qm9(shared_data / "qm9" / "qm9_raw_style_111.tar.gz"))
    assert len(molecules) == 111
    assert len({molecule.id for molecule in molecules}) == 111


def test_real_geometries_report_their_missing_energies(shared_data):
    errors: list[DataError] = []
    path = shared_data / "qm9" / "qm9_geometries_114k.npz"
    first = list(islice(read_qm9(path, on_error=errors.append), 100))
    # The CHAMPS energies lack gdb_25 and others; methane has U0 - ZPVE = -40.5237 Hartree.
    assert first[0].properties["electronic_energy_ev"] == pytest.approx(-40.5236795 * HARTREE, rel=1e-9)
    assert errors[0].record == "23 (gdb_25)"
    assert "gdb_25" not in {molecule.id for molecule in first}


def test_real_list_of_uncharacterized_molecules(shared_data):
    numbers = read_uncharacterized(shared_data / "qm9" / "uncharacterized.txt")
    assert len(numbers) == 3054
    assert {58, 61, 80, 133866} <= numbers
