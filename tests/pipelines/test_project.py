"""Records become functions on spheres; what cannot be projected is listed and left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from file_access import watch_files
from tiny_pipeline import check_files, check_metrics

from geograph.datasets.records import write_records
from geograph.datasets.splits import Split, write_split
from geograph.datasets.store import Store
from geograph.errors import ConfigError, DataError
from geograph.models.sphere_graph import InputScale
from geograph.records import Molecule, SphereMap
from geograph.sphere.scattering_plan import ScatteringPlan
from geograph.tasks.rotations import RandomRotations
from pipelines import evaluate, featurize, project, train
from pipelines.datasets import open_data, sphere_params, without
from pipelines.params import Params
from pipelines.params_projections import PotentialProjection, ScatteringProjection
from pipelines.projections import open_projection

_NUM, _CHANNELS, _BANDLIMIT = 12, 2, 4


def maps() -> list[SphereMap]:
    """Two classes that differ in the power of their second channel."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(_NUM):
        values = rng.standard_normal((_CHANNELS, _BANDLIMIT**2))
        values[1] *= 1 + 3 * (number % 2)
        made.append(SphereMap(values.astype(np.float32), number % 2, f"map-{number}"))
    return made


def spectrum_or_refusal(record: SphereMap, *, refused: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    if record.id in refused:
        raise DataError("too light", record=record.id)
    return {"harmonic": record.harmonic[None], "y": np.int64(record.label)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run where the maps are prepared as the data set `digits`."""
    monkeypatch.chdir(tmp_path)
    write_records("data/raw/digits", maps(), {"name": "digits", "domain": "maps", "class_names": ["0", "1"]})
    parts = np.arange(6), np.arange(6, 8), np.arange(8, 12)
    write_split(Path("data/raw/digits-split.json"), Split("test", *parts))
    return tmp_path


def make(refused: tuple[str, ...] = (), max_rejected: int = 0) -> tuple[Store, list[str]]:
    return project.project(
        Path("data/raw/digits"),
        Path("data/processed/digits-sphere"),
        partial(spectrum_or_refusal, refused=refused),
        {"name": "digits-sphere", "records": "digits", "targets": [], "graph": {}},
        num_workers=1,
        max_rejected=max_rejected,
    )


def params_of(**run: Any) -> Params:
    chosen = {
        "dataset": "digits-sphere",
        "task": {"kind": "classification"},
        "model": {"name": "power-spectrum"},
        "training": {"max_epochs": 2, "batch_size": 3},
    }
    return Params.model_validate(
        {
            "parallel": {"num_workers": 1},
            "tracking": {"enabled": False},
            "data": {"digits": {"domain": "maps", "source": {"kind": "digits", "bandlimit": 4, "seed": 1}}},
            "projections": {"digits-sphere": {"kind": "maps", "bandlimit": _BANDLIMIT}},
            "runs": {"digits-sphere-spectrum": chosen | run},
        }
    )


def test_every_record_is_kept_bit_by_bit(here: Path) -> None:
    store, reasons = make()
    assert reasons == []
    assert store.attributes["rejected"] == []
    assert store.field("harmonic").shape == (_NUM, _CHANNELS, _BANDLIMIT**2)
    for index, record in enumerate(maps()):
        np.testing.assert_array_equal(store.record(index)["harmonic"][0], record.harmonic)
        assert store.record(index)["y"] == record.label


def test_rejected_records_keep_the_numbering_and_leave_the_split(here: Path) -> None:
    refused = ("map-0", "map-1", "map-9")
    store, reasons = make(refused, max_rejected=3)
    assert store.attributes["rejected"] == [0, 1, 9]
    assert len(reasons) == 3
    assert "record map-9" in reasons[2]
    assert "too light" in reasons[2]
    assert not store.record(9)["harmonic"].any()
    np.testing.assert_array_equal(store.record(10)["harmonic"][0], maps()[10].harmonic)
    data = open_data(params_of().runs["digits-sphere-spectrum"])
    assert data.split.train.tolist() == [2, 3, 4, 5]
    assert data.split.test.tolist() == [8, 10, 11]
    assert "3 rejected" in data.split.name


def test_too_many_rejects(here: Path) -> None:
    with pytest.raises(
        DataError, match="2 records cannot be projected, max_rejected allows 1; the last one: "
    ):
        make(("map-4", "map-7"), max_rejected=1)


def test_nothing_left(here: Path) -> None:
    with pytest.raises(DataError, match="no record can be projected"):
        make(tuple(record.id for record in maps()), max_rejected=_NUM)


def test_split_without_rejects_is_the_same() -> None:
    split = Split("seeded", np.arange(3), np.array([3]), np.array([4]))
    assert without(split, []) is split


def test_input_scale_is_that_of_the_train_part(here: Path) -> None:
    make()
    data = open_data(params_of().runs["digits-sphere-spectrum"])
    found = sphere_params(data, "channel")
    values = np.stack([record.harmonic for record in maps()[:6]]).astype(float)
    mean = values[:, :, 0].mean(axis=0)
    values[:, :, 0] -= mean
    np.testing.assert_allclose(found["input_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(found["input_scale"], np.sqrt((values**2).mean(axis=(0, 2))), rtol=1e-12)
    assert (found["num_channels"], found["bandlimit"]) == (_CHANNELS, _BANDLIMIT)
    by_degree = np.reshape(sphere_params(data)["input_scale"], (_CHANNELS, _BANDLIMIT))
    expected = [
        np.sqrt((values[:, :, low**2 : (low + 1) ** 2] ** 2).mean(axis=(0, 2))) for low in range(_BANDLIMIT)
    ]
    np.testing.assert_allclose(by_degree, np.stack(expected, axis=1), rtol=1e-12)


def test_covariance_of_the_train_part_makes_white(here: Path) -> None:
    """Products of channels, averaged over records and orders, are those of independent ones of size 1."""
    make()
    found = sphere_params(open_data(params_of().runs["digits-sphere-spectrum"]), "covariance")
    harmonic = torch.from_numpy(np.stack([record.harmonic for record in maps()[:6]])).double()
    white = InputScale(found["input_mean"], found["input_scale"]).double()(harmonic).numpy()
    assert (np.shape(found["input_scale"])) == (_BANDLIMIT, _CHANNELS, _CHANNELS)
    for degree in range(_BANDLIMIT):
        x = white[:, :, degree**2 : (degree + 1) ** 2].swapaxes(0, 1).reshape(_CHANNELS, -1)
        np.testing.assert_allclose(x @ x.T / x.shape[1], np.eye(_CHANNELS), atol=1e-5)


def test_degrees_that_are_empty_are_not_blown_up(here: Path) -> None:
    make()
    data = open_data(params_of().runs["digits-sphere-spectrum"])
    empty = [SphereMap(np.where(np.arange(16) < 4, m.harmonic, 1e-9), m.label, m.id) for m in maps()]
    write_records("data/raw/empty", empty, {"name": "empty", "domain": "maps", "class_names": ["0", "1"]})
    write_split(Path("data/raw/empty-split.json"), data.split)
    project.project(
        Path("data/raw/empty"),
        Path("data/processed/empty-sphere"),
        partial(spectrum_or_refusal, refused=()),
        {"name": "empty-sphere", "records": "empty", "targets": [], "graph": {}},
        num_workers=1,
    )
    run = params_of().runs["digits-sphere-spectrum"].model_copy(update={"dataset": "empty-sphere"})
    scale = np.reshape(sphere_params(open_data(run))["input_scale"], (_CHANNELS, _BANDLIMIT))
    assert (scale > 0.1).all()
    found = sphere_params(open_data(run), "covariance")
    white = InputScale(found["input_mean"], found["input_scale"])(torch.from_numpy(empty[0].harmonic)[None])
    assert white[..., 4:].abs().max() < 1e-3


def test_channel_that_is_constant_but_for_rounding_stays_so(here: Path) -> None:
    make()
    run = params_of().runs["digits-sphere-spectrum"]
    data = open_data(run)
    noise = 1e-9 * np.random.default_rng(1).standard_normal((_NUM, _BANDLIMIT**2))
    noise[:, 0] += 3.5
    constant = [
        SphereMap(np.stack([m.harmonic[0], each]).astype(np.float32), m.label, m.id)
        for m, each in zip(maps(), noise, strict=True)
    ]
    write_records(
        "data/raw/constant", constant, {"name": "constant", "domain": "maps", "class_names": ["0", "1"]}
    )
    write_split(Path("data/raw/constant-split.json"), data.split)
    project.project(
        Path("data/raw/constant"),
        Path("data/processed/constant-sphere"),
        partial(spectrum_or_refusal, refused=()),
        {"name": "constant-sphere", "records": "constant", "targets": [], "graph": {}},
        num_workers=1,
    )
    data = open_data(run.model_copy(update={"dataset": "constant-sphere"}))
    harmonic = torch.from_numpy(np.stack([record.harmonic for record in constant[:6]]))
    for scale_of in ("degree", "channel", "covariance"):
        found = sphere_params(data, scale_of)
        scaled = InputScale(found["input_mean"], found["input_scale"])(harmonic)
        assert scaled[:, 1].abs().max() < 1e-3
        assert scaled[:, 0].abs().max() > 0.5


def test_other_shapes_are_rejected(here: Path) -> None:
    other = [SphereMap(m.harmonic[:1] if n == 3 else m.harmonic, m.label, m.id) for n, m in enumerate(maps())]
    facts = {"name": "digits", "domain": "maps", "class_names": ["0", "1"]}
    shutil.rmtree("data/raw/digits")
    write_records("data/raw/digits", other, facts)
    store, reasons = make(max_rejected=1)
    assert store.attributes["rejected"] == [3]
    assert (
        "record 3: it has 1 channels up to degree 3, the first one has 2 channels up to degree 3"
        in reasons[0]
    )


def test_first_reject_ends_the_stage_before_the_rest_is_made(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "_CHUNK", 1)
    seen = []

    def make_one(record: SphereMap) -> Mapping[str, np.ndarray]:
        seen.append(record.id)
        return spectrum_or_refusal(record, refused=("map-2",))

    attributes = {"name": "digits-sphere", "records": "digits", "targets": [], "graph": {}}
    with pytest.raises(DataError, match="max_rejected allows 0"):
        project.project(
            Path("data/raw/digits"), Path("data/processed/x"), make_one, attributes, num_workers=1
        )
    assert len(seen) <= 5


def test_molecules_without_a_distance_do_not_set_the_radius(tmp_path: Path) -> None:
    pos = np.array([[0.0, 0, 0], [0, 0, 1.5]])
    alone = Molecule(np.array([2]), pos[:1], {}, "alone")
    coincident = Molecule(np.array([1, 1]), 0 * pos, {}, "coincident")
    apart = Molecule(np.array([1, 1]), pos, {}, "apart")
    write_records(tmp_path / "a", [alone, coincident, apart], {"name": "a", "domain": "molecules"})
    projection = PotentialProjection(kind="potential", bandlimit=3, elements=[1, 2], radius="half_smallest")
    _, facts = open_projection(projection, str(tmp_path / "a"))
    assert facts == {"radius_angstrom": [0.75]}
    write_records(tmp_path / "b", [alone, coincident], {"name": "b", "domain": "molecules"})
    with pytest.raises(DataError, match="no molecule has two atoms apart"):
        open_projection(projection, str(tmp_path / "b"))


def test_stages_touch_what_they_declare_and_judge_rotated_maps(here: Path) -> None:
    params = params_of(rotations={"train": "so3", "copies": 2, "test": ["z", "so3"]})
    with watch_files() as access:
        project.run(params, "digits-sphere")
    check_files(access, "project-maps", dataset="digits", projection="sphere")
    assert check_metrics("metrics/project/digits-sphere.json")["num_rejected"] == 0
    train.run(params, "digits-sphere-spectrum")
    evaluate.run(params, "digits-sphere-spectrum")
    metrics = json.loads(Path("metrics/evaluate/digits-sphere-spectrum.json").read_text())
    # The spectrum does not see rotations, so that what is judged on rotated maps is the same.
    assert metrics["accuracy"] == metrics["accuracy_z"] == metrics["accuracy_so3"]
    assert metrics["equivariance_error"] < 1e-4


def test_training_rotates_as_asked(here: Path) -> None:
    make()
    run = params_of(rotations={"train": "z", "copies": 5}).runs["digits-sphere-spectrum"]
    task = train.make_task(run, open_data(run), 10)
    assert isinstance(task.augmentation, RandomRotations)
    assert (task.augmentation.group, task.augmentation.copies) == ("z", 5)
    plain = params_of().runs["digits-sphere-spectrum"]
    assert train.make_task(plain, open_data(plain), 10).augmentation is None


def test_task_trains_on_rotated_batches(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    run = params_of(rotations={"train": "so3"}).runs["digits-sphere-spectrum"]
    data = open_data(run)
    task = train.make_task(run, data, 10)
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(task, "training_loss", lambda batch: seen.append(batch.harmonic) or torch.zeros(()))
    monkeypatch.setattr(task, "log", lambda *args, **kwargs: None)
    batch = next(iter(data.loader("train", 3)))
    task.training_step(batch, 0)
    assert not torch.allclose(seen[0], batch.harmonic)


def test_scattering_announces_its_band_limit() -> None:
    """Parameters are checked without the transform; both must say the same."""
    for bandlimit, scale, dilation in ((32, 2, 2.0), (16, 3, 1.7), (9, 3, 2.0)):
        content = {
            "kind": "scattering",
            "bandlimit": bandlimit,
            "smallest_scale": scale,
            "dilation": dilation,
        }
        projection = ScatteringProjection.model_validate(content)
        plan = ScatteringPlan(bandlimit, scale, dilation, 2, 1.0, None, "descending")
        assert projection.bandlimit_out == plan.bandlimit_out


def test_maps_have_no_graphs() -> None:
    with pytest.raises(ConfigError, match="maps make no graphs"):
        featurize.featurizer(params_of().data["digits"])
