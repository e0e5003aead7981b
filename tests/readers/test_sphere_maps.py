from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geograph.errors import ConfigError, DataError
from geograph.readers.sphere_maps import read_sphere_maps, sphere_map_classes, sphere_map_ids
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import synthesis


@pytest.fixture
def harmonic() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 12**2))


@pytest.fixture
def folder(tmp_path, harmonic) -> Path:
    values = synthesis(torch.from_numpy(harmonic), make_grid("dh", 12)).numpy()
    for name in ("waves/train/a", "waves/test/b", "noise/train/c"):
        file = tmp_path / f"{name}.npy"
        file.parent.mkdir(parents=True)
        np.save(file, values if name[-1] != "b" else values[0])
    (tmp_path / "waves" / "notes.txt").write_text("no map")
    return tmp_path


def test_folder_gives_classes_splits_and_coefficients(folder, harmonic):
    maps = list(read_sphere_maps(folder, bandlimit=12))
    assert sphere_map_classes(folder) == ["noise", "waves"]
    assert [record.id for record in maps] == sphere_map_ids(folder)
    assert sphere_map_ids(folder) == ["noise/train/c.npy", "waves/test/b.npy", "waves/train/a.npy"]
    assert [record.label for record in maps] == [0, 1, 1]
    assert np.abs(maps[0].harmonic - harmonic).max() < 1e-12
    assert maps[1].harmonic.shape == (1, 144)
    low = next(read_sphere_maps(folder, bandlimit=5, split="test"))
    assert low.id == "waves/test/b.npy"
    assert np.abs(low.harmonic - harmonic[:1, :25]).max() < 1e-12
    assert next(read_sphere_maps(folder, bandlimit=5, classes=["waves", "x", "noise"])).label == 2


@pytest.mark.parametrize("kind", ["gl", "dh", "soft", "mw"])
def test_a_single_file_on_every_grid(tmp_path, harmonic, kind):
    values = synthesis(torch.from_numpy(harmonic), make_grid(kind, 12)).numpy()
    np.save(tmp_path / "map.npy", values.astype(np.float32))
    (record,) = read_sphere_maps(tmp_path / "map.npy", bandlimit=12, grid=kind)
    assert (record.id, record.label) == ("map.npy", None)
    assert np.abs(record.harmonic - harmonic).max() < 1e-5


def test_healpix_files(tmp_path, harmonic):
    healpix = pytest.importorskip("geograph.sphere.healpix")
    pytest.importorskip("healpy")
    pytest.importorskip("ducc0")
    healpix.write_healpix(tmp_path / "map.fits", healpix.from_harmonic(harmonic, 16), "nested")
    (record,) = read_sphere_maps(tmp_path, bandlimit=12)
    assert np.abs(record.harmonic - harmonic).max() < 1e-5
    with pytest.raises(
        DataError, match="record map.fits: a HEALPix map of 3072 pixels has band-limit 48 at most"
    ):
        list(read_sphere_maps(tmp_path, bandlimit=49))
    with pytest.raises(DataError, match="but `order` is ring"):
        list(read_sphere_maps(tmp_path, bandlimit=4, order="ring"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((24, 23)), r"on the grid dh with 24 rings must have shape \(24, 24\), got \(24, 23\)"),
        (np.zeros((1, 1)), r"must have shape \(2, 2\), got \(1, 1\)"),
        (np.zeros(24), r"must be real numbers of shape \(nlat, nlon\) or \(channels, nlat, nlon\), got"),
        (np.zeros((4, 4), np.complex128), "must be real numbers"),
        (np.zeros((0, 2)), r"a map without pixels, of shape \(0, 2\); gl: \(L, 2 L\)"),
        (np.zeros((0, 0)), r"a map without pixels, of shape \(0, 0\)"),
        (np.zeros((0, 5)), r"a map without pixels, of shape \(0, 5\)"),
        (np.zeros((2, 0, 5)), r"a map without pixels, of shape \(2, 0, 5\)"),
        (np.zeros((0, 24, 24)), r"a map without pixels, of shape \(0, 24, 24\)"),
        (np.zeros((8, 8)), "a map of 8 rings on the grid dh has band-limit 4, not 12; lower `bandlimit`"),
        (np.full((24, 24), np.nan), "576 of 576 pixels are not finite"),
        (np.full((24, 24), -1.6375e30), "576 of 576 pixels are marked as unseen"),
    ],
)
def test_broken_maps_are_named_and_listed(folder, values, message):
    np.save(folder / "bad.npy", values)
    with pytest.raises(DataError, match=f"record bad.npy: .*{message}"):
        list(read_sphere_maps(folder, bandlimit=12))
    errors: list[DataError] = []
    assert len(list(read_sphere_maps(folder, bandlimit=12, on_error=errors.append))) == 3
    assert [error.record for error in errors] == ["bad.npy"]


