"""Lewis structures and valences: molecules whose structure is known, and broken ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from geograph.interop.rdkit_perception import AROMATIC, lewis_structure, perceive, valence_allowed

METHANE = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 1.09 / np.sqrt(3)


def embedded(smiles: str) -> tuple[np.ndarray, np.ndarray, str]:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    AllChem.MMFFOptimizeMolecule(mol)
    z = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    return z, mol.GetConformer().GetPositions(), Chem.MolToSmiles(mol, isomericSmiles=False)


@pytest.mark.parametrize(
    "smiles",
    [
        "c1ccccc1",
        "c1ccsc1",
        "c1cc[nH]c1",
        "O=[N+]([O-])c1ccccc1",
        "C[N+](C)(C)CC(=O)[O-]",
        "CC(=O)Oc1ccccc1C(=O)O",
        "CS(=O)(=O)N",
        "[C-]#[N+]C",
        "OP(=O)(O)O",
        "Brc1ccc(I)cc1",
        "CC1(C)SC2C(NC(=O)Cc3ccccc3)C(=O)N2C1C(=O)O",
    ],
)
def test_known_molecules_are_found_and_stable(smiles: str) -> None:
    """Aromatic rings, nitro groups and zwitterions, which the published rule counts as unstable."""
    z, pos, expected = embedded(smiles)
    found = perceive(z, pos)
    assert (found.smiles, found.reason, found.is_connected) == (expected, "", True)
    assert found.atom_stable.all()


def test_bonds_orders_and_rings_of_benzene() -> None:
    z, pos, _ = embedded("c1ccccc1")
    found = perceive(z, pos)
    assert sorted(found.orders.tolist()) == [1] * 6 + [AROMATIC] * 6
    assert found.ring_sizes.tolist() == [6]
    mol = lewis_structure(z, pos)
    assert mol is not None
    np.testing.assert_allclose(mol.GetConformer().GetPositions(), pos)


def test_missing_hydrogen_has_no_structure() -> None:
    found = perceive(np.array([6, 1, 1, 1]), METHANE[:4])
    assert found.smiles == ""
    assert "does not match" in found.reason
    assert not found.atom_stable.any()
    assert (found.bonds.shape, found.orders.tolist(), found.is_connected) == ((3, 2), [0, 0, 0], True)
    assert lewis_structure(np.array([6, 1, 1, 1]), METHANE[:4]) is None


def test_charge_is_that_of_the_molecule() -> None:
    z = np.array([7, 1, 1, 1, 1])
    assert perceive(z, METHANE * 0.94).reason != ""
    ammonium = perceive(z, METHANE * 0.94, charge=1)
    assert ammonium.smiles == "[H][N+]([H])([H])[H]"
    assert ammonium.atom_stable.all()


def test_two_fragments() -> None:
    pos = np.concatenate([METHANE, [[9.0, 0, 0], [9.74, 0, 0]]])
    found = perceive(np.array([6, 1, 1, 1, 1, 1, 1]), pos)
    assert (found.is_connected, found.smiles) == (False, "[H]C([H])([H])[H]")
    assert found.atom_stable.all()


@pytest.mark.parametrize(("element", "length"), [(1, 0.74), (9, 1.42), (17, 1.99), (53, 2.66), (7, 1.10)])
def test_diatomics(element: int, length: float) -> None:
    found = perceive(np.full(2, element), np.array([[0.0, 0, 0], [0, 0, length]]))
    assert found.is_connected
    assert found.atom_stable.all()


def test_iterations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    z, pos, _ = embedded("c1ccc2ccccc2c1")
    monkeypatch.setattr("geograph.interop.rdkit_perception.MAX_PERCEPTION_ITERATIONS", 1)
    assert perceive(z, pos).reason != ""


@pytest.mark.parametrize(
    ("element", "charge", "allowed"),
    [
        (1, 0, [1]), (6, 0, [4]), (7, 0, [3]), (8, 0, [2]), (9, 0, [1]), (5, 0, [3]), (15, 0, [3, 5]),
        (16, 0, [2, 4, 6]), (17, 0, [1]), (7, 1, [4]), (7, -1, [2]), (8, 1, [3]), (8, -1, [1]), (6, -1, [3]),
        (5, -1, [4]), (16, 1, [3, 5]), (17, -1, [0]), (11, 1, [0]), (10, 0, [0]),
        (6, 1, []), (1, 1, []), (1, -1, []), (94, 0, []),
    ],
)  # fmt: skip
def test_allowed_valences(element: int, charge: int, allowed: list[int]) -> None:
    """The valences of textbook ions; never 3 for neutral carbon, as truncated aromatic bonds would need."""
    valences = np.arange(10)
    found = valence_allowed(np.full(10, element), np.full(10, charge), valences)
    assert valences[found].tolist() == allowed


def test_real_molecules_reach_the_ceiling(shared_data: Path) -> None:
    file = shared_data / "qm9" / "qm9_dev_10000.npz"
    if not file.is_file():
        pytest.skip(f"real data not present: {file}")
    data = np.load(file)
    z, pos = data["Z"].astype(np.int64), data["R"].astype(np.float64)
    ends = np.cumsum(data["n_atoms"].astype(np.int64))[4000:4501]
    found = [perceive(z[a:b], pos[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)]
    assert np.mean([not one.reason for one in found]) == 1.0
    assert np.mean([one.atom_stable.all() for one in found]) == 1.0
