"""Strain: superposition in closed form; relaxations whose outcome is known."""

from __future__ import annotations

import numpy as np
import pytest

from geograph.errors import MissingExtraError
from geograph.interop.strain import Strain, require_tblite, strain, strain_chunk, summarise, superposed_rmsd
from geograph.records import Molecule


def rotation(generator: np.random.Generator) -> np.ndarray:
    matrix, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def test_rmsd_ignores_the_pose_but_not_the_mirror() -> None:
    generator = np.random.default_rng(0)
    pos = generator.normal(size=(7, 3))
    moved = pos @ rotation(generator).T + generator.normal(size=3)
    assert superposed_rmsd(pos, moved) == pytest.approx(0.0, abs=1e-7)
    assert superposed_rmsd(pos, pos * [1, 1, -1]) > 0.1


def test_rmsd_in_closed_form() -> None:
    """A pair of atoms that is longer by d: each end is off by d / 2. And symmetric."""
    short, long = np.array([[0.0, 0, 0], [1.0, 0, 0]]), np.array([[0.0, 5, 0], [0.0, 5, 1.5]])
    assert superposed_rmsd(short, long) == pytest.approx(0.25)
    generator = np.random.default_rng(1)
    one, two = generator.normal(size=(2, 6, 3))
    assert superposed_rmsd(one, two) == pytest.approx(superposed_rmsd(two, one), rel=1e-12)
    assert superposed_rmsd(one[:1], two[:1]) == 0.0


def test_rmsd_is_the_best_of_all_rotations() -> None:
    generator = np.random.default_rng(2)
    one, two = generator.normal(size=(2, 5, 3))
    best = superposed_rmsd(one, two)
    a, b = one - one.mean(0), two - two.mean(0)
    tried = [np.sqrt(((a @ rotation(generator).T - b) ** 2).sum() / 5) for _ in range(2000)]
    assert best <= min(tried)
    assert min(tried) < best + 0.3


def test_summary_counts_failures() -> None:
    molecules = [Molecule(z=np.array([2]), pos=np.zeros((1, 3)), id=name) for name in "abc"]
    outcomes = [Strain(1.0, 0.1, ""), Strain(None, None, "no way"), Strain(3.0, 0.2, "")]
    pytest.importorskip("tblite", reason="tblite is not installed")
    found = summarise(molecules, outcomes, num_resamples=100, seed=5)
    assert (found.num_asked, found.num_converged, found.failures) == (3, 2, (("b", "no way"),))
    assert (found.mean_kcal_per_mol, found.median_kcal_per_mol) == (2.0, 2.0)
    assert found.mean_rmsd_angstrom == pytest.approx(0.15)
    assert found.intervals["mean_kcal_per_mol"] == (1.0, 3.0)
    nothing = summarise(molecules[:1], outcomes[1:2], num_resamples=100, seed=5)
    assert (nothing.mean_kcal_per_mol, nothing.median_rmsd_angstrom, nothing.intervals) == (None, None, {})


def test_stretched_molecules_fall_back() -> None:
    pytest.importorskip("tblite", reason="tblite is not installed")
    z, pos = np.array([8, 1, 1]), np.array([[0.0, 0, 0.118], [0, 0.755, -0.471], [0, -0.755, -0.471]])
    near, far = strain_chunk(np.tile(z, 2), np.concatenate([pos, 1.1 * pos]), np.array([0, 3, 6]))
    assert near.kcal_per_mol is not None
    assert far.kcal_per_mol is not None
    assert 0 <= near.kcal_per_mol < 0.5 < far.kcal_per_mol < 20
    assert far.rmsd_angstrom == 0.0  # one heavy atom
    carbons = strain(np.array([6, 8]), np.array([[0.0, 0, 0], [0, 0, 1.2]]))
    assert carbons.rmsd_angstrom == pytest.approx((1.2 - 1.13) / 2, abs=0.01)


@pytest.mark.parametrize(
    ("z", "pos", "reason"),
    [
        ([6, 1, 1, 1], np.eye(4, 3), "an odd number of electrons"),
        ([6, 6], np.array([[0, 0, 0], [0, 0, 0.1]]), "two atoms are closer than 0.3 angstrom"),
        ([94, 94], np.array([[0, 0, 0], [0, 0, 3.0]]), "No support for elements"),
    ],
)
def test_failures_are_outcomes(z: list[int], pos: np.ndarray, reason: str) -> None:
    pytest.importorskip("tblite", reason="tblite is not installed")
    found = strain(np.array(z), pos.astype(float))
    assert (found.kcal_per_mol, found.rmsd_angstrom) == (None, None)
    assert found.reason.startswith(reason)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geograph.interop.strain.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"needs the package `tblite`.*geograph\[generate\]"):
        require_tblite()
