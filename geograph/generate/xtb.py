"""GFN2-xTB single points and geometry optimisation by tblite, in angstrom and eV.

GFN2-xTB: Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652 (2019). tblite (LGPL-3.0) is an
optional package and is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cho_factor, cho_solve

from geograph.errors import GeographError, MissingExtraError
from geograph.units import BOHR_ANGSTROM, DIPOLE_AU_DEBYE, HARTREE_EV

EnergyAndGradient = Callable[[np.ndarray], tuple[float, np.ndarray]]

#: Model Hessian: spring constants k0 exp(-(d / r_ij)^2 / w) between all pairs of atoms, where r_ij is the sum
#: of covalent radii, and a floor that keeps translations, rotations and soft torsions finite.
#: Constants found by trial on molecules of up to nine heavy atoms: they change the speed, not the result.
_SPRING_EV_PER_A2 = 200.0
_SPRING_WIDTH = 0.75
_FLOOR_EV_PER_A2 = 4.0
_MAX_DISPLACEMENT_A = 0.25


class OptimisationError(GeographError, RuntimeError):
    """A geometry or its electronic structure did not converge."""


@dataclass(frozen=True)
class RelaxedGeometry:
    """A stationary point and its labels.

    Attributes
    ----------
    pos
        Positions in angstrom.
    energy_ev, homo_ev, lumo_ev, gap_ev
        Total energy and frontier orbital energies.
    dipole_debye
        Magnitude of the dipole moment.
    num_steps
        Energy evaluations used.
    """

    pos: Float[np.ndarray, "n 3"]
    energy_ev: float
    homo_ev: float
    lumo_ev: float
    gap_ev: float
    dipole_debye: float
    num_steps: int

    def labels(self) -> dict[str, float]:
        """Return the labels by name."""
        names = ("energy_ev", "homo_ev", "lumo_ev", "gap_ev", "dipole_debye")
        return {name: getattr(self, name) for name in names}


class Gfn2:
    """GFN2-xTB of one molecule; the last wave function starts the next self-consistency cycle.

    Parameters
    ----------
    z
        Atomic numbers.
    pos
        Positions in angstrom.

    Raises
    ------
    MissingExtraError
        If tblite is not installed.
    """

    def __init__(self, z: Int[np.ndarray, " n"], pos: Float[np.ndarray, "n 3"]) -> None:
        try:
            from tblite.interface import Calculator
        except ImportError as error:
            raise MissingExtraError("GFN2-xTB", "tblite", extra="generate") from error
        self._calculator = Calculator("GFN2-xTB", z, pos / BOHR_ANGSTROM)
        self._calculator.set("verbosity", 0)
        self._result: Any = None

    def __call__(self, pos: Float[np.ndarray, "n 3"]) -> tuple[float, Float[np.ndarray, "n 3"]]:
        """Energy in eV and its gradient in eV/angstrom.

        Raises
        ------
        OptimisationError
            If the self-consistency cycle does not converge.
        """
        from tblite.exceptions import TBLiteRuntimeError

        try:
            self._calculator.update(pos / BOHR_ANGSTROM)
            self._result = self._calculator.singlepoint(self._result)
        except TBLiteRuntimeError as error:
            raise OptimisationError(f"the self-consistency cycle failed: {error}") from error
        gradient = self._result.get("gradient") * (HARTREE_EV / BOHR_ANGSTROM)
        return float(self._result.get("energy")) * HARTREE_EV, gradient

    def frontier_ev(self) -> tuple[float, float]:
        """Energies of the highest occupied and the lowest unoccupied orbital at the last geometry."""
        energies = self._result.get("orbital-energies") * HARTREE_EV
        occupied = self._result.get("orbital-occupations") > 1.0
        # No unoccupied valence orbital in a minimal basis: none in the molecules that this package makes.
        return float(energies[occupied].max()), float(energies[~occupied].min())

    def dipole_debye(self) -> float:
        """Magnitude of the dipole moment at the last geometry."""
        return float(np.linalg.norm(self._result.get("dipole"))) * DIPOLE_AU_DEBYE


def model_hessian(
    pos: Float[np.ndarray, "n 3"], radii: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n3 n3"]:
    """Positive definite guess of the Hessian: springs between all pairs that fall off with their distance.

    Equivariant under rotations, invariant under translations; unit eV/angstrom^2.

    Parameters
    ----------
    pos
        Positions in angstrom.
    radii
        Covalent radii in angstrom.

    References
    ----------
    The idea: Lindh et al., Chem. Phys. Lett. 241, 423 (1995);
    Packwood et al., J. Chem. Phys. 144, 164109 (2016).
    """
    count = len(pos)
    difference = pos[:, None] - pos[None]
    distance = np.linalg.norm(difference, axis=-1) + np.eye(count)
    unit = difference / distance[..., None]
    ratio = distance / (radii[:, None] + radii[None])
    stiffness = _SPRING_EV_PER_A2 * np.exp(-(ratio**2) / _SPRING_WIDTH)
    np.fill_diagonal(stiffness, 0.0)
    blocks = stiffness[..., None, None] * unit[..., :, None] * unit[..., None, :]
    hessian = -blocks
    hessian[np.arange(count), np.arange(count)] = blocks.sum(axis=1)
    return hessian.transpose(0, 2, 1, 3).reshape(3 * count, 3 * count) + _FLOOR_EV_PER_A2 * np.eye(3 * count)


def minimise(
    function: EnergyAndGradient,
    pos: Float[np.ndarray, "n 3"],
    hessian: Float[np.ndarray, "n3 n3"],
    *,
    fmax_ev_per_angstrom: float,
    max_steps: int,
) -> tuple[Float[np.ndarray, "n 3"], float, int]:
    """Minimise an energy by L-BFGS with `hessian` as the initial metric.

    A step that raises the energy is taken back and halved, and the history is forgotten.

    Parameters
    ----------
    function
        Energy in eV and gradient in eV/angstrom of positions.
    pos
        Starting positions in angstrom.
    hessian
        Positive definite guess of the Hessian in eV/angstrom^2.
    fmax_ev_per_angstrom
        Stop when no atom feels a larger force.
    max_steps
        Largest number of energy evaluations.

    Returns
    -------
    Positions, energy and the number of evaluations; the last evaluation was at these positions.

    Raises
    ------
    OptimisationError
        If the forces are still too large after `max_steps` evaluations.

    References
    ----------
    Nocedal and Wright, Numerical Optimization (2006), Algorithm 7.4.
    """
    factor = cho_factor(hessian)
    energy, gradient = function(pos)
    history: list[tuple[np.ndarray, np.ndarray]] = []
    largest = _MAX_DISPLACEMENT_A
    for evaluations in range(1, max_steps + 1):
        force = float(np.linalg.norm(gradient, axis=1).max())
        if force <= fmax_ev_per_angstrom:
            return pos, energy, evaluations
        step = -_metric_times(gradient.ravel(), history, factor).reshape(pos.shape)
        length = float(np.linalg.norm(step, axis=1).max())
        step *= min(1.0, largest / length)
        new_energy, new_gradient = function(pos + step)
        if new_energy > energy + 1e-3:
            history, largest = [], 0.5 * min(largest, length)
            continue
        change = (new_gradient - gradient).ravel()
        if float(change @ step.ravel()) > 0:
            history = [*history[-19:], (step.ravel(), change)]
        largest = min(_MAX_DISPLACEMENT_A, 1.5 * largest)
        pos, energy, gradient = pos + step, new_energy, new_gradient
    raise OptimisationError(
        f"forces of {force:.3g} eV/angstrom are left after {max_steps} evaluations,"
        f" above {fmax_ev_per_angstrom:g}"
    )


def _metric_times(
    vector: np.ndarray, history: list[tuple[np.ndarray, np.ndarray]], factor: tuple[np.ndarray, bool]
) -> np.ndarray:
    """Product of the inverse L-BFGS Hessian and a vector: the two-loop recursion."""
    vector = vector.copy()
    weights = []
    for step, change in reversed(history):
        weights.append(float(step @ vector) / float(step @ change))
        vector -= weights[-1] * change
    vector = cho_solve(factor, vector)
    for (step, change), weight in zip(history, reversed(weights), strict=True):
        vector += step * (weight - float(change @ vector) / float(step @ change))
    return vector


def relax(
    z: Int[np.ndarray, " n"],
    pos: Float[np.ndarray, "n 3"],
    *,
    fmax_ev_per_angstrom: float = 0.05,
    max_steps: int = 200,
) -> RelaxedGeometry:
    """Relax a neutral closed-shell molecule with GFN2-xTB.

    Parameters
    ----------
    z
        Atomic numbers.
    pos
        Starting positions in angstrom.
    fmax_ev_per_angstrom
        Largest force left on an atom.
    max_steps
        Largest number of energy evaluations.

    Raises
    ------
    OptimisationError
        If the electronic structure or the geometry does not converge.
    MissingExtraError
        If tblite is not installed.
    """
    from ase.data import covalent_radii

    gfn2 = Gfn2(z, pos)
    hessian = model_hessian(pos, covalent_radii[z])
    pos, energy, steps = minimise(
        gfn2, pos, hessian, fmax_ev_per_angstrom=fmax_ev_per_angstrom, max_steps=max_steps
    )
    homo, lumo = gfn2.frontier_ev()
    return RelaxedGeometry(pos, energy, homo, lumo, lumo - homo, gfn2.dipole_debye(), steps)
