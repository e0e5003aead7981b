"""Chains that begin with given molecules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from geograph.diffusion.constraints import Constraints
from geograph.diffusion.molecules import Samples, sample_molecules
from geograph.diffusion.process import DiffusionProcess
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.samplers import SAMPLERS
from geograph.diffusion.schedule import build_schedule
from geograph.diffusion.start import Start
from geograph.errors import ConfigError
from geograph.records import Molecule

PROCESS = DiffusionProcess(build_schedule("polynomial_2", 100), num_types=2)
ELEMENTS = [1, 6]
SMALL = Molecule(np.array([6, 1, 1]), np.array([[5.0, 5.0, 5.0], [6.0, 5.0, 5.0], [5.0, 6.1, 5.0]]))
LARGE = Molecule(np.array([6, 6, 1, 1]), np.random.default_rng(0).normal(size=(4, 3)))


def oracle(state: Tensor, time: Tensor, graph: RaggedBatch) -> Tensor:
    """Noise in a state whose data are `SMALL` or `LARGE`, whichever has as many atoms."""
    step = (time * 100).round().long()
    alpha, sigma = (
        f(step)[graph.batch][:, None] for f in (PROCESS.schedule.alpha_at, PROCESS.schedule.sigma_at)
    )
    molecules = [SMALL if size == 3 else LARGE for size in graph.sizes.tolist()]
    pos = torch.from_numpy(np.concatenate([molecule.pos for molecule in molecules]))
    z = torch.from_numpy(np.concatenate([molecule.z for molecule in molecules]))
    data = PROCESS.encode(pos, (z == 6).long(), z, graph)
    return ((state - alpha * data) / sigma).to(state.dtype)


def started(start: Start, sizes: list[int], **options: object) -> Samples:
    request = {"seeds": range(len(sizes)), "atomic_numbers": ELEMENTS, "dtype": torch.float64, **options}
    return sample_molecules(oracle, PROCESS, sizes, start=start, **request)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_molecules_are_found_again_in_their_own_place(sampler: str) -> None:
    start = Start([SMALL, LARGE, SMALL], 0.3)
    samples = started(start, [3, 4, 3], sampler=sampler, num_steps=10)
    for molecule, given in zip(samples.molecules, (SMALL, LARGE, SMALL), strict=True):
        assert np.array_equal(molecule.z, given.z)
        # The last step draws with the noise of time 0, 0.0032 angstrom.
        np.testing.assert_allclose(molecule.pos, given.pos, atol=0.02)
        np.testing.assert_allclose(molecule.pos.mean(0), given.pos.mean(0), atol=1e-10)


def test_chain_begins_at_the_noise_level() -> None:
    times: list[float] = []

    def predict(state: Tensor, time: Tensor, graph: RaggedBatch) -> Tensor:
        times.append(round(float(time[0]), 6))
        return oracle(state, time, graph)

    start = Start([SMALL], 0.04)
    sample_molecules(predict, PROCESS, [3, 3], seeds=[0, 1], atomic_numbers=ELEMENTS, start=start)
    assert times == [0.04, 0.03, 0.02, 0.01, 0.0]
    assert [Start([SMALL], level).time(PROCESS) for level in (1e-9, 0.5, 1.0)] == [1, 50, 100]


def test_noise_is_that_of_the_level() -> None:
    # 600 times the same molecule, noised to time 50: alpha x, and variance sigma^2 (2/3 in the subspace).
    first: list[Tensor] = []

    def predict(state: Tensor, time: Tensor, graph: RaggedBatch) -> Tensor:
        first.append(state.view(-1, 3, PROCESS.width))
        return 0.0 * state

    started_at = Start([SMALL], 0.5)
    sample_molecules(
        predict, PROCESS, [3] * 600, seeds=range(600), atomic_numbers=ELEMENTS, start=started_at,
        num_steps=1, batch_size=600, dtype=torch.float64,
    )  # fmt: skip
    step = torch.tensor(50)
    alpha, variance = PROCESS.schedule.alpha_at(step), PROCESS.schedule.sigma_at(step) ** 2
    centred = torch.from_numpy(SMALL.pos - SMALL.pos.mean(0))
    error = first[0][..., :3].mean(0) - alpha * centred
    assert error.abs().max() < 5 * float(variance * 2 / 3 / 600) ** 0.5
    spread = first[0].var(0)
    for part, expected in ((spread[:, :3], 2 / 3 * variance), (spread[:, 3:], variance)):
        assert ((part / expected - 1).abs() < 5 * (2 / 600) ** 0.5).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Start([], 0.5), "`start` must have at least one molecule, got none"),
        (lambda: Start([SMALL], 0.0), "`noise_level` must be above 0 and at most 1, got 0.0"),
        (lambda: Start([SMALL], 1.5), "`noise_level` must be above 0 and at most 1, got 1.5"),
        (
            lambda: started(Start([SMALL, SMALL], 0.5), [3, 3, 3]),
            "`start` must have 1 molecule or one for each of 3 samples, got 2",
        ),
        (
            lambda: started(Start([SMALL], 0.5), [3, 4]),
            "`sizes` asks for 4 atoms in molecule 1, but `start` has 3",
        ),
        (
            lambda: started(Start([SMALL], 0.5), [3], atomic_numbers=[1, 7]),
            "`start` has atomic numbers 6, but the model knows 1, 7 only",
        ),
        (
            lambda: started(Start([SMALL], 0.5), [3], constraints=Constraints(SMALL)),
            "`start` and `constraints` contradict each other",
        ),
        (
            lambda: started(Start([SMALL], 0.05), [3], num_steps=6),
            "`num_steps` must be between 1 and 5, got 6",
        ),
    ],
)
def test_bad_start_is_named(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
