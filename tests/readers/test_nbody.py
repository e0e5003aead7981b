from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geograph.errors import DataError
from geograph.readers.nbody import read_nbody

RNG = np.random.default_rng(0)
ARRAYS = {
    "pos": RNG.standard_normal((4, 5, 3)),
    "vel": RNG.standard_normal((4, 5, 3)),
    "charge": RNG.choice([-1.0, 1.0], (4, 5)),
    "pos_target": RNG.standard_normal((4, 5, 3)),
}


@pytest.fixture
def released(tmp_path) -> Path:
    for split in ("train", "valid"):
        for name, shape in (("loc", (3, 49, 3, 5)), ("vel", (3, 49, 3, 5)), ("charges", (3, 5, 1))):
            np.save(tmp_path / f"{name}_{split}_charged5_initvel1small.npy", RNG.standard_normal(shape))
    return tmp_path


def test_npz_layout(tmp_path):
    np.savez(tmp_path / "own.npz", **ARRAYS)
    systems = list(read_nbody(tmp_path / "own.npz"))
    assert [system.id for system in systems] == [f"own-{i:06d}" for i in range(4)]
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(systems[2], name), ARRAYS[name][2])
    assert len(list(read_nbody(tmp_path / "own.npz", max_systems=3))) == 3


def test_npz_without_targets(tmp_path):
    np.savez(tmp_path / "own.npz", **{name: ARRAYS[name] for name in ("pos", "vel", "charge")})
    assert next(read_nbody(tmp_path / "own.npz")).pos_target is None


@pytest.mark.parametrize("suffix", [None, "_charged5_initvel1small"])
def test_released_layout(released, suffix):
    systems = list(read_nbody(released, split="val", suffix=suffix))
    loc = np.load(released / "loc_valid_charged5_initvel1small.npy")
    vel = np.load(released / "vel_valid_charged5_initvel1small.npy")
    charges = np.load(released / "charges_valid_charged5_initvel1small.npy")
    assert systems[1].id == "valid-000001"
    np.testing.assert_array_equal(systems[1].pos, loc[1, 30].T)
    np.testing.assert_array_equal(systems[1].vel, vel[1, 30].T)
    np.testing.assert_array_equal(systems[1].pos_target, loc[1, 40].T)
    np.testing.assert_array_equal(systems[1].charge, charges[1, :, 0])
    np.testing.assert_array_equal(next(read_nbody(released, frames=(6, 8))).pos.shape, (5, 3))


def test_broken_system_is_named_or_collected(tmp_path):
    pos = ARRAYS["pos"].copy()
    pos[1, 2, 0] = np.nan
    np.savez(tmp_path / "own.npz", **(ARRAYS | {"pos": pos}))
    with pytest.raises(DataError, match=r"own\.npz, record 1: `pos` of row 2 is not finite"):
        list(read_nbody(tmp_path / "own.npz"))
    errors: list[DataError] = []
    assert len(list(read_nbody(tmp_path / "own.npz", on_error=errors.append))) == 3
    assert [error.record for error in errors] == [1]


def test_unfit_npz_files(tmp_path):
    np.savez(tmp_path / "a.npz", pos=ARRAYS["pos"])
    with pytest.raises(
        DataError, match="missing array `vel`; `pos`, `vel`, `charge` are needed, there are pos"
    ):
        list(read_nbody(tmp_path / "a.npz"))
    np.savez(tmp_path / "b.npz", **(ARRAYS | {"charge": ARRAYS["charge"][..., None]}))
    with pytest.raises(DataError, match=r"`charge` must have shape \(systems, particles\), got \(4, 5, 1\)"):
        list(read_nbody(tmp_path / "b.npz"))
    np.savez(tmp_path / "c.npz", **(ARRAYS | {"vel": ARRAYS["vel"][:3]}))
    with pytest.raises(DataError, match=r"`vel` must have shape \(systems, particles, 3\), got \(3, 5, 3\)"):
        list(read_nbody(tmp_path / "c.npz"))
    content = (tmp_path / "b.npz").read_bytes()
    for name, part in (("cut.npz", content[: len(content) // 2]), ("none.npz", b"")):
        (tmp_path / name).write_bytes(part)
        with pytest.raises(DataError, match="not a readable npz file .*fetch it again"):
            list(read_nbody(tmp_path / name))


def test_unfit_folders(released, tmp_path):
    with pytest.raises(DataError, match="no such file or folder; check the path"):
        list(read_nbody(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"no file loc_test\*\.npy in the folder"):
        list(read_nbody(released, split="test"))
    with pytest.raises(DataError, match="unknown split 'dev'; choose train, val or test"):
        list(read_nbody(released, split="dev"))
    with pytest.raises(DataError, match=r"frames \(30, 60\) asked for, `loc` has 49; choose other frames"):
        list(read_nbody(released, frames=(30, 60)))
    (released / "charges_train_charged5_initvel1small.npy").unlink()
    with pytest.raises(DataError, match="charges_train.*: no such file; the released layout needs"):
        list(read_nbody(released))
    np.save(released / "loc_train_other.npy", np.zeros((1, 49, 5)))
    with pytest.raises(DataError, match="2 files loc_train.*; name one of the suffixes _charged5"):
        list(read_nbody(released))
    (released / "loc_valid_charged5_initvel1small.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match="not a readable npy file"):
        list(read_nbody(released, split="val"))


def test_released_arrays_of_another_shape(released):
    np.save(released / "loc_train_charged5_initvel1small.npy", np.zeros((3, 49, 5)))
    with pytest.raises(DataError, match=r"`loc` must have shape \(systems, frames, 3, particles\), got"):
        list(read_nbody(released))
