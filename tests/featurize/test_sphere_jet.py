from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from scipy.special import eval_legendre

from geograph.algebra.harmonics import power_spectrum
from geograph.algebra.minkowski import boost, random_lorentz
from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError, DataError
from geograph.featurize.sphere_jet import beam_directions, jet_harmonic, jet_sphere, rest_frame
from geograph.readers.jetclass import read_jetclass
from geograph.readers.top_tagging import read_top_tagging
from geograph.records import Jet
from geograph.sphere.pointwise import real_harmonics

EPS = np.finfo(np.float64).eps


def _p4(num: int = 40, seed: int = 0, mass: float = 0.0) -> np.ndarray:
    """Constituents within 0.4 of an axis, energies between a tenth and some hundred GeV."""
    rng = np.random.default_rng(seed)
    direction = np.array([0.6, 0.0, 0.8]) + 0.3 * rng.standard_normal((num, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    momentum = direction * np.exp(rng.uniform(-2, 5, num))[:, None]
    energy = np.sqrt((momentum**2).sum(axis=1) + (mass * rng.uniform(0, 1, num)) ** 2)
    return np.concatenate([energy[:, None], momentum], axis=1)


def _spectrum(p4: np.ndarray, **options) -> np.ndarray:
    return power_spectrum(torch.from_numpy(jet_harmonic(p4, bandlimit=16, **options))).numpy()


def _transformed(p4: np.ndarray, seed: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    return p4 @ random_lorentz(generator, 2.0, proper=True).numpy().T


@pytest.mark.parametrize("mass", [0.0, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_spectrum_is_lorentz_invariant(seed: int, mass: float):
    p4 = _p4(seed=seed, mass=mass)
    spectrum = _spectrum(p4, channels=("energy", "count", "mass"))
    np.testing.assert_allclose(
        _spectrum(_transformed(p4, seed), channels=("energy", "count", "mass")),
        spectrum,
        rtol=1e-10,
        atol=1e-12,
    )
    # Negative control: the energies in the frame of the record are not.
    here, there = rest_frame(p4), rest_frame(_transformed(p4, seed))
    np.testing.assert_allclose(there.energy, here.energy, rtol=1e-10)
    assert (
        abs(
            _transformed(p4, seed)[0, 0] / _transformed(p4, seed)[:, 0].sum() / (p4[0, 0] / p4[:, 0].sum())
            - 1
        )
        > 1e-3
    )


def test_transformed_jets_have_rotated_maps():
    p4 = _p4(mass=1.0)
    moved = _transformed(p4, 5)
    here, there = rest_frame(p4).direction, rest_frame(moved).direction
    left, _, right = np.linalg.svd(there.T @ here)
    wigner = left @ right
    np.testing.assert_allclose(here @ wigner.T, there, atol=1e-12)
    assert np.linalg.det(wigner) == pytest.approx(1.0)
    turned = rotate(torch.from_numpy(jet_harmonic(p4, bandlimit=20)), torch.from_numpy(wigner)).numpy()
    np.testing.assert_allclose(jet_harmonic(moved, bandlimit=20), turned, atol=1e-12)


def test_a_rotation_rotates_and_a_boost_along_the_jet_does_nothing():
    p4, matrix = _p4(), np.eye(4)
    rotation = random_rotation(torch.Generator().manual_seed(3), 1)[0]
    matrix[1:, 1:] = rotation.numpy()
    here = torch.from_numpy(jet_harmonic(p4, bandlimit=12))
    np.testing.assert_allclose(
        jet_harmonic(p4 @ matrix.T, bandlimit=12), rotate(here, rotation).numpy(), atol=1e-13
    )
    along = boost(torch.from_numpy(p4[:, 1:].sum(axis=0)), 1.3).numpy()
    np.testing.assert_allclose(jet_harmonic(p4 @ along.T, bandlimit=12), here.numpy(), atol=1e-12)


def test_moments_of_fox_and_wolfram():
    frame = rest_frame(_p4())
    degree = np.arange(16)
    spectrum = _spectrum(_p4(), smoothing=0.0)[0]
    cosine = np.clip(frame.direction @ frame.direction.T, -1, 1)
    moments = [frame.energy @ eval_legendre(number, cosine) @ frame.energy for number in degree]
    np.testing.assert_allclose(4 * np.pi * spectrum, moments, atol=1e-12)
    assert moments[0] == pytest.approx(1.0, abs=1e-14)
    assert abs(moments[1]) < 1e-14
    smoothed = _spectrum(_p4(), smoothing=0.2)[0]
    np.testing.assert_allclose(smoothed, spectrum * np.exp(-degree * (degree + 1) * 0.04), rtol=1e-12)
    np.testing.assert_array_equal(_spectrum(_p4()), _spectrum(_p4(), smoothing=np.pi / 16))


def test_soft_and_collinear_radiation_changes_energies_not():
    p4 = _p4()
    options = {"bandlimit": 24, "channels": ("energy", "count")}
    plain = jet_harmonic(p4, **options)
    share = np.array([0.3, 0.7])
    split = np.concatenate([p4[1:], share[:, None] * p4[0]])
    soft = np.concatenate([p4, [[1e-13, 0, 0, 1e-13]], np.zeros((3, 4))])
    for more in (split, soft):
        found = jet_harmonic(more, **options)
        np.testing.assert_allclose(found[0], plain[0], atol=1e-12)
        assert np.abs(found[1] - plain[1]).max() > 1e-3  # the count is not safe
    moved = jet_harmonic(np.concatenate([p4, [[1.0, 0.6, 0, 0.8]]]), **options)
    assert np.abs(moved[0] - plain[0]).max() > 1e-6


def test_energies_and_balance_in_the_rest_frame():
    p4 = _p4(mass=2.0)
    frame = rest_frame(p4)
    total = p4.sum(axis=0)
    assert frame.mass_gev == pytest.approx(np.sqrt(total[0] ** 2 - (total[1:] ** 2).sum()), rel=1e-10)
    matrix = boost(
        torch.from_numpy(total[1:]), -float(np.arctanh(np.linalg.norm(total[1:]) / total[0]))
    ).numpy()
    boosted = p4 @ matrix.T
    np.testing.assert_allclose(boosted.sum(axis=0)[1:], 0.0, atol=1e-9)
    np.testing.assert_allclose(frame.energy, boosted[:, 0] / frame.mass_gev, rtol=1e-9)
    length = np.linalg.norm(boosted[:, 1:], axis=1, keepdims=True)
    np.testing.assert_allclose(frame.direction, boosted[:, 1:] / length, atol=1e-8)
    mass = jet_harmonic(p4, bandlimit=3, channels=("mass",))
    assert mass[0, 0] / np.sqrt(4 * np.pi) == pytest.approx(np.log(frame.mass_gev))
    assert not mass[0, 1:].any()


def test_strongly_boosted_light_jets():
    """Energy fractions of a jet with gamma = 10^4 keep digits that E^2 - p^2 has lost."""
    p4 = _p4(20)
    rest = p4 @ boost(torch.from_numpy(p4[:, 1:].sum(axis=0)), -3.0).numpy().T
    axis = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)
    boosted = rest @ boost(axis, float(np.arccosh(1e4))).numpy().T
    boosted[:, 0] = np.linalg.norm(boosted[:, 1:], axis=1)
    here, there = rest_frame(rest), rest_frame(boosted)
    gamma = boosted[:, 0].sum() / there.mass_gev
    assert gamma > 5e3
    np.testing.assert_allclose(there.energy, here.energy, rtol=100 * gamma * EPS, atol=100 * gamma * EPS)
    squared = boosted.sum(axis=0) @ (np.array([1.0, -1, -1, -1]) * boosted.sum(axis=0))
    assert abs(np.sqrt(squared) / here.mass_gev - 1) > 10 * abs(there.mass_gev / here.mass_gev - 1)


def test_beams_transform_with_boosts_along_them():
    p4 = _p4()
    matrix = boost(torch.tensor([0.0, 0, 1], dtype=torch.float64), 0.8).numpy()
    both = ("energy", "beams")
    spectrum = _spectrum(p4, channels=both)
    moved = p4 @ matrix.T
    np.testing.assert_allclose(_spectrum(moved, channels=both), spectrum, rtol=1e-10, atol=1e-13)
    # ... and together with the energies: the angles between beams and constituents stay.
    cosines = [rest_frame(p).direction @ beam_directions(rest_frame(p)).T for p in (p4, moved)]
    np.testing.assert_allclose(cosines[0], cosines[1], atol=1e-12)
    sideways = p4 @ boost(torch.tensor([1.0, 0, 0], dtype=torch.float64), 0.8).numpy().T
    assert np.abs(_spectrum(sideways, channels=both)[1] - spectrum[1]).max() > 1e-3
    mirrored = jet_harmonic(p4 * np.array([1, 1, 1, -1.0]), bandlimit=8, channels=("beams",))
    assert mirrored[0, 0] == pytest.approx(1 / np.sqrt(4 * np.pi))


def test_a_constituent_at_rest_counts_in_all_directions():
    p4 = np.array([[1.0, 0, 0, 1.0], [1.0, 0, 0, -1.0], [5.0, 0, 0, 0]])
    harmonic = jet_harmonic(p4, bandlimit=4, smoothing=0.0)
    assert harmonic[0, 0] == pytest.approx(1 / np.sqrt(4 * np.pi))
    without = jet_harmonic(p4[:2], bandlimit=4, smoothing=0.0)
    np.testing.assert_allclose(harmonic[0, 1:], without[0, 1:] * 2 / 7, atol=1e-15)


def test_fields():
    jet = Jet(_p4(), label=1, id="jet7")
    fields = jet_sphere(jet, bandlimit=10, channels=("energy", "beams"))
    assert set(fields) == {"harmonic", "y"}
    assert (fields["harmonic"].shape, fields["harmonic"].dtype) == ((1, 2, 100), np.float32)
    assert (int(fields["y"]), fields["y"].dtype) == (1, np.int64)
    assert "y" not in jet_sphere(Jet(_p4()), bandlimit=3)
    few = jet_sphere(jet, bandlimit=10, max_constituents=5)["harmonic"]
    np.testing.assert_array_equal(few, jet_sphere(Jet(_p4()[:5]), bandlimit=10)["harmonic"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"channels": ("energy", "charge")},
            "`channels` must be distinct names among energy, count, beams, mass,",
        ),
        ({"channels": ()}, "got none"),
        ({"channels": ("energy", "energy")}, "got energy, energy"),
        ({"smoothing": -0.1}, "`smoothing` must be a finite number of at least 0, got -0.1"),
        ({"smoothing": np.inf}, "`smoothing` must be a finite number of at least 0, got inf"),
        ({"smoothing": np.nan}, "`smoothing` must be a finite number of at least 0, got nan"),
        ({"bandlimit": 0}, "`bandlimit` must be at least 1, got 0"),
        ({"max_constituents": 1}, "`max_constituents` must be at least 2, got 1"),
    ],
)
def test_wrong_options(options: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        jet_sphere(Jet(_p4()), **({"bandlimit": 4} | options))
    if "max_constituents" not in options:
        with pytest.raises(ConfigError, match=message):
            jet_harmonic(_p4(), **({"bandlimit": 4} | options))


def test_a_beam_of_any_width():
    wide = jet_harmonic(_p4(), bandlimit=6, smoothing=1e200)
    np.testing.assert_array_equal(wide, jet_harmonic(_p4(), bandlimit=6, smoothing=50.0))
    assert wide[0, 0] > 0
    assert not wide[0, 1:].any()


def test_large_jets_are_done_in_blocks(monkeypatch):
    p4, options = _p4(num=300, mass=1.0), {"bandlimit": 12, "channels": ("energy", "count", "beams", "mass")}
    expected, frame = jet_harmonic(p4, **options), rest_frame(p4)
    sizes = []

    def watched(directions: np.ndarray, bandlimit: int) -> np.ndarray:
        sizes.append(len(directions))
        return real_harmonics(directions, bandlimit)

    monkeypatch.setattr("geograph.featurize.sphere_jet.real_harmonics", watched)
    np.testing.assert_array_equal(jet_harmonic(p4, **options), expected)
    assert sizes == [300, 300, 2]
    sizes.clear()
    monkeypatch.setattr("geograph.featurize.sphere_jet._BLOCK_BYTES", 128 * 8 * 12**2)
    np.testing.assert_allclose(jet_harmonic(p4, **options), expected, rtol=1e-12, atol=1e-14)
    assert sizes == [128, 128, 44, 128, 128, 44, 2]
    np.testing.assert_allclose(rest_frame(p4).energy, frame.energy, rtol=1e-13)


def test_memory_of_large_jets_is_bounded(monkeypatch):
    p4 = _p4(num=1500)
    monkeypatch.setattr("geograph.featurize.sphere_jet._BLOCK_BYTES", 2**20)
    tracemalloc.start()
    try:
        jet_harmonic(p4, bandlimit=64)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20  # in one block more than 50
    finally:
        tracemalloc.stop()


def test_jets_without_a_rest_frame():
    with pytest.raises(DataError, match="record lone: 1 constituent with a momentum, at least 2 are needed"):
        jet_sphere(Jet(np.array([[5.0, 3, 0, 4], [0, 0, 0, 0]]), id="lone"), bandlimit=4)
    with pytest.raises(DataError, match="record none: no constituent with a momentum, at least 2 are needed"):
        jet_sphere(Jet(np.zeros((3, 4)), id="none"), bandlimit=4)
    light = np.array([[50.0, 0, 0, 50.0], [50.0, 0.1, 0, np.sqrt(2500 - 0.01)]])
    with pytest.raises(DataError, match="record light: the mass of the jet is 0.1 GeV, at least 1 is needed"):
        jet_sphere(Jet(light, id="light"), bandlimit=4)
    with pytest.raises(DataError, match="the mass of the jet is 0 GeV"):
        jet_sphere(Jet(light[[0, 0]], id="narrow"), bandlimit=4)
    with pytest.raises(
        DataError, match="record own: beams asked for, but this jet was transformed on its own"
    ):
        jet_sphere(Jet(_p4(), id="own", has_beam_frame=False), bandlimit=4, channels=("beams",))


def test_real_jets(shared_data):
    jets = list(read_top_tagging(shared_data / "toptag" / "toptag30_train.npz", has_beam_frame=False))[::150]
    for jet in jets:
        frame = rest_frame(jet.p4)
        assert 1 < frame.mass_gev < 400
        assert frame.energy.sum() == pytest.approx(1.0, abs=1e-13)
        # Stored in float32 and massless: what is left of the degree 1 is rounding.
        assert np.linalg.norm(frame.energy @ frame.direction) < 1e-3
        assert np.isfinite(jet_sphere(jet, bandlimit=16)["harmonic"]).all()
    lab = list(read_jetclass(shared_data / "toptag" / "JetClassII_example.parquet"))[:20]
    for jet in lab:
        spectrum = _spectrum(jet.p4, channels=("energy", "beams"))
        turn = boost(torch.tensor([0.0, 0, 1], dtype=torch.float64), 1.0).numpy()
        np.testing.assert_allclose(
            _spectrum(jet.p4 @ turn.T, channels=("energy", "beams")), spectrum, rtol=1e-7, atol=1e-9
        )
