from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from geograph.errors import MissingExtraError
from geograph.generate.xtb import Gfn2, OptimisationError, minimise, model_hessian, relax

WATER_Z = np.array([8, 1, 1])
WATER = np.array([[0.0, 0.0, 0.1], [0.0, 0.8, -0.5], [0.0, -0.8, -0.5]])


def anharmonic(pos):
    """Energy sum of (x^2 - 1)^2 and cross terms; minima at |x| = 1, not quadratic."""
    x = pos.ravel()
    return float(((x**2 - 1) ** 2).sum()), (4 * x * (x**2 - 1)).reshape(pos.shape)


def test_minimise_finds_the_minimum_of_a_quadratic_in_one_step_with_its_own_hessian():
    matrix = np.diag([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])

    def energy(pos):
        return float(0.5 * pos.ravel() @ matrix @ pos.ravel()), (matrix @ pos.ravel()).reshape(2, 3)

    pos, value, steps = minimise(
        energy, np.full((2, 3), 0.1), matrix, fmax_ev_per_angstrom=1e-10, max_steps=10
    )
    np.testing.assert_allclose(pos, 0, atol=1e-15)
    assert value == pytest.approx(0, abs=1e-30)
    assert steps == 2


def test_minimise_converges_from_a_poor_hessian_and_says_where_it_stopped():
    start = np.array([[1.8, -1.6, 0.5], [2.0, 1.1, -0.9]])
    pos, value, steps = minimise(anharmonic, start, np.eye(6), fmax_ev_per_angstrom=1e-8, max_steps=100)
    np.testing.assert_allclose(np.abs(pos), 1, atol=1e-8)
    assert value == pytest.approx(0, abs=1e-15)
    assert steps < 40


def test_minimise_that_does_not_converge_raises():
    with pytest.raises(
        OptimisationError, match=r"forces of .* eV/angstrom are left after 3 evaluations, above 1e-08"
    ):
        minimise(anharmonic, np.full((2, 3), 3.0), np.eye(6), fmax_ev_per_angstrom=1e-8, max_steps=3)


def test_model_hessian_is_positive_definite_and_turns_with_the_molecule():
    radii = np.array([0.66, 0.31, 0.31])
    hessian = model_hessian(WATER, radii)
    assert np.linalg.eigvalsh(hessian).min() > 0
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)
    turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.0]).as_matrix()
    big = np.kron(np.eye(3), turn)
    np.testing.assert_allclose(model_hessian(WATER @ turn.T + 1.0, radii), big @ hessian @ big.T, atol=1e-9)
    # Negative control: without the turn of the blocks it is another matrix.
    assert np.abs(model_hessian(WATER @ turn.T, radii) - hessian).max() > 1.0


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tblite.interface", None)
    with pytest.raises(MissingExtraError, match=r"GFN2-xTB needs the package `tblite`.*geograph\[generate\]"):
        Gfn2(WATER_Z, WATER)


def test_gradient_is_the_derivative_of_the_energy():
    pytest.importorskip("tblite", reason="tblite is not installed")
    gfn2 = Gfn2(WATER_Z, WATER)
    _, gradient = gfn2(WATER)
    step = 1e-3
    for atom, axis in ((0, 2), (1, 1)):
        moved = np.zeros((3, 3))
        moved[atom, axis] = step
        slope = (gfn2(WATER + moved)[0] - gfn2(WATER - moved)[0]) / (2 * step)
        # Central differences: error of third order in the step, and the self-consistency threshold 1e-6 Eh.
        assert slope == pytest.approx(gradient[atom, axis], abs=2e-2)


def test_water_has_the_known_gfn2_values():
    pytest.importorskip("tblite", reason="tblite is not installed")
    relaxed = relax(WATER_Z, WATER, fmax_ev_per_angstrom=1e-3)
    bonds = np.linalg.norm(relaxed.pos[1:] - relaxed.pos[0], axis=1)
    # xtb 6.x and tblite, GFN2-xTB: E = -5.0705 Eh, r(OH) = 0.959 angstrom, dipole 2.2 to 2.3 D.
    assert relaxed.energy_ev == pytest.approx(-5.0705 * 27.211386, abs=0.01)
    np.testing.assert_allclose(bonds, 0.959, atol=0.003)
    assert relaxed.dipole_debye == pytest.approx(2.25, abs=0.1)
    assert relaxed.gap_ev == pytest.approx(relaxed.lumo_ev - relaxed.homo_ev)
    assert set(relaxed.labels()) == {"energy_ev", "homo_ev", "lumo_ev", "gap_ev", "dipole_debye"}
