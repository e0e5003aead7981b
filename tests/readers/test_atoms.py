from __future__ import annotations

import gzip

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from geograph.errors import DataError
from geograph.readers.atoms import read_atoms

HARTREE = 27.211386245988
WATER = """3
energy=-76.5 smiles=O level=3
O 0.0 0.0 0.1
H 0.0 0.75 -0.5
H 0.0 -0.75 -0.5
"""
HYDROGEN = """2
charge=0.5
H 0.0 0.0 0.0
H 0.0 0.0 0.74
"""


def test_frames_with_their_labels(tmp_path):
    path = tmp_path / "two.extxyz"
    path.write_text(WATER + HYDROGEN)
    water, hydrogen = read_atoms(path)
    assert water.z.tolist() == [8, 1, 1]
    assert water.pos.tolist() == [[0, 0, 0.1], [0, 0.75, -0.5], [0, -0.75, -0.5]]
    assert water.properties == {"energy_ev": -76.5, "level": 3.0}
    assert (water.smiles, water.id, water.is_periodic) == ("O", "0", False)
    assert hydrogen.properties == {"charge": 0.5}
    assert hydrogen.id == "1"


def test_frames_with_ten_atoms_and_more_and_a_free_comment(tmp_path):
    rows = "".join(f"C {1.5 * i} 0 0\n" for i in range(12))
    path = tmp_path / "chain.xyz"
    path.write_text(f"12\na chain made by hand\n{rows}" + HYDROGEN)
    chain, hydrogen = read_atoms(path)
    assert len(chain.z) == 12
    assert chain.properties == {}
    assert len(hydrogen.z) == 2


def test_compressed_file(tmp_path):
    with gzip.open(tmp_path / "two.xyz.gz", "wt") as stream:
        stream.write(WATER + HYDROGEN)
    assert [len(molecule.z) for molecule in read_atoms(tmp_path / "two.xyz.gz")] == [3, 2]


def test_names_can_be_changed(tmp_path):
    (tmp_path / "a.xyz").write_text(WATER)
    (molecule,) = read_atoms(tmp_path / "a.xyz", rename={"energy_ev": "u0_ev"})
    assert molecule.properties == {"u0_ev": -76.5, "level": 3.0}


def test_periodic_cells_are_flagged(tmp_path):
    crystal = Atoms("NaCl", positions=[[0, 0, 0], [2.8, 0, 0]], cell=[5.6, 5.6, 5.6], pbc=True)
    ase.io.write(tmp_path / "salt.cif", crystal)
    ase.io.write(tmp_path / "salt.extxyz", crystal)
    for name in ("salt.cif", "salt.extxyz"):
        (molecule,) = read_atoms(tmp_path / name)
        assert molecule.is_periodic
        assert sorted(molecule.z.tolist()) == [11, 17]


def test_trajectory_with_calculator_results(tmp_path):
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]])
    atoms.calc = SinglePointCalculator(atoms, energy=-31.5, forces=np.zeros((2, 3)))
    ase.io.write(tmp_path / "h2.traj", [atoms, atoms])
    first, _ = read_atoms(tmp_path / "h2.traj")
    assert first.properties == {"energy_ev": -31.5}


def write_database(path, atoms, metadata, **data):
    with ase.db.connect(str(path)) as database:
        database.write(atoms, data=data)
        database.metadata = metadata


def test_database_units_are_converted(tmp_path):
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1.4]])
    metadata = {"_property_unit_dict": {"u0": "Ha", "mu": "D", "odd": "furlong"}, "_distance_unit": "Bohr"}
    arrays = {"u0": np.array([-1.0]), "mu": np.array([2.0]), "odd": np.array([3.0]), "forces": np.zeros(6)}
    write_database(tmp_path / "h2.db", atoms, metadata, **arrays)
    (molecule,) = read_atoms(tmp_path / "h2.db")
    assert molecule.properties == pytest.approx({"u0_ev": -HARTREE, "mu_debye": 2.0, "odd": 3.0})
    assert molecule.pos[1, 2] == pytest.approx(0.740848, abs=1e-6)
    write_database(tmp_path / "bad.db", atoms, {"_distance_unit": "furlong"})
    with pytest.raises(DataError, match=r"bad\.db, record id 1: unknown distance unit 'furlong'"):
        list(read_atoms(tmp_path / "bad.db"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("H 0.0 0.75", "Qq 0.0 0.75", "unknown element: atom 1 is 'Qq'; use the symbols"),
        ("H 0.0 0.75", "X 0.0 0.75", "unknown element: atom 1 has atomic number 0"),
        ("0.75 -0.5", "nan -0.5", "`pos` of row 1 is not finite"),
        ("0.75 -0.5", "far -0.5", r"cannot be parsed \(ValueError: .*'far'.*\); repair the record"),
        ("H 0.0 0.75 -0.5", "H 0.0", r"cannot be parsed \(\w+"),
        ("level=3", "level=nan", "property `level` is not finite"),
        (WATER, "0\nnothing\n", "empty molecule; remove the record"),
    ],
)
def test_broken_frame_is_named_and_left_out(tmp_path, old, new, message):
    path = tmp_path / "three.xyz"
    path.write_text(HYDROGEN + WATER.replace(old, new, 1) + HYDROGEN)
    with pytest.raises(DataError, match=message) as caught:
        list(read_atoms(path))
    assert str(caught.value).startswith(f"{path}, record 1: ")
    errors: list[DataError] = []
    assert [molecule.id for molecule in read_atoms(path, on_error=errors.append)] == ["0", "2"]
    assert len(errors) == 1


