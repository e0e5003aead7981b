from __future__ import annotations

import numpy as np
import pytest
import torch

from geograph.algebra.harmonics import packed_from_real
from geograph.errors import ConfigError, DataError
from geograph.sphere.healpix import (
    UNSEEN,
    check_pixels,
    from_harmonic,
    num_side,
    read_healpix,
    to_harmonic,
    write_healpix,
)

healpy = pytest.importorskip("healpy")
pytest.importorskip("ducc0")
fits = pytest.importorskip("astropy.io.fits")


@pytest.fixture
def harmonic() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 24**2))


def test_synthesis_and_analysis_are_those_of_healpy(harmonic):
    packed = packed_from_real(torch.from_numpy(harmonic)).numpy()
    pixels = from_harmonic(harmonic, 16)
    expected = np.stack([healpy.alm2map(row, 16, lmax=23) for row in packed])
    assert np.abs(pixels - expected).max() < 1e-12
    found = packed_from_real(torch.from_numpy(to_harmonic(pixels, 20))).numpy()
    expected = np.stack([healpy.map2alm(row, lmax=19, iter=3) for row in pixels])
    assert np.abs(found - expected).max() < 1e-12


def test_iterations_reduce_the_error(harmonic):
    pixels = from_harmonic(harmonic, 16)
    errors = [np.abs(to_harmonic(pixels, 24, count) - harmonic).max() for count in (0, 1, 3)]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-4


@pytest.mark.parametrize("order", ["ring", "nested"])
def test_files_come_back_in_ring_order(harmonic, tmp_path, order):
    pixels = from_harmonic(harmonic, 4)
    write_healpix(tmp_path / "map.fits", pixels, order)
    write_healpix(tmp_path / "map.fits", pixels, order)
    assert np.array_equal(read_healpix(tmp_path / "map.fits"), pixels)
    assert np.array_equal(read_healpix(tmp_path / "map.fits", order), pixels)
    with pytest.raises(
        DataError, match=f"map.fits: the pixels are in {order} order, but `order` is .*`source.order`"
    ):
        read_healpix(tmp_path / "map.fits", "ring" if order == "nested" else "nested")


def test_files_that_do_not_tell_their_order(tmp_path):
    path = tmp_path / "map.fits"
    write_healpix(path, np.arange(48.0)[None])
    with fits.open(path, mode="update") as table:
        del table[1].header["ORDERING"]
    with pytest.raises(
        DataError,
        match="order of the HEALPix pixels is unknown: it has no keyword ORDERING; pass `order` "
        r"\(in params.yaml: `source.order`\)",
    ):
        read_healpix(path)
    assert np.array_equal(read_healpix(path, "ring"), np.arange(48.0)[None])
    assert not np.array_equal(read_healpix(path, "nested"), np.arange(48.0)[None])
    with fits.open(path, mode="update") as table:
        table[1].header["ORDERING"] = "SPIRAL"
    with pytest.raises(DataError, match="unknown: its keyword ORDERING is 'SPIRAL'"):
        read_healpix(path)


def test_nested_order_needs_a_power_of_two(tmp_path):
    values, path = np.arange(108.0)[None], tmp_path / "map.fits"
    with pytest.raises(DataError, match="this map has N_side 3; write it in ring order"):
        write_healpix(path, values, "nested")
    assert not path.exists()
    write_healpix(path, values, "ring")
    assert np.array_equal(read_healpix(path), values)
    with fits.open(path, mode="update") as table:
        del table[1].header["ORDERING"]
    with pytest.raises(DataError, match="map.fits: pixels in nested order .* N_side 3; `order` .* is wrong"):
        read_healpix(path, "nested")
    assert np.array_equal(read_healpix(path, "ring"), values)
    with fits.open(path, mode="update") as table:
        table[1].header["ORDERING"] = "NESTED"
    with pytest.raises(DataError, match="map.fits: .* N_side 3; its keyword ORDERING is wrong"):
        read_healpix(path)


@pytest.mark.parametrize("order", ["NESTED", "nest", ""])
def test_unknown_orders_are_refused(tmp_path, order):
    write, read = (getattr(made, "__wrapped__", made) for made in (write_healpix, read_healpix))
    with pytest.raises(ConfigError, match=f"`source.order`.* must be ring or nested, got '{order}'"):
        write(tmp_path / "map.fits", np.zeros((1, 48)), order)
    assert not (tmp_path / "map.fits").exists()
    write_healpix(tmp_path / "map.fits", np.zeros((1, 48)))
    with pytest.raises(ConfigError, match=f"`source.order`.* must be ring or nested, got '{order}'"):
        read(tmp_path / "map.fits", order)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_allocated(monkeypatch):
    with pytest.raises(ConfigError, match="1 HEALPix maps of N_side 1000000 .* GiB are free .*lower N_side"):
        from_harmonic(np.zeros(4), 1_000_000)
    monkeypatch.setattr("geograph.sphere.operators.available_bytes", lambda device: 1 << 20)
    few, many = np.zeros((2, 12 * 8**2)), np.zeros((40, 12 * 128**2), dtype=np.float32)
    assert not to_harmonic(few, 4).any()
    with pytest.raises(ConfigError, match="a transform of 40 HEALPix maps of N_side 128 and band-limit 4"):
        to_harmonic(many, 4)


def test_broken_files_are_named(tmp_path):
    with pytest.raises(DataError, match="absent.fits: no such file"):
        read_healpix(tmp_path / "absent.fits")
    (tmp_path / "text.fits").write_text("no map")
    with pytest.raises(DataError, match="text.fits: not a readable HEALPix map"):
        read_healpix(tmp_path / "text.fits")
    write_healpix(tmp_path / "map.fits", np.zeros((1, 12 * 64**2)))
    content = (tmp_path / "map.fits").read_bytes()
    (tmp_path / "cut.fits").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cut.fits: not a readable HEALPix map"):
        read_healpix(tmp_path / "cut.fits")
    fits.BinTableHDU.from_columns([fits.Column("T", "D", array=np.zeros(50))]).writeto(tmp_path / "odd.fits")
    with pytest.raises(DataError, match=r"odd.fits: (not a readable HEALPix map|a HEALPix map has 12)"):
        read_healpix(tmp_path / "odd.fits", "ring")


def test_pixels_without_value_are_counted():
    values = np.zeros((2, 48))
    check_pixels(values)
    values[0, 3] = UNSEEN
    with pytest.raises(DataError, match="1 of 96 pixels are marked as unseen"):
        check_pixels(values)
    values[1, :2] = np.nan, np.inf
    with pytest.raises(DataError, match="2 of 96 pixels are not finite"):
        to_harmonic(values, 4)


def test_wrong_sizes_are_refused():
    assert [num_side(12 * nside**2) for nside in (1, 3, 64)] == [1, 3, 64]
    with pytest.raises(DataError, match=r"a HEALPix map has 12 N_side\^2 pixels, this one has 50"):
        to_harmonic(np.zeros(50), 4)
    with pytest.raises(DataError, match="this one has 0"):
        num_side(0)
    with pytest.raises(ConfigError, match="`bandlimit` must be from 1 to 6 for N_side 2, got 7"):
        to_harmonic(np.zeros(48), 7)
    with pytest.raises(ConfigError, match="`nside` must be at least 1, got 0"):
        from_harmonic(np.zeros(4), 0)
