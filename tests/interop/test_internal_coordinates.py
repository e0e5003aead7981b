"""Bond lengths, angles and dihedral angles of geometries that are known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from geograph.interop.internal_coordinates import bond_angles, bond_lengths, dihedral_angles, type_name

METHANE = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 1.09 / np.sqrt(3)
STAR = np.array([[0, 1], [2, 0], [0, 3], [4, 0]])


def chain(dihedral_degree: float) -> np.ndarray:
    """H-O-O-H with right angles at the oxygens."""
    angle = np.radians(dihedral_degree)
    return np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, 1.4], [np.cos(angle), np.sin(angle), 1.4]])


def test_methane() -> None:
    z, ones = np.array([6, 1, 1, 1, 1]), np.ones(4, dtype=np.int64)
    lengths, angles = bond_lengths(z, METHANE, STAR, ones), bond_angles(z, METHANE, STAR)
    np.testing.assert_allclose(lengths.values, 1.09)
    assert {type_name("bond", code) for code in lengths.codes.tolist()} == {"C-H"}
    assert len(angles.values) == 6
    np.testing.assert_allclose(angles.values, np.degrees(np.arccos(-1 / 3)))
    assert {type_name("angle", code) for code in angles.codes.tolist()} == {"H-C-H"}
    assert len(dihedral_angles(z, METHANE, STAR, ones).values) == 0


@pytest.mark.parametrize("degree", [0.0, 30.0, 90.0, 179.0, -60.0, -135.0])
def test_dihedral_and_its_sign(degree: float) -> None:
    z, bonds = np.array([1, 8, 8, 1]), np.array([[0, 1], [1, 2], [2, 3]])
    orders = np.array([1, 2, 1])
    for reverse in (False, True):
        pairs = 3 - bonds if reverse else bonds
        pos = chain(degree)[::-1] if reverse else chain(degree)
        found = dihedral_angles(z, np.ascontiguousarray(pos), pairs, orders)
        np.testing.assert_allclose(found.values, [degree], atol=1e-9)
        assert type_name("dihedral", int(found.codes[0])) == "H-O=O-H"
    mirrored = dihedral_angles(z, chain(degree) * [1, -1, 1], bonds, orders)
    np.testing.assert_allclose(mirrored.values, [-degree], atol=1e-9)


def test_chains_on_a_line_and_rings_of_three_have_no_dihedral() -> None:
    bonds, orders = np.array([[0, 1], [1, 2], [2, 3]]), np.ones(3, dtype=np.int64)
    line = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 1, 0]])
    z = np.full(4, 6)
    assert len(dihedral_angles(z, line, bonds, orders).values) == 0
    triangle = np.array([[0.0, 0, 0], [1, 0, 0], [0.5, 0.8, 0]])
    ring = np.array([[0, 1], [1, 2], [2, 0]])
    assert len(dihedral_angles(z[:3], triangle, ring, orders).values) == 0
    assert len(bond_angles(z[:3], triangle, ring).values) == 3


def test_names_do_not_depend_on_the_order_of_atoms() -> None:
    generator = np.random.default_rng(1)
    z = np.array([6, 7, 8, 1, 9, 17])
    bonds = np.array([[0, 1], [1, 2], [2, 3], [1, 4], [4, 5]])
    orders = np.array([1, 2, 1, 4, 3])
    pos = generator.normal(size=(6, 3))

    def counts(order: np.ndarray) -> tuple[Counter[tuple[str, float]], ...]:
        place = np.argsort(order)
        moved = z[order], pos[order], place[bonds]
        found = {
            "bond": bond_lengths(*moved, orders),
            "angle": bond_angles(*moved),
            "dihedral": dihedral_angles(*moved, orders),
        }
        return tuple(
            Counter(
                (type_name(kind, c), round(v, 6))
                for c, v in zip(one.codes.tolist(), one.values.tolist(), strict=True)
            )
            for kind, one in found.items()
        )

    expected = counts(np.arange(6))
    assert [sum(one.values()) for one in expected] == [5, 5, 4]
    for _ in range(5):
        assert counts(generator.permutation(6)) == expected
    assert {name for name, _ in expected[0]} == {"C-N", "N=O", "H-O", "F:N", "Cl#F"}


def test_no_bonds() -> None:
    z, none = np.array([2]), np.zeros((0, 2), dtype=np.int64)
    orders = np.zeros(0, dtype=np.int64)
    assert len(bond_lengths(z, np.zeros((1, 3)), none, orders).values) == 0
    assert len(bond_angles(z, np.zeros((1, 3)), none).values) == 0
    assert len(dihedral_angles(z, np.zeros((1, 3)), none, orders).values) == 0


def test_agrees_with_rdkit() -> None:
    from rdkit import Chem
    from rdkit.Chem import AllChem, rdMolTransforms

    mol = Chem.AddHs(Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)NC"))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    conformer = mol.GetConformer()
    pos, z = conformer.GetPositions(), np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    bonds = np.array([[b.GetBeginAtomIdx(), b.GetEndAtomIdx()] for b in mol.GetBonds()])
    found = dihedral_angles(z, pos, bonds, np.ones(len(bonds), dtype=np.int64))
    expected = []
    for b, c in bonds.tolist():
        for a in (n.GetIdx() for n in mol.GetAtomWithIdx(b).GetNeighbors() if n.GetIdx() != c):
            for d in (n.GetIdx() for n in mol.GetAtomWithIdx(c).GetNeighbors() if n.GetIdx() not in (a, b)):
                expected.append(rdMolTransforms.GetDihedralDeg(conformer, a, b, c, d))
    np.testing.assert_allclose(
        np.sort(np.cos(np.radians(found.values))), np.sort(np.cos(np.radians(expected))), atol=1e-9
    )
