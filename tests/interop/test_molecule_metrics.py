"""Stability, validity, uniqueness and novelty on molecules whose answers are known."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest

from geograph.errors import ConfigError, DataError
from geograph.interop.molecule_files import read_molecule_files, write_molecules
from geograph.interop.molecule_metrics import FRACTIONS, Unreadable, evaluate_molecules, smiles_of
from geograph.records import Molecule

KEYS = [
    "atom_stability", "molecule_stability", "rdkit_validity", "uniqueness", "novelty", "connected",
    "num_molecules", "num_atoms", "num_valid", "num_unique", "num_novel", "rdkit_version",
    "valency_atom_stability", "valency_molecule_stability", "perceived_validity", "perceived_uniqueness",
    "perceived_novelty", "perceived_connected", "num_perceived_valid", "num_perceived_unique",
    "num_perceived_novel", "num_unreadable", "unreadable", "intervals", "posebusters", "strain",
    "distributions", "reference",
]  # fmt: skip
ROW = [
    "id", "num_atoms", "stable", "valid", "connected", "smiles", "reason", "valency_stable",
    "perceived_valid", "perceived_connected", "perceived_smiles", "perceived_reason", "novel",
    "perceived_novel", "posebusters", "strain_kcal_per_mol", "rmsd_angstrom", "failed",
]  # fmt: skip
_TETRAHEDRON = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)


def methane(record_id: str = "methane") -> Molecule:
    return Molecule(z=np.array([6, 1, 1, 1, 1]), pos=1.09 * _TETRAHEDRON, id=record_id)


def fluoromethane() -> Molecule:
    lengths = np.array([[0], [1.39], [1.09], [1.09], [1.09]])
    return Molecule(z=np.array([6, 9, 1, 1, 1]), pos=lengths * _TETRAHEDRON, id="fluoromethane")


def ethane(stretch: float = 1.02) -> Molecule:
    hydrogens = np.array([[-0.39, 1.02, 0], [-0.39, -0.51, 0.883], [-0.39, -0.51, -0.883]])
    pos = np.concatenate([[[0, 0, 0], [1.53, 0, 0]], hydrogens, [1.53, 0, 0] - hydrogens])
    return Molecule(z=np.array([6, 6, 1, 1, 1, 1, 1, 1]), pos=stretch * pos, id=f"ethane {stretch}")


def radical() -> Molecule:
    return Molecule(z=np.array([6, 1, 1, 1]), pos=1.09 * _TETRAHEDRON[:4], id="radical")


def pentavalent() -> Molecule:
    pos = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]], dtype=float) * 1.09
    return Molecule(z=np.array([6, 1, 1, 1, 1, 1]), pos=pos, id="pentavalent")


def two_fragments() -> Molecule:
    pos = np.concatenate([1.09 * _TETRAHEDRON, [[9.0, 0, 0], [9.74, 0, 0]]])
    return Molecule(z=np.array([6, 1, 1, 1, 1, 1, 1]), pos=pos, id="two fragments")


ALL = [methane(), methane("again"), fluoromethane(), radical(), pentavalent(), two_fragments()]


def test_figures_by_hand() -> None:
    report = evaluate_molecules(ALL, reference_smiles=["C"])
    values = report.to_json()
    assert list(values) == KEYS
    # Atoms: 5 + 5 + 5 stable; radical: 3 of 4; pentavalent: the five hydrogens; two fragments: all 7.
    assert report.atom_stability == pytest.approx((15 + 3 + 5 + 7) / 32)
    assert report.molecule_stability == pytest.approx(4 / 6)
    assert report.rdkit_validity == pytest.approx(5 / 6)
    assert report.connected == pytest.approx(5 / 6)
    # Methane three times (once as a largest fragment), fluoromethane, and the radical.
    assert (report.num_valid, report.num_unique, report.num_novel) == (5, 3, 2)
    assert (report.num_molecules, report.num_atoms) == (6, 32)
    assert report.uniqueness == pytest.approx(3 / 5)
    assert report.novelty == pytest.approx(2 / 3)
    json.dumps(values, allow_nan=False)


def test_perceived_figures_by_hand() -> None:
    """The radical and the carbon with five hydrogens have no Lewis structure; all else is as it should be."""
    report = evaluate_molecules(ALL, reference_smiles=["C"])
    assert report.valency_molecule_stability == report.perceived_validity == pytest.approx(4 / 6)
    assert report.valency_atom_stability == pytest.approx((5 + 5 + 5 + 7) / 32)
    assert report.perceived_connected == pytest.approx(5 / 6)
    counts = (report.num_perceived_valid, report.num_perceived_unique, report.num_perceived_novel)
    assert counts == (4, 2, 1)
    assert (report.perceived_uniqueness, report.perceived_novelty) == (0.5, 0.5)
    rows = {row.id: row for row in report.rows}
    assert rows["methane"].failed == ()
    assert rows["radical"].failed == ("stable", "valency_stable", "perceived_valid")
    assert rows["pentavalent"].failed == ("stable", "valid", "valency_stable", "perceived_valid")
    assert rows["two fragments"].failed == ("connected", "perceived_connected")
    assert (rows["methane"].novel, rows["fluoromethane"].perceived_novel) == (False, True)
    assert (rows["pentavalent"].novel, rows["pentavalent"].perceived_reason != "") == (None, True)


def test_nitro_group_is_stable_by_valence_where_the_published_rule_fails() -> None:
    """Nitromethane: both N-O bonds are 1.22 angstrom, two double bonds by the published lengths."""
    nitromethane = Molecule(
        z=np.array([6, 7, 8, 8, 1, 1, 1]),
        pos=np.array([
            [0, 0, 0], [1.49, 0, 0], [2.07, 1.07, 0], [2.07, -1.07, 0],
            [-0.36, 1.03, 0], [-0.36, -0.51, 0.89], [-0.36, -0.51, -0.89],
        ]),
    )  # fmt: skip
    report = evaluate_molecules([nitromethane])
    assert report.molecule_stability == 0.0
    assert report.rows[0].reason != ""
    assert report.valency_molecule_stability == report.valency_atom_stability == 1.0
    assert "[N+]" in report.rows[0].perceived_smiles


def test_reference_gives_ceiling_distances_and_novelty() -> None:
    reference = [methane("a"), methane("b"), fluoromethane()]
    report = evaluate_molecules(ALL, reference=reference)
    assert report.num_novel == 1  # the radical
    assert report.num_perceived_novel == 0
    assert report.reference is not None
    assert (report.reference.num_molecules, report.reference.molecule_stability) == (3, 1.0)
    assert report.reference.novelty is None
    assert report.distances()["sizes_distance_atoms"] == pytest.approx(
        (5 + 5 + 5 + 4 + 6 + 7) / 6 - 5, abs=0.67
    )
    assert list(report.to_json()["distributions"])[:2] == ["sizes", "ring_counts"]
    same = evaluate_molecules(reference, reference=reference)
    assert (same.novelty, same.perceived_novelty) == (0.0, 0.0)
    assert all(value == pytest.approx(0.0, abs=1e-12) for value in same.distances().values())
    json.dumps(report.to_json(), allow_nan=False)
    together = evaluate_molecules(ALL, reference=reference, reference_smiles=["[H]C([H])[H]"])
    assert together.num_novel == 0


def test_intervals_hold_the_figures() -> None:
    report = evaluate_molecules(ALL * 10, reference_smiles=["C"], seed=4)
    values = report.to_json()
    assert set(report.intervals) == set(FRACTIONS)
    for name, (low, high) in report.intervals.items():
        assert 0.0 <= low <= values[name] <= high <= 1.0
    assert report.intervals["molecule_stability"][0] < 4 / 6 < report.intervals["molecule_stability"][1]
    assert evaluate_molecules(ALL * 10, reference_smiles=["C"], seed=4).intervals == report.intervals
    assert evaluate_molecules(ALL, num_resamples=0).intervals == {}


def test_posebusters_and_strain_of_a_sample() -> None:
    pytest.importorskip("posebusters", reason="posebusters is not installed")
    pytest.importorskip("tblite", reason="tblite is not installed")
    chosen = [ethane(), ethane(1.0), radical()]
    report = evaluate_molecules(chosen, num_posebusters=9, num_strain=9, num_resamples=50)
    assert report.posebusters is not None
    assert report.strain is not None
    assert (report.posebusters.num_checked, report.posebusters.all_passed) == (3, pytest.approx(2 / 3))
    assert (report.strain.num_asked, report.strain.num_converged) == (3, 2)
    assert report.strain.failures == (
        ("radical", "an odd number of electrons: a radical, or an atom is missing"),
    )
    assert [row.posebusters for row in report.rows] == [True, True, False]
    assert 0.0 < report.rows[1].strain_kcal_per_mol < report.rows[0].strain_kcal_per_mol < 5.0
    assert report.rows[2].failed[3:5] == ("strain", "mol_pred_loaded")
    values = report.to_json()
    assert values["posebusters"]["checks"]["bond_lengths"] == pytest.approx(2 / 3)
    assert values["strain"]["version"]
    json.dumps(values, allow_nan=False)
    one = evaluate_molecules(chosen, num_strain=1, seed=2)
    assert sum("strain" in row.failed or row.rmsd_angstrom is not None for row in one.rows) == 1


def test_charged_molecules() -> None:
    ammonium = Molecule(z=np.array([7, 1, 1, 1, 1]), pos=1.02 * _TETRAHEDRON)
    assert evaluate_molecules([ammonium]).perceived_validity == 0.0
    assert evaluate_molecules([ammonium], charge=1).valency_molecule_stability == 1.0
    with pytest.raises(ConfigError, match="`num_strain` needs neutral molecules, got `charge` 1; leave one"):
        evaluate_molecules([ammonium], charge=1, num_strain=1)


@pytest.mark.parametrize("name", ["num_posebusters", "num_strain", "num_resamples"])
def test_negative_numbers_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` must not be negative, got -1"):
        evaluate_molecules(ALL, **{name: -1})


def test_unreadable_records_are_kept() -> None:
    bad = Unreadable("a.sdf", "3", "no reason")
    report = evaluate_molecules(ALL, unreadable=[bad])
    assert (report.num_unreadable, report.num_molecules) == (1, 6)
    assert report.to_json()["unreadable"] == [{"source": "a.sdf", "record": "3", "reason": "no reason"}]


def test_rows_say_why() -> None:
    rows = {row.id: row for row in evaluate_molecules(ALL).rows}
    assert rows["methane"].reason == ""
    assert rows["methane"].smiles == "[H]C([H])([H])[H]"
    assert rows["radical"].reason == "atom 0 (C) has valence 3, published 4"
    assert rows["pentavalent"].smiles == ""
    assert "valence for atom # 0 C, 5" in rows["pentavalent"].reason
    assert not rows["two fragments"].connected
    selenium = evaluate_molecules([Molecule(z=np.array([34]), pos=np.zeros((1, 3)))]).rows[0]
    assert selenium.reason == "atom 0 (atomic number 34) has no published valence"


def test_novelty_needs_a_reference() -> None:
    report = evaluate_molecules([methane()])
    assert (report.novelty, report.num_novel) == (None, None)
    assert evaluate_molecules([methane()], reference_smiles=[]).novelty == 1.0


def test_nothing_valid_leaves_ratios_open() -> None:
    report = evaluate_molecules([pentavalent()], reference_smiles=["C"])
    assert (report.uniqueness, report.novelty, report.num_novel) == (None, None, 0)


def test_own_smiles_are_never_novel() -> None:
    assert evaluate_molecules(ALL, reference_smiles=smiles_of(ALL)).novelty == 0.0
    assert smiles_of([]) == []


def test_result_does_not_depend_on_pose_or_order_of_atoms() -> None:
    generator = np.random.default_rng(0)
    moved = []
    for molecule in ALL:
        rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        order = generator.permutation(len(molecule.z))
        pos = molecule.pos[order] @ rotation.T + generator.normal(size=3)
        moved.append(Molecule(z=molecule.z[order], pos=pos, id=molecule.id))
    found, expected = evaluate_molecules(moved), evaluate_molecules(ALL)
    for one, other in zip(found.rows, expected.rows, strict=True):
        assert one.failed == other.failed
    assert found.to_json() == expected.to_json()


def test_result_does_not_depend_on_chunks_or_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate_molecules(ALL)
    monkeypatch.setattr("geograph.interop.molecule_metrics._CHUNK", 4)
    assert evaluate_molecules(ALL) == whole
    assert evaluate_molecules(ALL, num_workers=2) == whole


def test_tables(tmp_path: Path) -> None:
    import pyarrow.parquet

    report = evaluate_molecules(ALL)
    report.write_table(tmp_path / "new" / "rows.csv")
    report.write_table(tmp_path / "rows.parquet")
    with (tmp_path / "new" / "rows.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    table = pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [line["id"] for line in lines] == [row["id"] for row in table] == [molecule.id for molecule in ALL]
    assert list(table[0]) == list(lines[0]) == ROW
    assert table[4]["failed"] == ["stable", "valid", "valency_stable", "perceived_valid"]
    assert lines[4]["failed"] == "stable;valid;valency_stable;perceived_valid"
    assert (table[0]["failed"], table[0]["novel"], lines[0]["novel"]) == ([], None, "")
    assert table[4]["valid"] is False
    with pytest.raises(ConfigError, match=r"must end in \.csv or \.parquet, got 'rows\.xlsx'"):
        report.write_table(tmp_path / "rows.xlsx")


def test_refuses_nothing_and_bad_references() -> None:
    with pytest.raises(DataError, match="no molecules to evaluate; give at least one"):
        evaluate_molecules([])
    with pytest.raises(DataError, match="reference, record 1: RDKit cannot parse 1 of 2 .* first 'not one'"):
        evaluate_molecules([methane()], reference_smiles=["C", "not one"])


def test_real_molecules_in_time(shared_data: Path, tmp_path: Path) -> None:
    """A fifth of the promised 10,000 in a fifth of the promised 30 s, run-time type checks included."""
    file = shared_data / "qm9" / "qm9_dev_10000.npz"
    if not file.is_file():
        pytest.skip(f"real data not present: {file}")
    data = np.load(file)
    z, pos = data["Z"].astype(np.int64), data["R"].astype(np.float64)
    ends = np.cumsum(data["n_atoms"].astype(np.int64))[4000:6001]
    molecules = [Molecule(z=z[a:b], pos=pos[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    write_molecules(tmp_path / "molecules.sdf", molecules)
    start = time.process_time()
    report = evaluate_molecules(read_molecule_files(tmp_path / "molecules.sdf"))
    assert time.process_time() - start < 6.0
    assert report.num_molecules == 2000
    assert report.rdkit_validity == pytest.approx(
        0.977, abs=0.02
    )  # QM9 itself, Hoogeboom et al. 2022, table 2
    assert report.uniqueness == pytest.approx(1.0, abs=0.01)
    assert report.valency_molecule_stability == report.perceived_validity == 1.0
