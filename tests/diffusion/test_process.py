from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from geograph.algebra.euclid import random_orthogonal
from geograph.diffusion.process import DiffusionProcess
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.schedule import build_schedule
from geograph.errors import ConfigError
from geograph.models.denoiser import EDMDynamics

SIZES = [1, 3, 5]
EPS = torch.finfo(torch.float64).eps


def make_process(has_charge: bool = True, scale: float = 1.0) -> DiffusionProcess:
    return DiffusionProcess(build_schedule("polynomial_2", 100), 3, (scale, 4.0, 10.0), has_charge)


def molecules(process: DiffusionProcess, seed: int = 0) -> tuple[Tensor, RaggedBatch]:
    graph = RaggedBatch.from_sizes(SIZES)
    generator = torch.Generator().manual_seed(seed)
    n = len(graph.batch)
    pos = torch.randn(n, 3, generator=generator, dtype=torch.float64) + 5.0
    types = torch.randint(3, (n,), generator=generator)
    return process.encode(pos, types, torch.tensor([1, 6, 8])[types], graph), graph


def network(process: DiffusionProcess) -> EDMDynamics:
    torch.manual_seed(0)
    return EDMDynamics(process.num_features, 8, 2).double()


def predictor(process: DiffusionProcess):
    model = network(process)
    model.requires_grad_(False)
    return lambda state, time, graph: model.noise(state, time, graph.batch, *graph.edges)


@pytest.mark.parametrize("has_charge", [True, False])
def test_encoding_is_undone(has_charge: bool) -> None:
    process = make_process(has_charge, scale=2.0)
    state, graph = molecules(process)
    assert state.shape[1] == process.width == 6 + has_charge
    assert graph.sum(state[:, :3]).abs().max() < 1e-14
    pos, types = process.decode(state)
    again = process.encode(pos, types, torch.tensor([1, 6, 8])[types], graph)
    torch.testing.assert_close(again, state)


