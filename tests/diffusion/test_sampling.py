from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from geograph.diffusion.process import DiffusionProcess
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.sampling import sample_states, time_grid
from geograph.diffusion.schedule import NoiseSchedule, build_schedule
from geograph.errors import ConfigError
from geograph.models.denoiser import EDMDynamics

NUM_TIMES = 100
SCHEDULE = build_schedule("polynomial_2", NUM_TIMES)
PROCESS = DiffusionProcess(SCHEDULE, num_types=2, has_charge=True)


def network(dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    model = EDMDynamics(PROCESS.num_features, 16, 2).to(dtype)
    return lambda state, time, graph: model.noise(state, time, graph.batch, *graph.edges)


def gaussian_predictor(mean: Tensor, variance: float):
    """Exact expected noise of data that are Gaussian around `mean` (one row per atom of a molecule)."""

    def predict(state: Tensor, time: Tensor, graph: RaggedBatch) -> Tensor:
        step = (time * NUM_TIMES).round().long()
        alpha, sigma = (f(step)[graph.batch][:, None] for f in (SCHEDULE.alpha_at, SCHEDULE.sigma_at))
        atom = torch.arange(len(state)) - graph.ptr[graph.batch]
        return sigma * (state - alpha * mean[atom]) / (alpha**2 * variance + sigma**2)

    return predict


def chain_moments(schedule: NoiseSchedule, variance: float, times: list[int]) -> tuple[float, float]:
    """Factor of the data's mean, and variance, at time 0 of the discrete chain with the exact predictor.

    Every step is linear, so that both follow from a recursion of numbers.
    """
    alpha2 = schedule.alpha_at(torch.arange(NUM_TIMES + 1)).square().tolist()
    factor, spread = 0.0, 1.0
    for t, s in zip(times[:-1], times[1:], strict=True):
        ratio = math.sqrt(alpha2[t] / alpha2[s])
        noise_ts = 1 - alpha2[t] - ratio**2 * (1 - alpha2[s])
        total = alpha2[t] * variance + 1 - alpha2[t]
        slope = (1 - noise_ts / total) / ratio
        factor = slope * factor + noise_ts * math.sqrt(alpha2[t]) / (ratio * total)
        spread = slope**2 * spread + noise_ts * (1 - alpha2[s]) / (1 - alpha2[t])
    return factor, spread


@pytest.mark.parametrize("num_steps", [4, NUM_TIMES])
def test_exact_gaussian_score_recovers_mean_and_covariance(num_steps: int) -> None:
    molecules, atoms, variance = 400, 3, 0.25
    mean = torch.randn(atoms, PROCESS.width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mean = RaggedBatch.from_sizes([atoms]).centered_positions(mean)
    states = sample_states(
        gaussian_predictor(mean, variance),
        PROCESS,
        [atoms] * molecules,
        seeds=range(molecules),
        num_steps=num_steps,
        dtype=torch.float64,
    )
    factor, spread = chain_moments(SCHEDULE, variance, time_grid(NUM_TIMES, num_steps))
    values = states.state.view(molecules, atoms, PROCESS.width)
    error = values.mean(0) - factor * mean
    assert error.abs().max() < 5 * math.sqrt(spread / molecules)
    features = values[..., 3:].flatten(1).T.cov()
    covariance_error = features - spread * torch.eye(len(features), dtype=torch.float64)
    assert covariance_error.abs().max() < 6 * spread * math.sqrt(2 / molecules)
    # Positions: the projection I - 1/M on the atoms; the last step draws from p(x | x_0), hardly wider.
    positions = values[..., 0].T.cov()
    projection = torch.eye(atoms, dtype=torch.float64) - 1 / atoms
    assert (positions - spread * projection).abs().max() < 6 * spread * math.sqrt(2 / molecules)


def test_chain_approaches_the_data_with_the_number_of_steps() -> None:
    # A Markov chain with T steps has a discretisation error of order 1 / T.
    moments = [chain_moments(SCHEDULE, 0.25, time_grid(NUM_TIMES, steps)) for steps in (25, 50, 100)]
    errors = [0.25 - spread for _, spread in moments]
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(2.0, rel=0.2)
    assert moments[-1][0] == pytest.approx(1.0, abs=0.01)


def test_wrong_score_is_noticed() -> None:
    factor, spread = chain_moments(SCHEDULE, 0.25, time_grid(NUM_TIMES))
    _, other = chain_moments(SCHEDULE, 0.5, time_grid(NUM_TIMES))
    assert abs(other - spread) > 6 * spread * math.sqrt(2 / 400)
    assert factor > 0.9


def test_centre_of_mass_stays_zero_through_the_chain() -> None:
    states = sample_states(network(), PROCESS, [1, 4, 9], seeds=[1, 2, 3], num_steps=10, frame_every=1)
    assert [time for time, _ in states.frames] == time_grid(NUM_TIMES, 10)
    drift = [float(states.graph.sum(state[:, :3]).abs().max()) for _, state in states.frames]
    assert max(drift) < 1e-12


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


def test_time_grid_has_both_end_points() -> None:
    assert time_grid(10) == list(range(10, -1, -1))
    assert time_grid(10, 1) == [10, 0]
    for steps in range(1, 51):
        grid = time_grid(50, steps)
        assert (grid[0], grid[-1], len(grid)) == (50, 0, steps + 1)
        assert all(t > s for t, s in zip(grid[:-1], grid[1:], strict=True))


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
