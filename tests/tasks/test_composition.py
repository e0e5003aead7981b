from __future__ import annotations

import pytest
import torch

from geograph.errors import DataError
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
