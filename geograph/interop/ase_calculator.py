"""ASE calculator: energy and forces of a trained property model, for relaxation and molecular dynamics.

from ase.build import molecule
from ase.optimize import BFGS
from geograph.interop.ase_calculator import GeographCalculator

atoms = molecule("CH3OH")
atoms.calc = GeographCalculator("models/molecules-egnn.pt")
BFGS(atoms).run(fmax=0.05)
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from torch import Tensor
from torch_geometric.data import Data

from geograph.errors import ConfigError, DataError
from geograph.featurize.edges import complete_edges, edge_ptr, edges_by_rule
from geograph.kernels import use_backend
from geograph.tasks import Task
from geograph.training.checkpoint import load_checkpoint
from geograph.training.serving import MOLECULE, node_fields

#: Unit of an energy, as the name of a target has it -> in eV.
_ENERGY_UNITS = {"ev": 1.0, "mev": 1e-3}
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


class GeographCalculator(Calculator):
    """Energy [eV] and forces [eV/angstrom] of molecules from a checkpoint.

    The forces are minus the gradient of the predicted energy with respect to the positions, by automatic
    differentiation through every distance, with whatever kernel backend runs the model: they are conservative
    and covariant under rotations, and net force and torque vanish. The composition baseline is part of the
    energy and has no force.

    Parameters
    ----------
    model
        Checkpoint of a property model of molecules, or its task.
    target
        Name of the energy among its targets, with its unit.
    graph
        Rule for edges: `edges` ("complete", "radius" or "knn") with `radius_angstrom` or `k`; None takes what
        the checkpoint says about its data, and complete graphs where it says nothing.
    dtype
        "float64" or "float32": in which the model runs, whatever it was trained in.
    device
        Where it runs.
    backend
        Kernel backend by name; None leaves the choice as it is elsewhere.
    **options
        Of `ase.calculators.calculator.Calculator`.

    Raises
    ------
    ConfigError
        If the model does not predict properties of molecules, or `target` is no energy among them.

    Notes
    -----
    With complete graphs the energy is smooth: the networks are smooth functions of squared distances, and
    radial functions reach zero at their cutoff with zero slope. With edges within a radius, or to nearest
    neighbours, the published networks have no envelope on their messages: the energy jumps where an edge
    comes or goes, and no forces can account for that. `is_smooth` tells which it is.
    """

    implemented_properties: list[str] = ["energy", "free_energy", "forces"]

    def __init__(
        self,
        model: str | Path | Task,
        target: str = "energy_ev",
        *,
        graph: Mapping[str, Any] | None = None,
        dtype: str = "float64",
        device: str = "cpu",
        backend: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if dtype not in _DTYPES:
            raise ConfigError(f"`dtype` must be float32 or float64, got {dtype!r}.")
        if isinstance(model, str | Path):
            loaded = load_checkpoint(model)
            model, graph = loaded.task, loaded.data.get("graph") if graph is None else graph
        self._dtype, self._backend = _DTYPES[dtype], backend
        self._column, self._unit = _energy_column(model, target)
        self._graph: dict[str, Any] = {"edges": "complete", **(graph or {})}
        self._elements = _elements(model)
        # A copy: the caller's task keeps its dtype, device and gradients.
        self._task: Any = copy.deepcopy(model).to(device=device, dtype=self._dtype).eval()
        self._task.requires_grad_(False)

    @property
    def is_smooth(self) -> bool:
        """Whether the energy is a smooth function of the positions."""
        return bool(self._graph["edges"] == "complete")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute energy and forces; ASE calls this.

        Raises
        ------
        DataError
            If the atoms are periodic, none, of an element that the model was not trained on, or give an
            energy or force that is not finite.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        self._check(self.atoms)
        batch = self._batch(self.atoms)
        pos = batch.pos.requires_grad_(True)
        with torch.enable_grad(), use_backend(self._backend or "auto"):
            energy = self._task.predict(batch)[0, self._column] * self._unit
            gradient: Tensor = torch.autograd.grad(energy, pos, allow_unused=True, materialize_grads=True)[0]
        value, forces = float(energy.detach()), -gradient.double().cpu().numpy()
        if not (np.isfinite(value) and np.isfinite(forces).all()):
            raise DataError(
                f"the predicted energy or a force is not finite (energy {value} eV)",
                remedy="check the positions: they may be far from those that the model was trained on",
            )
        self.results = {"energy": value, "free_energy": value, "forces": forces}

    def _check(self, atoms: Atoms) -> None:
        if len(atoms) == 0:
            raise DataError("there are no atoms", remedy="give at least one")
        if atoms.pbc.any():
            raise DataError(
                f"periodic cells are not supported yet, got pbc={atoms.pbc.tolist()}",
                remedy="set `atoms.pbc = False` for a molecule in a box",
            )
        if self._elements is None:
            return
        unknown = [index for index, z in enumerate(atoms.numbers) if int(z) not in self._elements]
        if unknown:
            known = ", ".join(map(str, sorted(self._elements)))
            raise DataError(
                f"atom {unknown[0]} is {atoms.symbols[unknown[0]]}, but the model knows the atomic numbers "
                f"{known} only",
                remedy="use a model that was trained on this element",
            )

    def _batch(self, atoms: Atoms) -> Data:
        """Graph of the atoms by the contract of batches, with one graph."""
        count, rule = len(atoms), self._graph["edges"]
        radius, k = self._graph.get("radius_angstrom"), self._graph.get("k")
        edges = edges_by_rule(np.asarray(atoms.positions, dtype=np.float64), rule, radius=radius, k=k)
        edge_index = complete_edges(count) if edges is None else edges
        arrays = {
            "z": np.asarray(atoms.numbers, dtype=np.int64),
            "edge_index": edge_index,
            "edge_ptr": edge_ptr(edge_index, count),
            "ptr": np.array([0, count]),
            "batch": np.zeros(count, dtype=np.int64),
            "record_index": np.zeros(1, dtype=np.int64),
        }
        device = self._task.device
        batch = Data(**{name: torch.from_numpy(array).to(device) for name, array in arrays.items()})
        batch.pos = torch.tensor(atoms.positions, dtype=self._dtype, device=device)
        batch.num_graphs, batch.num_nodes = 1, count
        return batch


def _energy_column(task: Any, target: str) -> tuple[int, float]:
    """Column of an energy among the targets, and its unit in eV."""
    if task.kind != "regression" or node_fields(task) != MOLECULE:
        raise ConfigError(
            f"`model` must predict properties of molecules, got a {task.kind} task with the model "
            f"{task.settings['model']}."
        )
    if target not in task.suffixes:
        raise ConfigError(f"`target` must be one of {', '.join(task.suffixes)}, got {target!r}.")
    column = task.suffixes.index(target)
    unit = target.rsplit("_", 1)[-1]
    if unit not in _ENERGY_UNITS:
        raise ConfigError(f"`target` must be an energy in {' or '.join(_ENERGY_UNITS)}, got {target!r}.")
    return column, _ENERGY_UNITS[unit]


def _elements(task: Any) -> set[int] | None:
    """Atomic numbers that the model and its baseline know; None where nothing limits them."""
    limits = [
        task.settings["model_params"].get("elements"),
        (task.statistics.get("composition") or {}).get("atomic_numbers"),
    ]
    sets = [set(map(int, numbers)) for numbers in limits if numbers is not None]
    return set.intersection(*sets) if sets else None


@dataclass(frozen=True)
class EnergyDrift:
    """How well a trajectory at constant energy keeps its energy.

    Attributes
    ----------
    max_ev_per_atom
        Largest distance of the total energy from its first value.
    slope_ev_per_atom_ps
        Slope of a straight line through the total energy.
    exchange_ev_per_atom
        Standard deviation of the kinetic energy: what potential and kinetic energy exchanged, and so what the
        other two numbers are to be compared with.
    duration_ps
        Length of the trajectory.
    """

    max_ev_per_atom: float
    slope_ev_per_atom_ps: float
    exchange_ev_per_atom: float
    duration_ps: float


def nve_drift(
    atoms: Atoms,
    *,
    num_steps: int = 1000,
    timestep_fs: float | int = 0.5,
    temperature_k: float | int = 300.0,
    seed: int = 0,
) -> EnergyDrift:
    """Run velocity-Verlet dynamics at constant energy and measure how far the total energy moves.

    For forces that are the gradient of a smooth energy the largest distance is bounded and falls with the
    square of the time step; for others it does not.

    Parameters
    ----------
    atoms
        With a calculator; positions and momenta stay as they are.
    num_steps
        Steps of the integrator.
    timestep_fs
        Length of a step in femtoseconds.
    temperature_k
        Of the initial velocities; the molecule as a whole neither moves nor turns.
    seed
        Of the initial velocities.

    Raises
    ------
    ConfigError
        If a parameter is out of range or the atoms have no calculator.
    """
    if num_steps < 2 or timestep_fs <= 0 or temperature_k < 0:
        raise ConfigError(
            "`num_steps` must be at least 2, `timestep_fs` positive and `temperature_k` not negative, got "
            f"{num_steps}, {timestep_fs} and {temperature_k}."
        )
    if atoms.calc is None:
        raise ConfigError("`atoms` must have a calculator, got none; set `atoms.calc`.")
    moving = atoms.copy()
    moving.calc = atoms.calc
    thermalize_momenta(moving, float(temperature_k), rng=np.random.default_rng(seed))
    Stationary(moving)
    ZeroRotation(moving)
    total, kinetic = [], []

    def record() -> None:
        total.append(moving.get_total_energy() / len(moving))
        kinetic.append(moving.get_kinetic_energy() / len(moving))

    dynamics = VelocityVerlet(moving, timestep=timestep_fs * units.fs)
    dynamics.attach(record, interval=1)
    dynamics.run(num_steps)
    time = np.arange(len(total)) * timestep_fs * 1e-3
    energy = np.array(total) - total[0]
    return EnergyDrift(
        max_ev_per_atom=float(np.abs(energy).max()),
        slope_ev_per_atom_ps=float(np.polyfit(time, energy, 1)[0]),
        exchange_ev_per_atom=float(np.std(kinetic)),
        duration_ps=float(time[-1]),
    )
