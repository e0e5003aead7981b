"""Every sampler against data that are exactly Gaussian: exact moments, order of convergence, both ends."""

from __future__ import annotations

import math

import pytest
import torch
from gaussian_data import decoded_moments, exact_moments, exact_predictor, pushed_moments

from geograph.diffusion.process import DiffusionProcess
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.samplers import DDIM, Ancestral, DPMSolver, build_sampler
from geograph.diffusion.sampling import sample_states
from geograph.diffusion.schedule import NoiseSchedule, build_schedule
from geograph.diffusion.time_grids import levels
from geograph.errors import ConfigError

SCHEDULE = build_schedule("polynomial_2", 1000)
PROCESS = DiffusionProcess(SCHEDULE, num_types=1, has_charge=False)
VARIANCE = 0.25
#: Sampler, share of noise, order of the error of the variance.
CASES = [
    ("ancestral", None, 1),
    ("ddim", 0.0, 1),
    ("ddim", 0.5, 1),
    ("ddim", 1.0, 1),
    ("dpm-solver++", None, 2),
    ("sde-dpm-solver++", None, 2),
]
NAMES = [f"{name}-{eta}" if eta is not None else name for name, eta, _ in CASES]
every_sampler = pytest.mark.parametrize(("name", "eta", "order"), CASES, ids=NAMES)


def chain_moments(name: str, eta: float | None, variance: float, num_steps: int) -> tuple[float, float]:
    sampler = build_sampler(name, eta)
    return exact_moments(SCHEDULE, name, eta, sampler, variance, num_steps)


@pytest.mark.parametrize("num_steps", [1, 25, 50])
@every_sampler
def test_moments_are_those_that_are_derived(name: str, eta: float | None, order: int, num_steps: int) -> None:
    sampler = build_sampler(name, eta)
    derived = chain_moments(name, eta, VARIANCE, num_steps)
    assert pushed_moments(PROCESS, sampler, VARIANCE, num_steps) == pytest.approx(derived, rel=1e-11)
    positions = decoded_moments(SCHEDULE, derived, VARIANCE, sampler.noise_scale)
    assert pushed_moments(PROCESS, sampler, VARIANCE, num_steps, column=0) == pytest.approx(
        positions, rel=1e-11
    )


@every_sampler
def test_every_time_of_a_schedule_as_a_step(name: str, eta: float | None, order: int) -> None:
    schedule = build_schedule("polynomial_2", 60)
    process = DiffusionProcess(schedule, num_types=1, has_charge=False)
    sampler = build_sampler(name, eta)
    derived = exact_moments(schedule, name, eta, sampler, VARIANCE, 60)
    assert pushed_moments(process, sampler, VARIANCE, 60) == pytest.approx(derived, rel=1e-10)


@every_sampler
def test_the_error_shrinks_from_25_to_1000_steps(name: str, eta: float | None, order: int) -> None:
    moments = [chain_moments(name, eta, VARIANCE, steps) for steps in (25, 50, 100, 1000)]
    errors = [abs(spread / VARIANCE - 1) for _, spread in moments]
    assert sorted(errors, reverse=True) == errors
    bounds = {1: (0.21, 0.12, 0.07, 0.008), 2: (0.07, 0.02, 0.005, 3e-4)}[order]
    assert all(error < bound for error, bound in zip(errors, bounds, strict=True))
    # The mean is right for any number of steps but for the start (test_nothing_is_lost_at_either_end).
    assert max(abs(factor - 1) for factor, _ in moments) < 2e-3


def limits(schedule: NoiseSchedule, variance: float, noise_scale: float) -> tuple[float, float]:
    """Derive factor of the mean and variance of infinitely many steps.

    The chain begins with N(0, 1), not with the data at time T, of mean alpha_T m and variance v_T. Without
    noise it keeps the difference in units of the spread; with all noise it forgets it.
    """
    start, end = levels(schedule, [schedule.num_steps, 0])
    v_start, v_end = (level.alpha**2 * variance + level.sigma**2 for level in (start, end))
    if noise_scale:
        return end.alpha, v_end
    return end.alpha - start.alpha * math.sqrt(v_end / v_start), v_end / v_start


@pytest.mark.parametrize("variance", [0.04, 0.25, 4.0])
@every_sampler
def test_error_falls_with_the_steps_at_the_expected_order(
    name: str, eta: float | None, order: int, variance: float
) -> None:
    # Twice as many steps divide the error of the variance by 2 ** order. A schedule of 20 000 times keeps the
    # rounding of the times small beside it.
    schedule = build_schedule("polynomial_2", 20_000)
    sampler = build_sampler(name, eta)
    _, limit = limits(schedule, variance, sampler.noise_scale)
    errors = [
        abs(exact_moments(schedule, name, eta, sampler, variance, steps)[1] / limit - 1)
        for steps in (100, 200, 400)
    ]
    for coarse, fine in zip(errors[:-1], errors[1:], strict=True):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.35)


@every_sampler
def test_nothing_is_lost_at_either_end(name: str, eta: float | None, order: int) -> None:
    schedule = build_schedule("polynomial_2", 20_000)
    sampler = build_sampler(name, eta)
    factor, variance = limits(schedule, VARIANCE, sampler.noise_scale)
    mean, spread = exact_moments(schedule, name, eta, sampler, VARIANCE, 4000)
    assert spread == pytest.approx(variance, rel=2e-3 if order == 1 else 2e-5)
    if eta != 0.5:  # some noise forgets some of the start
        assert mean == pytest.approx(factor, abs=2e-5)
    (end,) = levels(schedule, [0])
    at_zero = (end.alpha, end.alpha**2 * VARIANCE + end.sigma**2)
    placed = decoded_moments(schedule, at_zero, VARIANCE, sampler.noise_scale)
    # The last step draws from p(x | x_0), which takes no notice of the spread of the data.
    assert placed[0] == pytest.approx(1.0, abs=1e-12)
    assert placed[1] == pytest.approx(VARIANCE, abs=1.01 * end.sigma**2)


