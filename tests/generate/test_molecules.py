from __future__ import annotations

import hashlib

import numpy as np
import pytest

from geograph.errors import ConfigError, DataError
from geograph.generate import molecules as module
from geograph.generate.molecules import (
    GeneratedMolecules,
    Relaxation,
    bonded_pairs,
    candidate_chunk,
    embed,
    generate_molecules,
    relax_smiles,
)
from geograph.generate.xtb import RelaxedGeometry
from geograph.records import Molecule

LABELS = {"energy_ev", "homo_ev", "lumo_ev", "gap_ev", "dipole_debye"}


def digest(molecules: list[Molecule]) -> str:
    state = hashlib.sha256()
    for molecule in molecules:
        state.update(molecule.smiles.encode())
        state.update(molecule.pos.tobytes())
        state.update(np.array([molecule.properties[name] for name in sorted(LABELS)]).tobytes())
    return state.hexdigest()


@pytest.fixture
def tblite():
    return pytest.importorskip("tblite", reason="tblite is not installed")


@pytest.fixture
def in_this_process(monkeypatch):
    """Call the chunks one after the other, without processes."""
    monkeypatch.setattr(module, "run_chunks", lambda function, jobs, **_: [function(*job) for job in jobs])


def test_result_does_not_depend_on_the_number_of_workers(tblite):
    results = [
        generate_molecules(12, seed=11, num_workers=workers, chunk_size=10, max_heavy_atoms=6)
        for workers in (1, 2)
    ]
    assert [len(result.molecules) for result in results] == [12, 12]
    assert digest(results[0].molecules) == digest(results[1].molecules)
    assert results[0].rejected == results[1].rejected
    for molecule in results[0].molecules:
        assert set(molecule.properties) == LABELS
        assert molecule.properties["gap_ev"] >= 1.5
    assert len({molecule.smiles for molecule in results[0].molecules}) == 12


def test_another_seed_gives_other_molecules():
    assert candidate_chunk(1, 0, 10, 9) == candidate_chunk(1, 0, 10, 9)
    assert not set(candidate_chunk(1, 0, 10, 9)) & set(candidate_chunk(2, 0, 10, 9))


def test_rejects_are_told_with_their_reason(tblite):
    ethanol, methanol = relax_smiles(["CCO", "CO"], Relaxation())
    assert isinstance(ethanol, Molecule)
    assert isinstance(methanol, Molecule)
    assert ethanol.z.tolist() == [6, 6, 8, 1, 1, 1, 1, 1, 1]
    # Bond lengths by microwave spectroscopy: C-C 1.51, C-O 1.43 angstrom; GFN2 has short C-O bonds.
    assert np.linalg.norm(ethanol.pos[0] - ethanol.pos[1]) == pytest.approx(1.51, abs=0.03)
    assert np.linalg.norm(ethanol.pos[1] - ethanol.pos[2]) == pytest.approx(1.43, abs=0.03)
    (gap,) = relax_smiles(["CCO"], Relaxation(min_gap_ev=50.0))
    assert isinstance(gap, str)
    assert gap.startswith("small gap: ")
    (steps,) = relax_smiles(["CCO"], Relaxation(max_steps=1))
    assert isinstance(steps, str)
    assert steps.startswith("not converged: forces of")
    assert relax_smiles(["C1C2CC34CC(C3)(O2)C14"], Relaxation()) == ["no force-field geometry"]
    counts = GeneratedMolecules([], [("CCO", gap), ("CO", gap), ("CCO", steps)]).reject_counts()
    assert counts == {"small gap": 2, "not converged": 1}


def test_first_to_pass_come_out_in_order_and_rejects_are_kept(monkeypatch, in_this_process):
    def fake(smiles, settings):
        z, pos = np.array([1]), np.zeros((1, 3))
        return [Molecule(z, pos, smiles=s, id=s) if len(s) % 2 else "even" for s in smiles]

    monkeypatch.setattr(module, "relax_smiles", fake)

    def chunk_of(seed, chunk, chunk_size, max_heavy_atoms):
        # Lengths run through 1 to 7 in disorder; every chunk repeats one SMILES of the one before.
        return ["C" * (1 + (3 * k) % 7) + f"#{k}" for k in range(9 * chunk, 9 * chunk + 10)]

    monkeypatch.setattr(module, "candidate_chunk", chunk_of)
    result = generate_molecules(30, seed=3, chunk_size=10)
    stream = list(dict.fromkeys(s for chunk in range(20) for s in chunk_of(3, chunk, 10, 9)))
    odd = [s for s in stream if len(s) % 2][:30]
    assert [molecule.smiles for molecule in result.molecules] == odd
    before_the_last = stream[: stream.index(odd[-1])]
    assert result.rejected == [(s, "even") for s in before_the_last if len(s) % 2 == 0]


def test_a_geometry_with_other_bonds_is_rejected(monkeypatch):
    def torn(z, pos, **settings):
        return RelaxedGeometry(pos + np.eye(len(z), 3) * 5, -1.0, -9.0, -1.0, 8.0, 1.0, 1)

    monkeypatch.setattr(module, "relax", torn)
    assert relax_smiles(["CO"], Relaxation()) == ["connectivity changed"]


def test_bonds_are_seen_in_the_geometry():
    embedded = embed("CO")
    assert embedded is not None
    z, pos, bonds = embedded
    assert bonds.tolist() == [[0, 1], [0, 2], [0, 3], [0, 4], [1, 5]]
    assert bonded_pairs(z, pos).tolist() == bonds.tolist()
    broken = pos.copy()
    broken[5] += 1.0
    assert bonded_pairs(z, broken).tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_molecules": 0}, "`num_molecules` must be at least 1, got 0"),
        ({"chunk_size": 0}, "`chunk_size` must be at least 1, got 0"),
        ({"max_heavy_atoms": 10}, "`max_heavy_atoms` must be 1 to 9, got 10"),
        ({"fmax_ev_per_angstrom": 0.0}, "`fmax_ev_per_angstrom` must be positive"),
    ],
)
def test_parameters_out_of_range_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        generate_molecules(**({"num_molecules": 5, "seed": 0} | change))


def test_too_many_small_molecules_are_refused(monkeypatch, in_this_process):
    monkeypatch.setattr(
        module,
        "relax_smiles",
        lambda smiles, settings: [Molecule(np.array([1]), np.zeros((1, 3)), id=s) for s in smiles],
    )
    with pytest.raises(DataError, match=r"no new molecule with at most 1 heavy atoms.*ask for fewer"):
        generate_molecules(5, seed=0, chunk_size=2, max_heavy_atoms=1)
