"""The network on power spectra."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from model_suite import ModelSuite
from strategies import make_batch

from geograph.algebra.harmonics import degrees, power_spectrum
from geograph.errors import ConfigError
from geograph.models.power_spectrum import PowerSpectrumGraph, PowerSpectrumTrunk, RunningStandardization


class TestPowerSpectrum(ModelSuite):
    name = "power-spectrum"
    params = {"num_channels": 3, "bandlimit": 6, "num_outputs": 2, "num_hidden": [32]}
    kind = "sphere"

    def condition(self, batch: Any) -> float:
        """Take the largest power over the smallest: the logarithm divides an error of one by the other."""
        power = power_spectrum(batch.harmonic)
        return float(power.max() / power.min())


class TestPowerSpectrumOfAtoms(TestPowerSpectrum):
    params = {
        "num_channels": 3,
        "bandlimit": 6,
        "num_outputs": 1,
        "head": "atoms",
        "num_hidden": [16, 8, 16],
        "input_mean": [0.1, 0.0, 0.2],
        "input_scale": [1.0, 0.5, 2.0],
    }
    kind = "atom_spheres"


def test_sees_nothing_but_the_spectrum() -> None:
    """Two fields with other phases and the same spectra give the same output."""
    batch = make_batch("sphere")
    model = PowerSpectrumGraph(num_channels=3, bandlimit=6, num_outputs=2).double().eval()
    before = model(batch)
    sign = torch.where(torch.rand(36, generator=torch.Generator().manual_seed(0)) < 0.5, -1.0, 1.0)
    batch.harmonic = batch.harmonic * sign.double()
    assert torch.equal(model(batch), before)
    batch.harmonic = batch.harmonic * 1.1
    assert not torch.allclose(model(batch), before)


def test_features_by_hand() -> None:
    trunk = PowerSpectrumTrunk(1, 2, floor=0.5).double().eval()
    out = trunk(torch.tensor([[[2.0, 1.0, 2.0, 3.0]]], dtype=torch.float64))
    expected = torch.tensor([[4.5, 14 / 3 + 0.5]], dtype=torch.float64).log()
    assert torch.allclose(out, expected, rtol=1e-14)
    assert degrees(2).tolist() == [0, 1, 1, 1]


def test_empty_degrees_are_finite_and_silent() -> None:
    """Monopole and dipole of a CMB map are 0: their features must not move."""
    trunk = PowerSpectrumTrunk(1, 4).train()
    harmonic = torch.randn(64, 1, 16, generator=torch.Generator().manual_seed(0))
    harmonic[..., :4] = 0
    out = trunk(harmonic)
    assert bool((out[:, :2] == 0).all())
    assert float((out[:, 2:].std(dim=0) - 1).abs().max()) < 1e-3


@pytest.mark.parametrize("parts", [[100], [1, 99], [30, 1, 69]])
def test_standardisation_joins_batches(parts: list[int]) -> None:
    rows = 3.0 + 2.0 * torch.randn(100, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layer = RunningStandardization(4).double().train()
    for part in rows.split(parts):
        layer(part)
    out = layer.eval()(rows)
    expected = (rows - rows.mean(dim=0)) / rows.std(dim=0)
    assert torch.allclose(out, expected, atol=1e-12)
    assert float(layer.count) == 100


def test_standardisation_before_training_and_of_no_rows() -> None:
    layer, rows = RunningStandardization(2), torch.ones(3, 2)
    assert torch.equal(layer.eval()(rows), rows)
    assert layer.train()(rows[:0]).shape == (0, 2)
    assert float(layer.count) == 0


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"`floor` must be positive, got 0\.0"):
        PowerSpectrumTrunk(1, 4, floor=0.0)
    with pytest.raises(ConfigError, match="`num_channels` and `bandlimit` must be at least 1, got 0 and 4"):
        PowerSpectrumTrunk(0, 4)
