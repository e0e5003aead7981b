"""Simulate charged particles: the published n-body protocol, and a softened one that conserves energy."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

from geograph.errors import ConfigError
from geograph.parallel import run_chunks
from geograph.records import ParticleSystem

Protocol = Literal["egnn", "softened"]

PROTOCOLS: tuple[str, ...] = ("egnn", "softened")
SPLITS: tuple[str, ...] = ("train", "val", "test")

_TIME_STEP = 1e-3
_SPEED = 0.5
_LARGEST_FORCE = 0.1 / _TIME_STEP
_SOFTENING = 0.2
#: Frames 30 and 40 of the published trajectories, which keep every 100th step from step 100 on.
_STEP_INPUT, _STEP_TARGET = 3100, 4100


class _Forces:
    """Coulomb forces of a block of systems; positions are laid out (3, particles, systems)."""

    def __init__(self, charge: np.ndarray, protocol: str) -> None:
        num_particles = len(charge)
        first, second = np.triu_indices(num_particles, 1)
        self.difference = np.zeros((len(first), num_particles))
        self.difference[np.arange(len(first)), first] = 1.0
        self.difference[np.arange(len(first)), second] = -1.0
        self.sum = np.ascontiguousarray(self.difference.T)
        self.strength = charge[first] * charge[second]
        self.is_softened = protocol == "softened"

    def __call__(self, pos: np.ndarray) -> np.ndarray:
        apart = self.difference @ pos
        squared = np.einsum("dps,dps->ps", apart, apart)
        if self.is_softened:
            squared += _SOFTENING**2
        apart *= self.strength / (squared * np.sqrt(squared))
        force = self.sum @ apart
        if not self.is_softened:
            np.clip(force, -_LARGEST_FORCE, _LARGEST_FORCE, out=force)
        return force

    def energy(self, pos: np.ndarray, vel: np.ndarray) -> np.ndarray:
        """Return the total energy of each system (unit masses)."""
        squared = ((self.difference @ pos) ** 2).sum(axis=0) + (_SOFTENING**2 if self.is_softened else 0.0)
        return 0.5 * (vel**2).sum(axis=(0, 1)) + (self.strength / np.sqrt(squared)).sum(axis=0)


def _start(
    rng: np.random.Generator, block: int, num_particles: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    charge = rng.choice([-1.0, 1.0], size=(num_particles, block))
    pos = rng.standard_normal((3, num_particles, block))
    vel = rng.standard_normal((3, num_particles, block))
    vel *= _SPEED / np.linalg.norm(vel, axis=0)
    return charge, pos, vel


def _simulate(
    seed: int, split: int, number: int, block: int, num_particles: int, protocol: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return pos, vel, charge, later pos and energy change of one block, systems first."""
    rng = np.random.default_rng([seed, split, number])
    charge, pos, vel = _start(rng, block, num_particles)
    forces = _Forces(charge, protocol)
    energy = forces.energy(pos, vel)
    # The published scheme starts with a whole kick, so that its velocities run half a step off. The softened
    # variant is the usual leap-frog: half a kick first, velocities brought to the time of the positions.
    vel += (0.5 if protocol == "softened" else 1.0) * _TIME_STEP * forces(pos)
    for step in range(1, _STEP_TARGET + 1):
        pos += _TIME_STEP * vel
        kick = _TIME_STEP * forces(pos)
        if step == _STEP_INPUT:
            saved = pos.copy(), vel + 0.5 * kick if protocol == "softened" else vel.copy()
        if step < _STEP_TARGET:
            vel += kick
    last = vel + 0.5 * kick if protocol == "softened" else vel
    change = forces.energy(pos, last) - energy
    arrays = tuple(np.ascontiguousarray(np.moveaxis(a, (2, 1), (0, 1))) for a in (*saved, pos))
    return arrays[0], arrays[1], np.ascontiguousarray(charge.T), arrays[2], change


def _block(
    seed: int, split: int, number: int, block: int, num_particles: int, protocol: str
) -> list[ParticleSystem]:
    pos, vel, charge, later, _ = _simulate(seed, split, number, block, num_particles, protocol)
    first = number * block
    return [
        ParticleSystem(pos[i], vel[i], charge[i], later[i], f"{SPLITS[split]}-{first + i:06d}")
        for i in range(block)
    ]