def test_not_required_labels_may_be_missing(tmp_path):
    (tmp_path / "a.xyz").write_text(WATER.replace("level=3", "level=nan"))
    (molecule,) = read_atoms(tmp_path / "a.xyz", require=["energy_ev"])
    assert molecule.properties == {"energy_ev": -76.5}
    with pytest.raises(DataError, match="property `gap_ev` is not there"):
        list(read_atoms(tmp_path / "a.xyz", require=["gap_ev"]))


def test_truncated_frames_end_the_file(tmp_path):
    path = tmp_path / "cut.xyz"
    path.write_text(HYDROGEN + WATER.rsplit("H", 1)[0])
    errors: list[DataError] = []
    assert len(list(read_atoms(path, on_error=errors.append))) == 1
    assert "3 atoms announced, 2 there; the file is cut off" in str(errors[0])
    path.write_text(HYDROGEN + "H 0.0 0.0 0.0\n" + WATER)
    with pytest.raises(DataError, match="record 1: a frame must begin with its number of atoms, got 'H 0.0"):
        list(read_atoms(path))


def test_bad_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no\.xyz: no such file; check the path"):
        list(read_atoms(tmp_path / "no.xyz"))
    for name, message in (
        ("file", "ASE does not know this file type"),
        ("file.odd", "ASE does not know the"),
    ):
        (tmp_path / name).write_text("nothing that anybody knows\n")
        with pytest.raises(DataError, match=message):
            list(read_atoms(tmp_path / name))
    with pytest.raises(DataError, match="ASE does not know the format 'odd'; give `format`"):
        list(read_atoms(tmp_path / "file", format="odd"))
    whole = gzip.compress((WATER * 200).encode())
    (tmp_path / "cut.xyz.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.xyz\.gz: cannot be parsed \(EOFError"):
        list(read_atoms(tmp_path / "cut.xyz.gz"))
    (tmp_path / "empty.xyz").write_text("")
    with pytest.raises(DataError, match=r"empty\.xyz: .*"):
        list(read_atoms(tmp_path / "empty.xyz"))


def test_damaged_binary_files_are_named(tmp_path):
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]])
    write_database(tmp_path / "h2.db", atoms, {})
    ase.io.write(tmp_path / "h2.traj", [atoms])
    ase.io.write(tmp_path / "h2.cif", atoms)
    for name in ("h2.db", "h2.traj"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 3])
        with pytest.raises(DataError, match=rf"{name}.*cannot be parsed"):
            list(read_atoms(tmp_path / name))
    (tmp_path / "text.db").write_text("this is no database, only some text " * 20)
    with pytest.raises(DataError, match=r"text\.db.*(cannot be parsed|does not know)"):
        list(read_atoms(tmp_path / "text.db"))


def test_real_files(shared_data):
    frames = list(read_atoms(shared_data / "qm9" / "qm9_dev_first1000.extxyz.gz"))
    assert len(frames) == 1000
    assert frames[0].properties["qm9_id"] == 7.0
    rows = list(read_atoms(shared_data / "qm9" / "schnetpack_test_qm9_20.db"))
    assert len(rows) == 20
    assert rows[0].z.tolist() == [6, 1, 1, 1, 1]
    assert rows[0].properties["energy_U0_ev"] == pytest.approx(-40.47893 * HARTREE)
    assert rows[0].properties["dipole_moment_debye"] == 0.0
