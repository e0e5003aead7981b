from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from geograph.errors import DataError
from geograph.readers.qm7 import qm7_folds, read_qm7

# Water and a hydrogen molecule, made by hand, in the padded layout of the published file (bohr).
WATER = [[0.0, 0.0, 0.2], [0.0, 1.4, -0.9], [0.0, -1.4, -0.9]]
HYDROGEN = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.4], [0.0, 0.0, 0.0]]
R_BOHR = np.array([WATER, HYDROGEN], dtype=np.float32)
Z = np.array([[8, 1, 1], [1, 1, 0]], dtype=np.float32)
T = np.array([[-232.0, -109.5]], dtype=np.float32)


def write_mat(path, **changes):
    arrays = {"R": R_BOHR, "Z": Z, "T": T, "P": np.array([[1], [0]])} | changes
    savemat(path, {name: values for name, values in arrays.items() if values is not None})
    return path


def test_mat_is_read_in_angstrom_without_padding(tmp_path):
    water, hydrogen = read_qm7(write_mat(tmp_path / "qm7.mat"))
    assert water.z.tolist() == [8, 1, 1]
    assert hydrogen.z.tolist() == [1, 1]
    # 1.4 bohr is the textbook bond length of H2: 0.7408 angstrom.
    np.testing.assert_allclose(hydrogen.pos, [[0, 0, 0], [0, 0, 0.740848]], atol=1e-6)
    assert hydrogen.properties == {"atomization_energy_kcal_mol": -109.5}
    assert (water.id, hydrogen.id) == ("qm7_0", "qm7_1")


def test_npz_is_read_in_angstrom(tmp_path):
    path = tmp_path / "qm7.npz"
    np.savez(path, R_angstrom=R_BOHR, Z=Z.astype(np.int8), T_kcalmol=T[0], fold=[3, 1], qm7_index=[7, 9])
    water, hydrogen = read_qm7(path)
    np.testing.assert_allclose(water.pos, R_BOHR[0])
    assert hydrogen.id == "qm7_9"
    assert qm7_folds(path).tolist() == [3, 1]


def test_published_folds_are_inverted(tmp_path):
    # P[f] lists the records of fold f: record 1 is in fold 0, record 0 in fold 1.
    assert qm7_folds(write_mat(tmp_path / "qm7.mat")).tolist() == [1, 0]


def test_broken_record_is_named_and_can_be_left_out(tmp_path):
    positions = R_BOHR.copy()
    positions[0, 1, 2] = np.nan
    path = write_mat(tmp_path / "qm7.mat", R=positions)
    with pytest.raises(DataError, match=r"qm7\.mat, record 0: `pos` of row 1 is not finite"):
        list(read_qm7(path))
    errors: list[DataError] = []
    (molecule,) = read_qm7(path, on_error=errors.append)
    assert molecule.id == "qm7_1"
    assert [error.record for error in errors] == [0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"T": np.array([[np.inf, 1.0]])}, "`T` is not finite"),
        ({"Z": np.array([[8.5, 1, 1], [1, 1, 0]])}, "not a whole number"),
        ({"Z": np.array([[0, 0, 0], [1, 1, 0]])}, "empty molecule"),
        ({"Z": np.array([[8, 1, 200], [1, 1, 0]])}, "unknown element: atom 2 has atomic number 200"),
        ({"T": None}, "array 'T' is missing"),
        ({"T": np.zeros((1, 5))}, "shapes do not fit"),
    ],
)
def test_bad_contents_are_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        list(read_qm7(write_mat(tmp_path / "qm7.mat", **changes)))


def test_bad_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no\.mat: no such file; check the path"):
        list(read_qm7(tmp_path / "no.mat"))
    whole = write_mat(tmp_path / "qm7.mat").read_bytes()
    for cut in (0, 60, len(whole) // 2, len(whole) - 20):
        (tmp_path / "cut.mat").write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"cut\.mat: (not a readable MATLAB file|array .* is missing)"):
            list(read_qm7(tmp_path / "cut.mat"))
    (tmp_path / "qm7.txt").write_text("")
    with pytest.raises(DataError, match=r"suffix '\.txt' is not known"):
        list(read_qm7(tmp_path / "qm7.txt"))
    np.save(tmp_path / "one.npy", Z)
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(DataError, match=r"one\.npz: not a readable \.npz file"):
        list(read_qm7(tmp_path / "one.npz"))
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(DataError, match=r"not a readable \.npz file"):
        list(read_qm7(tmp_path / "cut.npz"))


def test_bad_folds_are_named(tmp_path):
    with pytest.raises(DataError, match="neither `P` nor `fold`"):
        qm7_folds(write_mat(tmp_path / "none.mat", P=None))
    with pytest.raises(DataError, match="does not name each of the 2 records once"):
        qm7_folds(write_mat(tmp_path / "twice.mat", P=np.array([[0], [0]])))


def test_real_files_have_the_known_counts_and_agree(shared_data):
    paths = [shared_data / "qm7" / f"qm7_folds0-3.{suffix}" for suffix in ("mat", "npz")]
    mats, npzs = (list(read_qm7(path)) for path in paths)
    assert len(mats) == len(npzs) == 5724
    for path in paths:
        assert np.bincount(qm7_folds(path)).tolist() == [1430, 1431, 1432, 1431]
    # Ethene, the first record: float32 bohr and float32 angstrom agree to their rounding.
    assert mats[0].z.tolist() == [6, 6, 1, 1, 1, 1]
    for mat, npz in zip(mats, npzs, strict=True):
        np.testing.assert_allclose(mat.pos, npz.pos, atol=2e-6)
        assert mat.properties == npz.properties