def energy_change(
    num_systems: int, *, seed: int, protocol: Protocol = "egnn", num_particles: int = 5
) -> Float[np.ndarray, " n"]:
    """Return the change of the total energy of fresh systems from the first step to the target frame.

    An exact solution has none; this measures what the time step and the clipped forces do.

    Parameters
    ----------
    num_systems
        Number of systems.
    seed
        Seed of the initial states.
    protocol
        See `generate_nbody`.
    num_particles
        Particles in each system.
    """
    return _simulate(seed, len(SPLITS), 0, num_systems, num_particles, protocol)[4]


def linear_extrapolation(systems: list[ParticleSystem]) -> tuple[float, float]:
    """Return the time `t` for which `pos + t * vel` fits `pos_target` best, and its mean squared error.

    The baseline that a model of the dynamics has to beat; the error is a mean over all coordinates.

    Parameters
    ----------
    systems
        Systems with a target.
    """
    moved = np.concatenate([s.pos_target - s.pos for s in systems if s.pos_target is not None])
    vel = np.concatenate([s.vel for s in systems if s.pos_target is not None])
    time = float((moved * vel).sum() / (vel * vel).sum())
    return time, float(((moved - time * vel) ** 2).mean())


def generate_nbody(
    num_train: int,
    num_val: int,
    num_test: int,
    *,
    seed: int,
    num_workers: int = 1,
    block: int = 100,
    protocol: Protocol = "egnn",
    num_particles: int = 5,
) -> dict[str, list[ParticleSystem]]:
    """Return charged-particle systems with their positions one unit of time later, for each of three splits.

    Protocol `egnn`: charges +-1 with even odds, positions N(0, 1), speeds 0.5, unit masses, force
    `q_i q_j (x_i - x_j) / r^3` with each component of the sum clipped to [-100, 100], time step 1e-3, one
    kick `v += dt F`, then repeatedly `x += dt v` (a frame is taken here), `v += dt F`. Inputs are step 3100
    (frame 30 of the published data), targets the positions of step 4100 (frame 40). Protocol `softened`: the
    same initial states, force `q_i q_j (x_i - x_j) / (r^2 + 0.04)^(3/2)` without clipping, leap-frog from
    half a kick.

    A block depends on `(seed, split, block number)` and its size alone, never on the number of workers.

    Parameters
    ----------
    num_train, num_val, num_test
        Number of systems of each split.
    seed
        Seed of all random numbers, not negative.
    num_workers
        Number of processes.
    block
        Number of systems that are integrated together.
    protocol
        `egnn` or `softened`.
    num_particles
        Particles in each system.

    Returns
    -------
    Lists of systems by split: `train`, `val`, `test`; float64, dimensionless.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    References
    ----------
    Satorras, Hoogeboom, Welling (2021), arXiv:2102.09844, section 5.1; Fuchs et al. (2020), arXiv:2006.10503,
    appendix C; Kipf et al. (2018), arXiv:1802.04687, appendix B.
    """
    counts = dict(zip(SPLITS, (num_train, num_val, num_test), strict=True))
    limits = {f"num_{name}": (count, 0) for name, count in counts.items()}
    for name, (value, least) in (limits | {"block": (block, 1), "num_particles": (num_particles, 2)}).items():
        if value < least:
            raise ConfigError(f"`{name}` must be at least {least}, got {value}.")
    if protocol not in PROTOCOLS:
        raise ConfigError(f"`protocol` must be one of {', '.join(PROTOCOLS)}, got {protocol!r}.")
    jobs = [
        (seed, split, number, block, num_particles, protocol)
        for split, count in enumerate(counts.values())
        for number in range(-(-count // block))
    ]
    blocks = run_chunks(_block, jobs, num_workers=num_workers, description="n-body systems")
    systems: dict[str, list[ParticleSystem]] = {name: [] for name in SPLITS}
    for job, made in zip(jobs, blocks, strict=True):
        systems[SPLITS[job[1]]].extend(made)
    return {name: systems[name][:count] for name, count in counts.items()}