def test_step_to_a_known_molecule_follows_bayes() -> None:
    # q(x_s | x_t, x) is Gaussian: the precision-weighted mean of q(x_s | x) and q(x_t | x_s).
    process = make_process()
    state, graph = molecules(process)
    noise = graph.noise(process.width, torch.Generator().manual_seed(1), torch.float64)
    s, t = torch.tensor([10, 20, 0]), torch.tensor([30, 21, 100])
    state_t = process.diffuse(state, noise, t, graph)
    mean, std = process.posterior(state_t, noise, s, t, graph)
    levels = {
        name: values[graph.batch][:, None]
        for name, values in {
            "alpha_s": process.schedule.alpha_at(s),
            "sigma_s": process.schedule.sigma_at(s),
            "alpha_ts": process.schedule.alpha_at(t) / process.schedule.alpha_at(s),
            "sigma_t": process.schedule.sigma_at(t),
        }.items()
    }
    variance_ts = levels["sigma_t"] ** 2 - (levels["alpha_ts"] * levels["sigma_s"]) ** 2
    precision = levels["sigma_s"] ** -2 + levels["alpha_ts"] ** 2 / variance_ts
    prior = levels["alpha_s"] * state / levels["sigma_s"] ** 2
    expected = (prior + levels["alpha_ts"] * state_t / variance_ts) / precision
    torch.testing.assert_close(mean, expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(std[graph.batch][:, None], precision.rsqrt())


def test_perfect_prediction_costs_only_prior_and_elements() -> None:
    process = make_process()
    state, graph = molecules(process)
    noise = graph.noise(process.width, torch.Generator().manual_seed(2), torch.float64)
    loss = process.training_loss(lambda *_: noise, state, noise, torch.tensor([1, 50, 100]), graph)
    assert loss.min() >= 0
    assert loss.max() < 1e-2
    objective = process.evaluate(lambda *_: noise, state, noise, noise, torch.tensor([1, 50, 100]), graph)
    width = math.exp(0.5 * process.schedule.gamma[0].item())
    densities = graph.subspace_dim() * norm.logpdf(0.0, scale=width)
    torch.testing.assert_close(objective.nll, -densities + loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(objective.loss, loss)


def test_loss_at_time_zero_against_closed_form() -> None:
    process = make_process()
    state, graph = molecules(process)
    noise = graph.noise(process.width, torch.Generator().manual_seed(3), torch.float64)
    noise[:, 3:] *= 100.0  # so that elements are in doubt
    step = torch.zeros(3, dtype=torch.int64)
    wrong = noise.clone()
    wrong[:, :3] += graph.centered(torch.ones(9, 3).cumsum(0).double())
    wrong[:, 3:] += 7.0  # the error of the features does not count at time 0
    loss = process.training_loss(lambda *_: wrong, state, noise, step, graph)
    sigma0 = process.schedule.sigma_at(step[:1]).item()
    noisy = process.diffuse(state, noise, step, graph)
    one_hot, charge = state[:, 3:6] * 4, (state[:, 6] * 10).round()
    mass = torch.tensor(
        norm.cdf(1.5, noisy[:, 3:6] * 4, sigma0 * 4) - norm.cdf(0.5, noisy[:, 3:6] * 4, sigma0 * 4)
    )
    weight = (mass + 1e-10) / (mass + 1e-10).sum(1, keepdim=True)
    center, width = noisy[:, 6] * 10, sigma0 * 10
    integer = norm.cdf(charge + 0.5, center, width) - norm.cdf(charge - 0.5, center, width)
    log_p = (weight * one_hot).sum(1).log() + torch.tensor(integer + 1e-10).log()
    error = graph.total((noise - wrong)[:, :3].square()) / (graph.sizes * process.width)
    small = process.training_loss(lambda *_: noise, state, noise, step + 50, graph)  # the prior term alone
    torch.testing.assert_close(loss, 0.5 * error - graph.sum(log_p) + small, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("proper", [True, False])
def test_bound_is_invariant_and_negative_control_is_not(proper: bool) -> None:
    process = make_process()
    state, graph = molecules(process)
    rotation = random_orthogonal(torch.Generator().manual_seed(4), proper=proper)
    generator = torch.Generator().manual_seed(5)
    noise, noise_0 = (graph.noise(process.width, generator, torch.float64) for _ in range(2))
    step = torch.tensor([3, 40, 90])

    def turned(values: Tensor) -> Tensor:
        return torch.cat([values[:, :3] @ rotation.T, values[:, 3:]], dim=1)

    def moved_nll(predict) -> float:
        before = process.evaluate(predict, state, noise, noise_0, step, graph).nll
        after = process.evaluate(predict, turned(state), turned(noise), turned(noise_0), step, graph).nll
        return float(((after - before) / before).abs().max())

    assert moved_nll(predictor(process)) < 1000 * EPS
    tilted = torch.cat([torch.ones(1), torch.zeros(6)]).double()
    assert moved_nll(lambda state, *_: state * tilted) > 1e-4


def test_loss_does_not_depend_on_neighbours_unless_asked() -> None:
    process = make_process()
    state, graph = molecules(process)
    predict = predictor(process)
    noise = graph.noise(process.width, torch.Generator().manual_seed(6), torch.float64)
    step = torch.tensor([0, 40, 90])
    together = process.training_loss(predict, state, noise, step, graph)
    alone = process.training_loss(predict, state[4:], noise[4:], step[2:], RaggedBatch.from_sizes(SIZES[2:]))
    torch.testing.assert_close(alone, together[2:], rtol=100 * EPS, atol=0)
    padded = process.training_loss(predict, state, noise, step, graph, num_atoms_divisor=5)
    torch.testing.assert_close(padded[2], together[2])
    assert padded[1] < together[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_types": 0}, "`num_types` must be at least 1, got 0"),
        ({"num_types": 2, "norm_values": (1.0, 0.0, 1.0)}, "`norm_values` must be three positive numbers"),
    ],
)
def test_bad_parameter_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DiffusionProcess(build_schedule(), **arguments)
