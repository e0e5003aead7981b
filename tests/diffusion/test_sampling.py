from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geograph.diffusion.noise_source import MoleculeNoise
from geograph.diffusion.process import DiffusionProcess
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.samplers import SAMPLERS, build_sampler
from geograph.diffusion.sampling import sample_states
from geograph.diffusion.schedule import build_schedule
from geograph.errors import ConfigError
from geograph.models.denoiser import EDMDynamics

NUM_TIMES = 100
SCHEDULE = build_schedule("polynomial_2", NUM_TIMES)
PROCESS = DiffusionProcess(SCHEDULE, num_types=2, has_charge=True)


def network(dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    model = EDMDynamics(PROCESS.num_features, 16, 2).to(dtype)
    return lambda state, time, graph: model.noise(state, time, graph.batch, *graph.edges)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_centre_of_mass_stays_zero_through_the_chain(name: str) -> None:
    sampler = build_sampler(name)
    states = sample_states(
        network(), PROCESS, [1, 4, 9], seeds=[1, 2, 3], num_steps=10, frame_every=1, sampler=sampler
    )
    assert [time for time, _ in states.frames] == sampler.times(SCHEDULE, NUM_TIMES, 10)
    drift = [float(states.graph.sum(state[:, :3]).abs().max()) for _, state in states.frames]
    assert max(drift) < 1e-12


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_turned_noise_gives_turned_molecules(name: str) -> None:
    # A rotation and a reflection; the same chain in a turned frame, and a permutation of the atoms.
    generator = torch.Generator().manual_seed(4)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    predict, sizes, seeds = network(torch.float64), [5, 8], [6, 7]
    graph = RaggedBatch.from_sizes(sizes)
    order = torch.cat([torch.randperm(5, generator=generator), 5 + torch.randperm(8, generator=generator)])

    def run(matrix: Tensor, atoms: Tensor) -> Tensor:
        source = MoleculeNoise(seeds, graph, PROCESS.width)

        def draw() -> Tensor:
            noise = source.draw()[atoms]
            return torch.cat([noise[:, :3] @ matrix.T, noise[:, 3:]], dim=1)

        return sample_states(
            predict, PROCESS, sizes, seeds=seeds, num_steps=20, noise=draw, dtype=torch.float64,
            sampler=build_sampler(name),
        ).state  # fmt: skip

    identity, all_atoms = torch.eye(3, dtype=torch.float64), torch.arange(13)
    state = run(identity, all_atoms)
    scale = float(state.abs().max())
    turned = torch.cat([state[:, :3] @ turn.T, state[:, 3:]], dim=1)
    torch.testing.assert_close(run(turn, all_atoms), turned, rtol=0, atol=1e-9 * scale)
    torch.testing.assert_close(run(identity, order), state[order], rtol=0, atol=1e-9 * scale)
    # Negative control: a map that is no rotation gives another molecule.
    assert (run(1.1 * identity, all_atoms) - state).abs().max() > 1e-3 * scale


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_molecule_does_not_depend_on_its_batch(batch_size: int) -> None:
    sizes, seeds = [5, 1, 9, 3, 7, 5, 2], list(range(100, 107))

    def run(predict, dtype: torch.dtype, step: int) -> tuple[Tensor, Tensor]:
        parts = [
            sample_states(
                predict, PROCESS, sizes[k : k + step], seeds=seeds[k : k + step], num_steps=20, dtype=dtype
            ).state
            for k in range(0, 7, step)
        ]
        return PROCESS.decode(torch.cat(parts))

    pos, types = run(network(), torch.float32, 7)
    pos_parts, types_parts = run(network(), torch.float32, batch_size)
    assert torch.equal(types, types_parts)
    torch.testing.assert_close(pos, pos_parts, rtol=0, atol=1e-4)
    in_float64 = [run(network(torch.float64), torch.float64, step)[0] for step in (7, batch_size)]
    torch.testing.assert_close(*in_float64, rtol=0, atol=1e-10)


def test_seed_decides() -> None:
    states = sample_states(network(), PROCESS, [4, 4, 4], seeds=[5, 6, 5], num_steps=4).state
    torch.testing.assert_close(states[:4], states[8:], rtol=1e-5, atol=1e-4)
    assert (states[:4] - states[4:8]).abs().max() > 0.1


def test_non_finite_molecule_is_dropped_and_reported() -> None:
    healthy = network()

    def predict(state: Tensor, time: Tensor, graph: RaggedBatch) -> Tensor:
        noise = healthy(state, time, graph)
        breaks = (graph.sizes == 3) & (time < 0.5)
        return torch.where(breaks[graph.batch][:, None], torch.nan, noise)

    states = sample_states(predict, PROCESS, [4, 3, 5], seeds=[8, 9, 10], num_steps=10)
    assert [(f.index, f.seed, f.size, f.time) for f in states.failures] == [(1, 9, 3, 30)]
    clean = sample_states(healthy, PROCESS, [4, 5], seeds=[8, 10], num_steps=10).state
    kept = torch.cat([states.state[:4], states.state[7:]])
    torch.testing.assert_close(kept, clean, rtol=1e-5, atol=1e-4)


def test_progress_counts_every_evaluation() -> None:
    calls: list[int] = []
    sample_states(network(), PROCESS, [3], seeds=[0], num_steps=6, progress=lambda: calls.append(1))
    assert len(calls) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": [1]}, "`seeds` must hold one seed for each of 2 molecules, got 1"),
        ({"seeds": [1, 2], "num_steps": 0}, "`num_steps` must be between 1 and 100, got 0"),
        ({"seeds": [1, 2], "num_steps": 101}, "`num_steps` must be between 1 and 100, got 101"),
        ({"seeds": [1, 2], "frame_every": 0}, "`frame_every` must be at least 1, got 0"),
    ],
)
def test_bad_request_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sample_states(network(), PROCESS, [3, 3], **arguments)
