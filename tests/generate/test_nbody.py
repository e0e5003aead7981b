from __future__ import annotations

import hashlib

import numpy as np
import pytest

from geograph.errors import ConfigError
from geograph.generate.nbody import _Forces, _start, energy_change, generate_nbody, linear_extrapolation
from geograph.records import ParticleSystem


def _digest(splits: dict[str, list[ParticleSystem]]) -> str:
    content = b"".join(
        part.tobytes()
        for systems in splits.values()
        for system in systems
        for part in (system.pos, system.vel, system.charge, system.pos_target)
    )
    return hashlib.sha256(content).hexdigest()


def _published(pos: np.ndarray, vel: np.ndarray, charge: np.ndarray, frames: tuple[int, int]) -> list:
    """One system, particle by particle: force clipped by component, kick, then drift, frame, kick."""
    saved, num = [], len(pos)

    def force() -> np.ndarray:
        total = np.zeros((num, 3))
        for i in range(num):
            for j in range(num):
                if i != j:
                    apart = pos[i] - pos[j]
                    total[i] += charge[i] * charge[j] * apart / np.linalg.norm(apart) ** 3
        return np.clip(total, -100, 100)

    vel = vel + 1e-3 * force()
    for step in range(1, frames[1] + 1):
        pos = pos + 1e-3 * vel
        if step in frames:
            saved.append((pos, vel))
        vel = vel + 1e-3 * force()
    return saved


@pytest.fixture(scope="module")
def splits() -> dict[str, list[ParticleSystem]]:
    return generate_nbody(250, 30, 40, seed=43, block=50)


def test_first_system_follows_the_published_scheme(monkeypatch):
    monkeypatch.setattr("geograph.generate.nbody._STEP_INPUT", 60)
    monkeypatch.setattr("geograph.generate.nbody._STEP_TARGET", 90)
    from geograph.generate.nbody import _simulate

    pos, vel, charge, later, _ = _simulate(0, 0, 0, 4, 5, "egnn")
    start = _start(np.random.default_rng([0, 0, 0]), 4, 5)
    for i in range(4):
        (x, v), (y, _) = _published(start[1][:, :, i].T, start[2][:, :, i].T, start[0][:, i], (60, 90))
        np.testing.assert_allclose(pos[i], x, atol=1e-9)
        np.testing.assert_allclose(vel[i], v, atol=1e-8)
        np.testing.assert_allclose(later[i], y, atol=1e-8)
        np.testing.assert_array_equal(charge[i], start[0][:, i])


def test_forces_of_two_charges_and_the_clip():
    forces = _Forces(np.array([[1.0], [-1.0]]), "egnn")
    far = np.array([[[0.0], [2.0]], [[0.0], [0.0]], [[0.0], [0.0]]])
    np.testing.assert_allclose(forces(far)[0, :, 0], [0.25, -0.25])  # opposite charges attract
    near = far * 1e-3
    np.testing.assert_allclose(forces(near)[0, :, 0], [100.0, -100.0])
    assert forces.energy(far, np.zeros_like(far))[0] == pytest.approx(-0.5)


def test_initial_state_has_the_published_law():
    charge, pos, vel = _start(np.random.default_rng(0), 2000, 5)
    np.testing.assert_allclose(np.linalg.norm(vel, axis=0), 0.5)
    assert set(np.unique(charge)) == {-1.0, 1.0}
    assert abs(charge.mean()) < 5 / np.sqrt(charge.size)
    assert abs(pos.std() - 1) < 5 / np.sqrt(2 * pos.size)


def test_linear_extrapolation_error_is_the_published_one():
    """arXiv:2102.09844, Table 2: Linear 0.0819 on the published trajectories; ours are other draws."""
    time, error = linear_extrapolation(generate_nbody(1000, 0, 0, seed=43)["train"])
    assert error == pytest.approx(0.0819, abs=0.012)
    assert 0.6 < time < 0.9


def test_sizes_ids_and_dtypes(splits):
    assert {name: len(systems) for name, systems in splits.items()} == {"train": 250, "val": 30, "test": 40}
    ids = [system.id for systems in splits.values() for system in systems]
    assert len(set(ids)) == 320
    assert splits["val"][0].id == "val-000000"
    assert splits["train"][0].pos.dtype == np.float64
    assert not np.array_equal(splits["train"][0].pos, splits["val"][0].pos)


def test_two_workers_give_the_same_bytes(splits):
    assert _digest(generate_nbody(250, 30, 40, seed=43, block=50, num_workers=2)) == _digest(splits)
    assert _digest(generate_nbody(250, 30, 40, seed=44, block=50)) != _digest(splits)


def test_softened_protocol_conserves_energy_and_the_published_one_does_not():
    assert np.abs(energy_change(100, seed=0, protocol="softened")).max() < 1e-3
    assert (np.abs(energy_change(100, seed=0)) > 0.1).mean() > 0.2


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_test": -1}, "`num_test` must be at least 0, got -1"),
        ({"block": 0}, "`block` must be at least 1, got 0"),
        ({"num_particles": 1}, "`num_particles` must be at least 2, got 1"),
    ],
)
def test_parameters_out_of_range(params: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        generate_nbody(**({"num_train": 1, "num_val": 1, "num_test": 1, "seed": 0} | params))