def test_unreadable_files_and_unknown_classes(folder):
    (folder / "cut.npy").write_bytes((folder / "waves/test/b.npy").read_bytes()[:200])
    with pytest.raises(DataError, match="record cut.npy: not a readable .npy file"):
        list(read_sphere_maps(folder, bandlimit=12))
    (folder / "cut.npy").write_bytes(b"")
    with pytest.raises(DataError, match="record cut.npy: not a readable .npy file"):
        list(read_sphere_maps(folder, bandlimit=12))
    with pytest.raises(DataError, match="unknown class 'waves'; known classes: noise"):
        list(read_sphere_maps(folder, bandlimit=12, classes=["noise"], split="test"))


@pytest.mark.parametrize("fault", ["archive", "cut archive", "open bracket", "leading zero", "huge"])
def test_files_that_are_no_arrays_are_named_and_listed(folder, fault):
    array = (folder / "waves/test/b.npy").read_bytes()
    bad = folder / "bad.npy"
    if "archive" in fault:
        with bad.open("wb") as stream:
            np.savez(stream, map=np.zeros((24, 24)))
        if fault == "cut archive":
            bad.write_bytes(bad.read_bytes()[:100])
    elif fault == "open bracket":
        bad.write_bytes(array.replace(b"(24, 24)", b"(24, 24 "))
    elif fault == "leading zero":
        bad.write_bytes(array.replace(b"(24, 24)", b"(24, 04)"))
    else:
        bad.write_bytes(array.replace(b"(24, 24), }" + 10 * b" ", b"(24, 24" + 10 * b"0" + b"), }"))
    message = "an archive of arrays" if fault == "archive" else "not a readable .npy file"
    with pytest.raises(DataError, match=f"record bad.npy: {message}"):
        list(read_sphere_maps(folder, bandlimit=12))
    errors: list[DataError] = []
    assert len(list(read_sphere_maps(folder, bandlimit=12, on_error=errors.append))) == 3
    assert [error.record for error in errors] == ["bad.npy"]


def test_nested_order_of_an_impossible_size_is_named_and_listed(folder):
    fits = pytest.importorskip("astropy.io.fits")
    pytest.importorskip("healpy")
    table = fits.BinTableHDU.from_columns([fits.Column("T", "D", array=np.zeros(108))])
    table.header.update(PIXTYPE="HEALPIX", ORDERING="NESTED", NSIDE=3, INDXSCHM="IMPLICIT")
    table.writeto(folder / "bad.fits")
    errors: list[DataError] = []
    assert len(list(read_sphere_maps(folder, bandlimit=4, on_error=errors.append))) == 3
    assert [error.record for error in errors] == ["bad.fits"]
    assert "need N_side to be a power of two, this map has N_side 3; its keyword ORDERING" in str(errors[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bandlimit": 0}, "`bandlimit` must be at least 1, got 0"),
        ({"bandlimit": 4, "grid": "foo"}, "`grid` must be one of gl, dh, soft, mw, got 'foo'"),
        ({"bandlimit": 4, "order": "RING"}, "`source.order`.* must be ring or nested, got 'RING'"),
    ],
)
def test_wrong_options_stop_the_reading(folder, options, message):
    plain = getattr(read_sphere_maps, "__wrapped__", read_sphere_maps)
    with pytest.raises(ConfigError, match=message):
        list(plain(folder, on_error=lambda error: None, **options))


def test_missing_things_are_named(tmp_path, folder):
    with pytest.raises(DataError, match="no such file or folder"):
        list(read_sphere_maps(tmp_path / "absent", bandlimit=4))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no map found; known files: .fits, .fits.gz, .npy"):
        sphere_map_classes(tmp_path / "empty")
    with pytest.raises(DataError, match="no map of split 'val'"):
        list(read_sphere_maps(folder, bandlimit=4, split="val"))
