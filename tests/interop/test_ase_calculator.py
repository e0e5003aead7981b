"""Forces against finite differences, symmetries and conservation, and controls that wrong forces fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from geograph.algebra.euclid import random_orthogonal
from geograph.errors import ConfigError, DataError
from geograph.interop.ase_calculator import GeographCalculator, nve_drift
from geograph.kernels import backends
from geograph.tasks import Task, build_task
from geograph.training.checkpoint import save_checkpoint

STATISTICS: dict[str, Any] = {
    "target_mean": [7.0, -1.0],
    "target_std": [1.0, 60.0],
    "target_names": ["gap", "energy"],
    "target_units": ["ev", "ev"],
    "composition": {
        "atomic_numbers": [1, 6, 8],
        "coefficients": [[0.0, 0.0, 0.0], [-13.5, -1036.25, -2043.75]],
        "intercept": [0.0, 0.5],
    },
}
RADIUS = {"edges": "radius", "radius_angstrom": 2.5}


def energy_task(statistics: dict[str, Any] | None = None, **params: Any) -> Task:
    torch.manual_seed(5)
    settings = {"inputs": "molecule", "num_outputs": 2, "num_hidden": 8, "num_layers": 2, "num_rbf": 6}
    task = build_task(
        "regression",
        model="egnn",
        model_params={**settings, "elements": [1, 6, 8], **params},
        statistics=statistics or STATISTICS,
    )
    # Larger weights than at the start of a training, for forces of some eV per angstrom.
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.mul_(1.5)
    return task


def methanol(**options: Any) -> Atoms:
    atoms = molecule("CH3OH")
    atoms.rattle(0.05, seed=3)
    atoms.calc = GeographCalculator(energy_task(), **options)
    return atoms


def numerical_forces(atoms: Atoms, step: float = 1e-3) -> np.ndarray:
    """Central differences of fourth order, of the energy without the part that has no force."""
    forces = np.zeros((len(atoms), 3))
    for index in np.ndindex(forces.shape):
        energies = {}
        for shift in (-2, -1, 1, 2):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions[index] += shift * step
            energies[shift] = moved.get_potential_energy()
        rise = 8 * (energies[1] - energies[-1]) - (energies[2] - energies[-2])
        forces[index] = -rise / (12 * step)
    return forces


@pytest.mark.parametrize("graph", [None, RADIUS, {"edges": "knn", "k": 3}], ids=["complete", "radius", "knn"])
@pytest.mark.parametrize("moves", [False, True], ids=["fixed", "moving"])
def test_forces_are_the_gradient(graph: dict[str, Any] | None, moves: bool) -> None:
    atoms = methanol(graph=graph)
    atoms.calc = GeographCalculator(energy_task(update_coordinates=moves), graph=graph)
    forces = atoms.get_forces()
    scale = np.abs(forces).max()
    assert scale > 0.1
    np.testing.assert_allclose(forces, numerical_forces(atoms), rtol=0, atol=1e-6 * scale)


def test_energy_is_the_prediction_with_its_baseline(tmp_path: Path) -> None:
    from geograph.training.serving import predictor

    pandas = pytest.importorskip("pandas")
    atoms, task = methanol(), energy_task()
    path = save_checkpoint(tmp_path / "energy.pt", task)
    frame = pandas.DataFrame({"z": [atoms.numbers.tolist()], "pos": [atoms.positions.tolist()]})
    expected = predictor(task.eval()).predict(frame)["energy_ev"][0]
    atoms.calc = GeographCalculator(path, dtype="float32")
    assert atoms.get_potential_energy() == pytest.approx(expected, rel=1e-7)
    assert abs(expected) > 3000
    assert next(task.parameters()).dtype == torch.float32
    without = {name: value for name, value in STATISTICS.items() if name != "composition"}
    other = atoms.copy()
    other.calc = GeographCalculator(energy_task(without))
    bare, full = other.get_forces(), methanol().get_forces()
    np.testing.assert_allclose(bare, full, rtol=0, atol=1e-12 * np.abs(full).max())
    baseline = -1036.25 - 2043.75 - 4 * 13.5 + 0.5
    assert methanol().get_potential_energy() - other.get_potential_energy() == pytest.approx(baseline)


def test_forces_turn_with_the_molecule_and_balance() -> None:
    atoms = methanol()
    forces, energy = atoms.get_forces(), atoms.get_potential_energy()
    scale = np.abs(forces).max()
    rotation = random_orthogonal(torch.Generator().manual_seed(1), 3, torch.float64, proper=False).numpy()
    moved = Atoms(atoms.numbers, atoms.positions @ rotation.T + [5.0, -3.0, 1.0], calculator=atoms.calc)
    assert moved.get_potential_energy() == pytest.approx(energy, rel=1e-13)
    np.testing.assert_allclose(moved.get_forces(), forces @ rotation.T, rtol=0, atol=1e-10 * scale)
    assert np.abs(forces - forces @ rotation.T).max() > 0.1 * scale
    order = np.random.default_rng(0).permutation(len(atoms))
    shuffled = Atoms(atoms.numbers[order], atoms.positions[order], calculator=atoms.calc)
    np.testing.assert_allclose(shuffled.get_forces(), forces[order], rtol=0, atol=1e-10 * scale)
    torque = np.cross(atoms.positions - atoms.get_center_of_mass(), forces)
    assert np.abs(forces.sum(axis=0)).max() < 1e-12 * scale * len(atoms)
    assert np.abs(torque.sum(axis=0)).max() < 1e-11 * scale * len(atoms)
    assert np.abs(torque).max() > 0.01 * scale


@pytest.mark.parametrize("name", [status.name for status in backends() if status.is_available])
def test_every_backend_gives_the_same_forces(name: str) -> None:
    expected, found = methanol(backend="reference").get_forces(), methanol(backend=name).get_forces()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


class Bent(GeographCalculator):
    """Wrong forces: two per cent too large, so that they are the gradient of another energy."""

    def calculate(self, *arguments: Any, **options: Any) -> None:
        super().calculate(*arguments, **options)
        self.results["forces"] = 1.02 * self.results["forces"]


def conserves_energy(atoms: Atoms) -> bool:
    """Whether the drift is small beside what is exchanged, and falls with the square of the time step."""
    coarse, fine = (
        nve_drift(atoms, num_steps=num, timestep_fs=step, temperature_k=600)
        for num, step in ((50, 0.4), (100, 0.2))
    )
    assert fine.duration_ps == pytest.approx(0.02)
    falls = 3.0 < coarse.max_ev_per_atom / fine.max_ev_per_atom < 5.0
    return falls and fine.max_ev_per_atom < 1e-2 * fine.exchange_ev_per_atom


def test_dynamics_conserve_energy_and_wrong_forces_do_not() -> None:
    atoms = methanol()
    positions = atoms.positions.copy()
    drift = nve_drift(atoms, num_steps=20, timestep_fs=0.2, temperature_k=600)
    assert abs(drift.slope_ev_per_atom_ps) * drift.duration_ps < 2 * drift.max_ev_per_atom
    assert conserves_energy(atoms)
    np.testing.assert_array_equal(atoms.positions, positions)
    atoms.calc = Bent(energy_task())
    assert not conserves_energy(atoms)


def test_complete_graphs_are_smooth_and_others_jump(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "radius.pt", energy_task(), data={"graph": RADIUS})
    complete, cut = GeographCalculator(path, graph={"edges": "complete"}), GeographCalculator(path)
    assert (complete.is_smooth, cut.is_smooth) == (True, False)

    def jump(calculator: GeographCalculator) -> float:
        near, far = (
            Atoms("OH", [[0, 0, 0], [0, 0, distance]], calculator=calculator).get_potential_energy()
            for distance in (2.5 - 1e-9, 2.5 + 1e-9)
        )
        return abs(near - far)

    assert jump(complete) < 1e-6
    assert jump(cut) > 1e-3


def test_a_single_atom_has_no_force() -> None:
    atom = Atoms("O", calculator=GeographCalculator(energy_task()))
    np.testing.assert_array_equal(atom.get_forces(), np.zeros((1, 3)))
    assert atom.get_potential_energy() < -2000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pbc": [True, False, False]},
            r"periodic cells are not supported yet, got pbc=\[True, False, False\]",
        ),
        ({"symbols": "OS"}, "atom 1 is S, but the model knows the atomic numbers 1, 6, 8 only; use a model"),
        ({"symbols": "", "positions": []}, "there are no atoms; give at least one"),
        ({"positions": [[0, 0, 0], [0, 0, np.nan]]}, "the predicted energy or a force is not finite"),
    ],
)
def test_atoms_that_the_model_cannot_take(change: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"symbols": "OH", "positions": [[0, 0, 0], [0, 0, 1.0]], **change}
    atoms = Atoms(**settings, calculator=GeographCalculator(energy_task()))
    with pytest.raises(DataError, match=message):
        atoms.get_forces()


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="`target` must be one of gap_ev, energy_ev, got 'energy'"):
        GeographCalculator(energy_task(), "energy")
    dipole = {**STATISTICS, "target_units": ["debye", "ev"]}
    with pytest.raises(ConfigError, match="`target` must be an energy in ev or mev, got 'gap_debye'"):
        GeographCalculator(energy_task(dipole), "gap_debye")
    with pytest.raises(ConfigError, match="`dtype` must be float32 or float64, got 'half'"):
        GeographCalculator(energy_task(), dtype="half")
    jets = build_task("classification", model="lorentznet", model_params={})
    with pytest.raises(ConfigError, match="must predict properties of molecules, got a classification task"):
        GeographCalculator(jets)
    with pytest.raises(ConfigError, match="`atoms` must have a calculator, got none"):
        nve_drift(Atoms("H"))
    with pytest.raises(ConfigError, match="`num_steps` must be at least 2, `timestep_fs` positive"):
        nve_drift(methanol(), num_steps=1)