def covariance_of_atoms(num_atoms: int) -> torch.Tensor:
    """Covariance that maps the subspace of zero centre of mass to itself, with correlated atoms."""
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(num_atoms, num_atoms, generator=generator, dtype=torch.float64)
    projection = torch.eye(num_atoms, dtype=torch.float64) - 1 / num_atoms
    inside = projection @ (0.1 * mix @ mix.T + 0.05 * torch.eye(num_atoms, dtype=torch.float64)) @ projection
    return inside + 0.2 * torch.ones(num_atoms, num_atoms, dtype=torch.float64) / num_atoms


@pytest.mark.parametrize("num_steps", [25])
@every_sampler
def test_samples_have_the_covariance(name: str, eta: float | None, order: int, num_steps: int) -> None:
    # Chains act on each eigenvector of the covariance by itself: the derived covariance of the samples. An
    # empirical one of n samples is off by sqrt((c_ii c_jj + c_ij^2) / n); 5.5 of these for all entries.
    molecules, atoms = 1500, 3
    covariance = covariance_of_atoms(atoms)
    values, vectors = torch.linalg.eigh(covariance)
    mean = torch.randn(atoms, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mean = RaggedBatch.from_sizes([atoms]).centered_positions(mean)
    sampler = build_sampler(name, eta)
    states = sample_states(
        exact_predictor(SCHEDULE, mean, covariance),
        PROCESS,
        [atoms] * molecules,
        seeds=range(molecules),
        sampler=sampler,
        num_steps=num_steps,
        dtype=torch.float64,
    )
    samples = states.state.view(molecules, atoms, 4)
    at_zero = [chain_moments(name, eta, value, num_steps) for value in values.tolist()]
    placed = [
        decoded_moments(SCHEDULE, moments, value, sampler.noise_scale)
        for moments, value in zip(at_zero, values.tolist(), strict=True)
    ]
    projection = torch.eye(atoms, dtype=torch.float64) - 1 / atoms
    for column, moments, kept in ((3, at_zero, torch.eye(atoms).double()), (0, placed, projection)):
        factor, spread = torch.tensor(moments, dtype=torch.float64).T
        expected = kept @ (vectors * spread) @ vectors.T @ kept
        error = samples[..., column].T.cov() - expected
        variances = expected.diagonal()
        bound = ((variances[:, None] * variances + expected.square()) / molecules).sqrt()
        assert (error.abs() <= 5.5 * bound).all()
        centre = kept @ (vectors * factor) @ vectors.T @ mean[:, column]
        assert ((samples[..., column].mean(0) - centre).abs() <= 5.5 * (variances / molecules).sqrt()).all()


def test_wrong_score_is_noticed() -> None:
    derived = chain_moments("dpm-solver++", None, VARIANCE, 50)
    assert pushed_moments(PROCESS, DPMSolver(), 0.3, 50) != pytest.approx(derived, rel=0.05)


def test_ddim_with_all_the_noise_is_the_ancestral_sampler() -> None:
    covariance = covariance_of_atoms(2)
    mean = torch.zeros(2, 4, dtype=torch.float64)
    first, second = (
        sample_states(
            exact_predictor(SCHEDULE, mean, covariance),
            PROCESS,
            [2, 2],
            seeds=[4, 5],
            sampler=sampler,
            num_steps=20,
            dtype=torch.float64,
        ).state
        for sampler in (Ancestral(), DDIM(1.0))
    )
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-12)


def test_ancestral_step_is_the_posterior_of_the_process() -> None:
    # The same formula, from the numbers of a grid rather than from a tensor of times: equal to the last bit.
    graph = RaggedBatch.from_sizes([3])
    state, predicted, noise = torch.randn(3, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    for t, s in ((1000, 960), (500, 499), (1, 0)):
        mean, std = PROCESS.posterior(state, predicted, torch.tensor([s]), torch.tensor([t]), graph)
        stepped, memory = Ancestral().advance(
            state, predicted, *levels(SCHEDULE, [t, s]), None, lambda: noise
        )
        assert memory is None
        assert torch.equal(stepped, mean + std * noise)


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++"])
def test_deterministic_samplers_draw_noise_once(name: str) -> None:
    draws: list[torch.Tensor] = []

    def draw() -> torch.Tensor:
        draws.append(torch.zeros(2, 4, dtype=torch.float64))
        return draws[-1]

    predict = exact_predictor(SCHEDULE, torch.zeros(2, 4).double(), torch.eye(2).double())
    sample_states(
        predict,
        PROCESS,
        [2],
        seeds=[0],
        sampler=build_sampler(name),
        num_steps=10,
        noise=draw,
        dtype=torch.float64,
    )
    assert len(draws) == 1


@pytest.mark.parametrize(
    ("name", "eta", "message"),
    [
        ("euler", None, "`sampler` must be one of ancestral, ddim, dpm-solver.*, got 'euler'"),
        ("ancestral", 0.5, "`eta` belongs to the sampler ddim, but `sampler` is ancestral; omit it"),
        ("ddim", 1.5, "`eta` must lie between 0 and 1, got 1.5"),
        ("ddim", math.nan, "`eta` must lie between 0 and 1, got nan"),
    ],
)
def test_bad_sampler_is_named(name: str, eta: float | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_sampler(name, eta)
