"""RDKit's part: perception, sanitisation, SMILES that can be compared, mol blocks."""

from __future__ import annotations

import numpy as np
import pytest

from geograph.interop.rdkit_molecules import (
    comparable_smiles,
    mol_block,
    parse_mol_block,
    perceive_mol,
    sanitize_chunk,
    sanitized_smiles,
)

METHANE = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 1.09 / np.sqrt(3)
METHANE_Z = np.array([6, 1, 1, 1, 1])
STAR = np.array([[0, 1], [0, 2], [0, 3], [0, 4]])


def test_perceives_bonds_or_says_that_it_did_not() -> None:
    mol, is_perceived = perceive_mol(METHANE_Z, METHANE)
    assert is_perceived
    assert mol.GetNumBonds() == 4
    mol, is_perceived = perceive_mol(np.array([8, 1, 1, 1, 1]), METHANE)  # an oxygen with four hydrogens
    assert (mol.GetNumAtoms(), mol.GetNumBonds(), is_perceived) == (5, 0, False)


def test_gives_up_after_its_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geograph.interop.rdkit_molecules.MAX_PERCEPTION_ITERATIONS", 1)
    angles = np.arange(6) * np.pi / 3
    ring = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    both = np.concatenate([1.39 * ring, 2.48 * ring])
    pair = np.concatenate([both, both + [0, 0, 8.0]])
    z = np.array(([6] * 6 + [1] * 6) * 2)
    mol, is_perceived = perceive_mol(z, pair)
    assert mol.GetNumAtoms() == 24
    assert is_perceived == (mol.GetNumBonds() > 0)


def test_smiles_of_the_largest_fragment() -> None:
    z, ones = np.array([6, 1, 1, 1, 1, 1, 1]), np.ones(5, dtype=np.int64)
    bonds = np.concatenate([STAR, [[5, 6]]])
    assert sanitized_smiles(z, bonds, ones) == ("[H]C([H])([H])[H]", "")


def test_too_many_bonds_have_a_reason() -> None:
    bonds, orders = np.array([[0, 1]]), np.array([2])
    smiles, reason = sanitized_smiles(np.array([1, 1]), bonds, orders)
    assert smiles == ""
    assert "valence" in reason.lower()


def test_chunk_agrees_with_one_by_one() -> None:
    z = np.concatenate([METHANE_Z, [10], METHANE_Z])
    bonds = np.concatenate([STAR, STAR + 6])
    found = sanitize_chunk(z, np.array([0, 5, 6, 11]), bonds, np.ones(8, dtype=np.int64))
    assert [smiles for smiles, _ in found] == ["[H]C([H])([H])[H]", "[Ne]", "[H]C([H])([H])[H]"]


def test_smiles_become_comparable() -> None:
    written, failed = comparable_smiles(
        ["C", "[H]C([H])([H])[H]", "[H]C([H])[H]", "C[C@H](O)F", "not one", ""]
    )
    assert failed == [4, 5]
    assert written[:3] == ["[H]C([H])([H])[H]"] * 2 + ["[H]C([H])[H]"]
    assert "@" not in written[3]
    assert comparable_smiles(written)[0] == written


def test_mol_block_round_trip_keeps_hydrogens() -> None:
    block = mol_block(METHANE_Z, METHANE, "methane")
    assert block.startswith("methane\n")
    parsed = parse_mol_block(block)
    assert parsed is not None
    np.testing.assert_array_equal(parsed[0], METHANE_Z)
    np.testing.assert_allclose(parsed[1], METHANE, atol=0.5e-4 + 1e-9)
    assert parse_mol_block("nonsense") is None


def test_mol_block_of_a_very_large_molecule_is_v3000() -> None:
    z = np.full(1000, 10)
    block = mol_block(z, np.arange(3000.0).reshape(1000, 3), "neon")
    assert "V3000" in block
    parsed = parse_mol_block(block)
    assert parsed is not None
    assert len(parsed[0]) == 1000
