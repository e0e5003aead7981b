from __future__ import annotations

import json

import pytest
import torch

from geograph.errors import ConfigError, DataError
from geograph.tasks.composition import composition_baseline, element_counts, fit_composition

Z = torch.tensor([6, 1, 1, 1, 1, 8, 1, 1, 6, 6, 1, 8])
BATCH = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3])


def test_counts_by_hand() -> None:
    counts = element_counts(Z, BATCH, 4, [8, 1, 6])
    assert counts.tolist() == [[4, 1, 0], [2, 0, 1], [1, 2, 0], [0, 0, 1]]


def test_fit_recovers_an_exact_composition() -> None:
    counts = element_counts(Z, BATCH, 4, [1, 6, 8])
    coefficients = torch.tensor([[-0.5, 1.0], [-38.0, 2.0], [-75.0, 3.0]], dtype=torch.float64)
    y = counts @ coefficients + torch.tensor([3.0, -1.0], dtype=torch.float64)
    baseline = fit_composition(Z, BATCH, y)
    assert baseline["atomic_numbers"] == [1, 6, 8]
    assert pytest.approx(coefficients, rel=1e-6) == torch.tensor(baseline["coefficients"]).T
    assert baseline["intercept"] == pytest.approx([3.0, -1.0], rel=1e-9)
    assert composition_baseline(Z, BATCH, 4, baseline) == pytest.approx(y, rel=1e-12)


def test_proportional_counts_do_no_harm() -> None:
    z, batch = torch.tensor([1, 8, 1, 8, 1, 8]), torch.tensor([0, 0, 1, 1, 1, 1])
    baseline = fit_composition(z, batch, torch.tensor([[1.0], [2.0]]))
    assert composition_baseline(z, batch, 2, baseline) == pytest.approx(torch.tensor([[1.0], [2.0]]))


@pytest.mark.parametrize("number", [1, 7, 9])
def test_unknown_element_is_named(number: int) -> None:
    baseline = {"atomic_numbers": [6, 8], "coefficients": [[1.0, 1.0]], "intercept": [0.0]}
    z, batch = torch.tensor([6, number]), torch.tensor([0, 1])
    with pytest.raises(DataError, match=f"graph 1 of the batch: element with atomic number {number} is not"):
        composition_baseline(z, batch, 2, baseline)


def molecules(seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Atoms of H, C and O whose energy has a product of the counts, so that a sum cannot explain it."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, 6, (count, 3), generator=generator)
    z = torch.tensor([1, 6, 8]).repeat(count).repeat_interleave(counts.flatten())
    batch = torch.arange(count).repeat_interleave(counts.sum(dim=1))
    y = counts.double() @ torch.tensor([-1.0, -38.0, -75.0], dtype=torch.float64)
    return z, batch, (y + 2.0 * counts[:, 0] * counts[:, 2])[:, None]


def rmse(baseline: dict, z: torch.Tensor, batch: torch.Tensor, y: torch.Tensor) -> float:
    return float(((composition_baseline(z, batch, len(y), baseline) - y) ** 2).mean().sqrt())


def test_network_learns_what_a_sum_cannot() -> None:
    fitted, unseen = molecules(0, 400), molecules(1, 200)
    linear, network = (fit_composition(*fitted, kind=kind) for kind in ("linear", "mlp"))
    assert rmse(linear, *unseen) > 3.0
    assert rmse(network, *unseen) < 0.25 * rmse(linear, *unseen)
    assert {name: network[name] for name in linear} == linear
    # What remains is centred, as after the linear fit.
    z, batch, y = fitted
    rest = y - composition_baseline(z, batch, len(y), network)
    assert abs(float(rest.mean())) < 0.02 * float(y.std())


def test_network_is_json_and_the_same_again() -> None:
    fitted = molecules(0, 50)
    before = torch.get_rng_state()
    first, second = (fit_composition(*fitted, kind="mlp") for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)
    values = composition_baseline(fitted[0], fitted[1], 50, first)
    assert values.dtype == torch.float64
    assert not values.requires_grad


def test_network_of_several_targets_does_not_mind_one_that_is_linear() -> None:
    z, batch, y = molecules(0, 100)
    counts = element_counts(z, batch, 100, [1, 6, 8])
    linear = y - 2.0 * counts[:, :1] * counts[:, 2:]
    baseline = fit_composition(z, batch, torch.cat([linear, y], dim=1), kind="mlp")
    found = composition_baseline(z, batch, 100, baseline)
    assert found[:, :1] == pytest.approx(linear, rel=1e-9)
    assert ((found[:, 1:] - y) ** 2).mean().sqrt() < 2.0


def test_order_of_atoms_and_molecules_does_not_matter() -> None:
    z, batch, y = molecules(0, 60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    atoms = torch.argsort(torch.argsort(order)[batch], stable=True)
    first = fit_composition(z, batch, y, kind="mlp")
    second = fit_composition(z[atoms], torch.argsort(order)[batch][atoms], y[order], kind="mlp")
    values = [composition_baseline(z, batch, 60, one) for one in (first, second)]
    # Sums in another order differ by rounding, which 1000 steps of Adam let grow.
    torch.testing.assert_close(*values, rtol=0, atol=1e-3 * float(y.std()))


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be one of linear, mlp, got 'forest'"):
        fit_composition(Z, BATCH, torch.zeros(4, 1), kind="forest")
