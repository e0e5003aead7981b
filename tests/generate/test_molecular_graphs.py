from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from geograph.generate.molecular_graphs import (
    QM9_ATOM_COUNTS,
    grow_smiles,
    heavy_atom_shares,
    random_graph,
    refusal,
    thin_to_qm9,
)


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("COOC", "oxygen-oxygen bond"),
        ("Cc1ooc1", "oxygen-oxygen bond"),
        ("CN=NN", "N-N-N chain"),
        ("c1c[nH]nn1", "N-N-N chain"),
        ("C=NN=O", "N-N-O chain"),
        ("CN(C)OC", "sp3 N-O"),
        ("CN(C)N(C)C", "sp3 N-N"),
        ("CN=NC", "azo"),
        ("C1OC1=O", None),
        ("C1NO1", "sp3 N-O"),
        ("C1=NN1C", "two hetero atoms in a three-membered ring"),
        ("FN(C)C", "fluorine on a hetero atom"),
        ("C=C=CC", "cumulated double bonds"),
        ("C1CC#CCC1", "triple bond in a ring"),
        ("C1=CC1", "double bond in a three-membered ring"),
        ("C1=CCC1", "double bond in a four-membered ring"),
        ("C12CC1C2", "two fused three-membered rings"),
        ("C12C3C1C23", "two fused three-membered rings"),
        ("C=C(C)O", "enol"),
        ("CC=CNC", "enamine"),
        ("CC#CO", "ynol or ynamine"),
        ("CC(O)OC", "hemiaminal or gem-diol"),
        ("COC(OC)OC", "three hetero atoms on one sp3 carbon"),
        ("CNC(=O)O", "carbonic or carbamic acid"),
        ("C1CC2CCC1=C2", "double bond at a bridgehead (Bredt)"),
        ("CN=O", "nitroso"),
    ],
)
def test_unstable_groups_are_refused(smiles, reason):
    assert refusal(Chem.MolFromSmiles(smiles)) == reason


@pytest.mark.parametrize(
    "smiles",
    [
        "C",
        "CCO",
        "CC(=O)N",
        "c1ccoc1",
        "c1nonc1",
        "C=NO",
        "C1CC2CCC1C2",
        "C1CC2CCC1C=C2",
        "CC#N",
        "C#CCO",
        "CNN=C",
    ],
)
def test_ordinary_molecules_pass(smiles):
    assert refusal(Chem.MolFromSmiles(smiles)) is None


def test_random_graphs_are_neutral_closed_shell_and_small():
    rng = np.random.default_rng(3)
    mols = [mol for mol in (random_graph(rng, 7) for _ in range(200)) if mol is not None]
    assert len(mols) > 40
    for mol in mols:
        assert 1 <= mol.GetNumAtoms() <= 7
        assert {atom.GetSymbol() for atom in mol.GetAtoms()} <= {"C", "N", "O", "F"}
        assert all(atom.GetFormalCharge() == atom.GetNumRadicalElectrons() == 0 for atom in mol.GetAtoms())
        assert len(Chem.GetMolFrags(mol)) == 1


def test_grown_smiles_are_canonical_different_and_counted():
    pool = grow_smiles(seed=5, chunk=2, pool_size=30)
    assert len(pool) == 30
    assert pool == grow_smiles(seed=5, chunk=2, pool_size=30)
    assert set(pool) != set(grow_smiles(seed=5, chunk=3, pool_size=30))
    for smiles, num_atoms in pool.items():
        mol = Chem.MolFromSmiles(smiles)
        assert Chem.MolToSmiles(mol) == smiles
        assert Chem.AddHs(mol).GetNumAtoms() == num_atoms


def test_the_smallest_molecules_run_out():
    assert set(grow_smiles(seed=0, chunk=0, pool_size=50, max_heavy_atoms=1)) <= {"C", "N", "O", "F"}


def test_histogram_is_the_published_one():
    assert sum(QM9_ATOM_COUNTS.values()) == 100_000
    assert QM9_ATOM_COUNTS[19] == 13_832
    assert heavy_atom_shares(9)[-1] == pytest.approx(95483 / 114581)
    assert heavy_atom_shares(3) == pytest.approx(np.array([3, 5, 9]) / 17)


def test_thinning_follows_the_histogram_where_the_pool_allows():
    pool = {f"{size}-{copy}": size for size in range(3, 30) for copy in range(400)}
    chosen = thin_to_qm9(pool, 1000, np.random.default_rng(0))
    assert len(set(chosen)) == 1000
    sizes = np.array([pool[name] for name in chosen])
    for size, count in QM9_ATOM_COUNTS.items():
        # Rounded up or down at random; the few of the total that rounding misses are filled from any size.
        assert abs((sizes == size).sum() - count / 100) <= 6
    # Negative control: the pool itself is flat.
    assert abs((sizes == 19).sum() - 1000 / 27) > 60


def test_thinning_fills_up_from_what_is_left():
    pool = {f"{copy}": 12 for copy in range(20)}
    assert len(thin_to_qm9(pool, 15, np.random.default_rng(0))) == 15
    assert len(thin_to_qm9(pool, 50, np.random.default_rng(0))) == 20
