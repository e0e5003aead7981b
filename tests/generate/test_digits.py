"""Digits on the sphere: the projection by hand, the parts, and determinism."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from geograph.algebra.harmonics import power_spectrum
from geograph.algebra.wigner import rotate
from geograph.errors import ConfigError
from geograph.generate.digits import HALF_WIDTH, digit_part, generate_digits, projection_matrix
from geograph.layers.s2_correlation import rotations
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import synthesis


def image_back(harmonic: np.ndarray, bandlimit: int) -> np.ndarray:
    """Values near the centres of the 8 x 8 pixels of a digit at the pole."""
    grid = make_grid("gl", 4 * bandlimit)
    values = synthesis(torch.from_numpy(harmonic).double(), grid)[0].numpy()
    place = (2 * np.arange(8) + 1) / 8 - 1
    up, right = -HALF_WIDTH * place[:, None], HALF_WIDTH * place[None, :]
    theta = 2 * np.arctan(np.hypot(up, right))
    phi = np.arctan2(up, right) % (2 * np.pi)
    ring = np.abs(grid.theta.numpy()[:, None, None] - theta).argmin(0)
    column = np.rint(phi / (2 * np.pi) * grid.nlon).astype(int) % grid.nlon
    return values[ring, column]


def test_image_stands_where_it_should() -> None:
    """Read the pixels back from the sphere: right is x, up is y, row 0 is the top."""
    images = load_digits().images / 16
    for record in generate_digits(5, bandlimit=32, seed=0):
        number = int(record.id.split("-")[1])
        assert np.abs(image_back(record.harmonic, 32) - images[number]).mean() < 0.05
        mirrored = np.abs(image_back(record.harmonic, 32) - images[number][:, ::-1]).mean()
        assert mirrored > 0.1


def test_labels_and_parts() -> None:
    labels = load_digits().target
    records = generate_digits(100, bandlimit=4, seed=3, val=0.1, test=0.25)
    assert len({record.id for record in records}) == 100
    assert all(record.label == labels[int(record.id.split("-")[1])] for record in records)
    parts = [digit_part(record) for record in records]
    assert (parts.count("test"), parts.count("val"), parts.count("train")) == (25, 10, 65)
    assert records[0].harmonic.shape == (1, 16)
    assert records[0].harmonic.dtype == np.float32


def test_far_hemisphere_is_empty() -> None:
    record = generate_digits(1, bandlimit=24, seed=0)[0]
    grid = make_grid("gl", 24)
    values = synthesis(torch.from_numpy(record.harmonic).double(), grid)[0]
    behind = grid.theta > 0.6 * math.pi
    assert float(values[behind].abs().max()) < 0.05
    assert float(values[~behind].max()) == pytest.approx(1.0, abs=0.15)


def test_on_the_equator_it_is_the_same_digit_turned() -> None:
    """The pole goes to (-1, 0, 0) and the top of the image to the north."""
    pole, equator = (
        torch.from_numpy(projection_matrix(8, centre).T.copy()) for centre in ("pole", "equator")
    )
    angle = torch.full((1,), math.pi / 2, dtype=torch.float64)
    turn = rotations(2 * angle, angle, angle)[0]
    assert torch.allclose(turn @ torch.eye(3).double()[2], torch.tensor([-1.0, 0, 0]).double(), atol=1e-12)
    assert torch.allclose(turn @ torch.eye(3).double()[1], torch.tensor([0, 0, 1.0]).double(), atol=1e-12)
    # Points are 1/128 of a half circle apart, the kinks of the interpolation 1/11; a quadrature errs by the
    # square of their ratio, (11 / 128)^2 = 7e-3, times a constant below 1.
    assert float((rotate(pole, turn) - equator).abs().max()) < 3e-3 * float(equator.abs().max())


def test_copies_are_rotations_of_training_digits() -> None:
    records = generate_digits(40, bandlimit=8, seed=1, num_copies=2)
    plain = {record.id: record for record in generate_digits(40, bandlimit=8, seed=1)}
    assert len(records) == 40 + 2 * 28
    copies = [record for record in records if "copy" in record.id]
    assert len(copies) == 2 * 28
    assert {digit_part(record) for record in copies} == {"train"}
    for record in records:
        original = plain[record.id.rsplit("-copy", 1)[0]]
        assert record.label == original.label
        before, after = (power_spectrum(torch.from_numpy(r.harmonic)) for r in (original, record))
        assert torch.allclose(before, after, rtol=1e-3, atol=1e-6)
        is_same = np.array_equal(record.harmonic, original.harmonic)
        assert is_same is (record.id == original.id)


def test_same_for_any_number_of_workers() -> None:
    options = {"bandlimit": 6, "seed": 2, "num_copies": 1, "chunk_size": 7}
    one, two = (generate_digits(30, **options, num_workers=workers) for workers in (1, 2))
    assert [record.id for record in one] == [record.id for record in two]
    assert all(np.array_equal(a.harmonic, b.harmonic) for a, b in zip(one, two, strict=True))
    other = generate_digits(30, **{**options, "seed": 4})
    assert [record.id for record in other] != [record.id for record in one]


def test_parameters_are_checked() -> None:
    with pytest.raises(ConfigError, match="`num_digits` must be from 1 to 1797, got 1798"):
        generate_digits(1798, bandlimit=4, seed=0)
    with pytest.raises(ConfigError, match="at least 0, got 0, 100, 0 and 0"):
        generate_digits(bandlimit=0, seed=0)
    with pytest.raises(ConfigError, match="fractions of at most 1 together, got 0.6 and 0.5"):
        generate_digits(bandlimit=4, seed=0, val=0.6, test=0.5)
    with pytest.raises(ConfigError, match="`centre` must be pole or equator, got 'south'"):
        generate_digits(bandlimit=4, seed=0, centre="south")
