"""The choice of the strength: at a small size, spectra tell nothing and scattering coefficients much."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from geograph.sphere.scattering_plan import ScatteringPlan
from pipelines.cmb_strength import linear_accuracy, main, measure, network_accuracy, split


def test_split_is_a_partition_with_equal_shares() -> None:
    label = np.arange(50) % 2
    train, test = split(label, 3)
    assert (len(train), len(test)) == (40, 10)
    assert sorted([*train, *test]) == list(range(50))
    assert label[test].sum() == 5
    assert not np.array_equal(train, split(label, 4)[0])


@pytest.mark.parametrize("accuracy", [linear_accuracy, network_accuracy])
def test_classifiers_see_a_difference_of_spectra(accuracy: object) -> None:
    """Positive control: without matched spectra both are right."""
    label = np.arange(100) % 2
    harmonic = torch.randn(100, 1, 64, generator=torch.Generator().manual_seed(0))
    harmonic[:, :, 16:] *= torch.from_numpy(1.0 + label).float()[:, None, None]
    assert accuracy(harmonic, label, 0) > 0.9  # type: ignore[operator]


def test_scattering_sees_what_spectra_do_not() -> None:
    """120 + 120 maps at L = 32; the scatter of an accuracy over 5 splits of 48 maps is 0.07 at most each."""
    result = measure(0.3, ScatteringPlan(32, 1), 120, num_splits=5, seed=0)
    for kind in ("linear", "network"):
        assert abs(result[f"without_scattering_{kind}_accuracy"] - 0.5) < 0.15
        assert result[f"with_scattering_{kind}_accuracy"] > 0.85


def test_command_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "strength.json"
    main(
        strengths="0.1,0.2",
        bandlimit=8,
        smallest_scale=0,
        oversampling=1.0,
        num_per_class=10,
        num_splits=2,
        transfer="expectation",
        seed=0,
        num_workers=1,
        out=out,
    )
    figures = json.loads(out.read_text())
    assert [row["strength"] for row in figures["rows"]] == [0.1, 0.2]
    assert "accuracy, L = 8, 10 + 10 maps" in capsys.readouterr().out
