from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import norm
from torch.distributions import Normal, kl_divergence

from geograph.diffusion import likelihood
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.schedule import alpha, sigma

GRAPH = RaggedBatch.from_sizes([1, 4])


@pytest.mark.parametrize("width", [0.03, 0.3, 2.0])
def test_integer_likelihood_is_the_mass_within_half(width: float) -> None:
    noisy = torch.tensor([[5.7]], dtype=torch.float64)
    sd = torch.full((1, 1), width, dtype=torch.float64)
    for value in (5, 6, 7):
        mass = norm.cdf(value + 0.5, 5.7, width) - norm.cdf(value - 0.5, 5.7, width)
        ours = likelihood.log_integer(noisy, torch.full_like(noisy, value), sd)
        assert ours.item() == pytest.approx(math.log(mass + 1e-10), rel=1e-9, abs=1e-9)


def test_integer_likelihoods_sum_to_one() -> None:
    values = torch.arange(-20.0, 20.0, dtype=torch.float64)[:, None]
    noisy, width = torch.full_like(values, 0.37), torch.full_like(values, 1.3)
    total = likelihood.log_integer(noisy, values, width).exp().sum()
    assert total.item() == pytest.approx(1.0, abs=1e-8)


def test_categorical_likelihoods_sum_to_one_and_favour_the_largest() -> None:
    noisy = torch.tensor([[0.9, 0.2, -0.1]] * 3, dtype=torch.float64)
    width = torch.full((3, 1), 0.2, dtype=torch.float64)
    log_p = likelihood.log_categorical(noisy, torch.eye(3, dtype=torch.float64), width)
    mass = [norm.cdf(1.5, mean, 0.2) - norm.cdf(0.5, mean, 0.2) + 1e-10 for mean in (0.9, 0.2, -0.1)]
    expected = torch.tensor(mass, dtype=torch.float64)
    torch.testing.assert_close(log_p.exp(), expected / expected.sum())
    assert log_p.argmax() == 0


def test_prior_term_is_the_gaussian_divergence() -> None:
    gamma = torch.tensor(1.5, dtype=torch.float64)
    state = torch.randn(5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    state = GRAPH.centered_positions(state)
    posterior = Normal(alpha(gamma) * state, sigma(gamma).expand_as(state))
    full = GRAPH.total(kl_divergence(posterior, Normal(0.0, 1.0)))
    # In the full space three directions too many are counted, each with mean zero.
    surplus = 3 * kl_divergence(Normal(0.0, sigma(gamma)), Normal(0.0, 1.0))
    torch.testing.assert_close(likelihood.kl_prior(state, gamma, GRAPH), full - surplus)


def test_position_constant_is_the_density_at_the_mean() -> None:
    gamma = torch.tensor(-8.0, dtype=torch.float64)
    width = math.exp(-4.0)  # sigma_0 / alpha_0
    expected = [0.0, 9 * norm.logpdf(0.0, scale=width)]
    assert likelihood.log_position_constant(gamma, GRAPH).tolist() == pytest.approx(expected)


def test_volume_term_counts_the_subspace() -> None:
    assert likelihood.log_scale_volume(2.0, GRAPH).tolist() == pytest.approx([0.0, -9 * math.log(2.0)])
