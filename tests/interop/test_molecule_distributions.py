"""Distributions and their distances, on sets whose difference is known."""

from __future__ import annotations

import numpy as np
import pytest

from geograph.interop.molecule_distributions import Distribution, Observations, compare, observe
from geograph.interop.molecule_files import concatenate
from geograph.interop.rdkit_perception import perceive
from geograph.records import Molecule

TETRAHEDRON = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
ANGLES = np.arange(6) * np.pi / 3
RING = np.stack([np.cos(ANGLES), np.sin(ANGLES), 0 * ANGLES], axis=1)


def methane(length: float = 1.09) -> Molecule:
    return Molecule(z=np.array([6, 1, 1, 1, 1]), pos=length * TETRAHEDRON)


def benzene() -> Molecule:
    return Molecule(z=np.array([6] * 6 + [1] * 6), pos=np.concatenate([1.39 * RING, 2.48 * RING]))


def radical() -> Molecule:
    return Molecule(z=np.array([6, 1, 1, 1]), pos=1.09 * TETRAHEDRON[:4])


def seen(molecules: list[Molecule]) -> dict[str, Observations]:
    perceived = [perceive(molecule.z, molecule.pos) for molecule in molecules]
    return observe(*concatenate(molecules), perceived)


def compared(ours: list[Molecule], theirs: list[Molecule], seed: int = 0) -> dict[str, Distribution]:
    return compare(seen(ours), seen(theirs), num_molecules=(len(ours), len(theirs)), seed=seed)


def test_observations_of_benzene_and_methane() -> None:
    found = seen([benzene(), methane()])
    assert found["sizes"].values.tolist() == [12, 5]
    assert found["ring_counts"].values.tolist() == [1, 0]
    assert found["ring_sizes"].values.tolist() == [6]
    assert found["ring_sizes"].molecule.tolist() == [0]
    assert np.bincount(found["elements"].values)[[1, 6]].tolist() == [10, 7]
    assert len(found["bond_lengths"].values) == 16
    assert len(found["bond_angles"].values) == 6 * 3 + 6
    assert len(found["dihedral_angles"].values) == 6 * 4
    only = found["bond_angles"].of(np.array([False, True]))
    np.testing.assert_allclose(only.values, np.degrees(np.arccos(-1 / 3)))


def test_a_set_has_no_distance_to_itself() -> None:
    molecules = [methane(), methane(1.1), benzene()]
    for one in compared(molecules, molecules).values():
        assert one.distance == pytest.approx(0.0, abs=1e-12)
        assert one.covered == 1.0


def test_longer_bonds_are_as_far_as_they_are_longer() -> None:
    found = compared([methane(1.12)] * 3, [methane(1.09)] * 5)
    assert found["bond_lengths"].distance == pytest.approx(0.03)
    assert found["bond_angles"].distance == pytest.approx(0.0, abs=1e-9)
    assert found["dihedral_angles"].distance is None
    assert found["ring_sizes"].distance is None
    assert found["sizes"].distance == 0.0
    lengths = found["bond_lengths"]
    assert [(one.name, one.num_samples, one.num_reference) for one in lengths.types] == [("C-H", 12, 20)]


def test_types_are_weighted_by_their_number_in_the_reference() -> None:
    """C-H is off by 0.02; C:C is not among the samples."""
    found = compared([methane(1.11)], [benzene(), methane(1.09)])["bond_lengths"]
    types = {one.name: one for one in found.types}
    assert types["C:C"].distance is None
    assert (types["C-H"].num_reference, types["C:C"].num_reference) == (10, 6)
    assert types["C-H"].distance == pytest.approx(0.02)
    assert found.distance == pytest.approx(0.02)
    assert found.covered == pytest.approx(10 / 16)
    both = compared([methane(1.11), benzene()], [benzene(), methane(1.09)])["bond_lengths"]
    assert both.distance == pytest.approx((10 * 0.02 * 4 / 10 + 0) / 16)
    extra = compared([benzene()], [methane()])["bond_lengths"].types
    assert [(one.name, one.num_reference) for one in extra] == [("C-H", 4), ("C:C", 0)]


def test_categories_by_hand() -> None:
    found = compared([methane()], [methane(), benzene()])
    # H and C: 4/5 and 1/5 against 10/17 and 7/17
    assert found["elements"].distance == pytest.approx(4 / 5 - 10 / 17)
    histogram = found["elements"].types[0].histogram
    assert histogram is not None
    assert histogram.labels == ("H", "C")
    np.testing.assert_allclose(histogram.samples, [0.8, 0.2])
    np.testing.assert_allclose(histogram.reference, [10 / 17, 7 / 17])
    assert found["sizes"].distance == pytest.approx(3.5)
    assert found["ring_counts"].distance == pytest.approx(0.5)


def test_histograms_are_densities() -> None:
    generator = np.random.default_rng(0)
    ours, theirs = ([methane(length) for length in generator.normal(1.09, 0.01, size=200)] for _ in range(2))
    histogram = compared(ours, theirs)["bond_lengths"].types[0].histogram
    assert histogram is not None
    for side in (histogram.samples, histogram.reference):
        assert np.sum(np.array(side) * np.diff(histogram.edges)) == pytest.approx(1.0, abs=0.01)


def test_floor_is_that_of_two_parts_of_the_reference() -> None:
    reference = [methane(1.08)] * 10 + [methane(1.10)] * 10
    found = compared([methane()] * 50, reference, seed=3)["bond_lengths"]
    part = np.zeros(20, dtype=bool)
    part[np.random.default_rng(3).permutation(20)[:10]] = True
    expected = abs(part[:10].sum() - (~part)[:10].sum()) / 10 * 0.02
    assert found.floor == pytest.approx(expected)
    assert compared([methane()], [methane()])["bond_lengths"].floor is None


def test_molecules_without_a_structure_count_for_sizes_only() -> None:
    found = compared([radical()], [methane(), radical()])
    assert found["bond_lengths"].distance is None
    assert found["bond_lengths"].types[0].num_samples == 0
    assert found["sizes"].distance == pytest.approx(0.5)
    assert found["ring_counts"].distance is None
