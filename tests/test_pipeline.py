"""The stages in one process at a tiny size: outputs, declared files, repeatability, restarts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from file_access import watch_files
from tiny_pipeline import (
    EDM_RUN,
    MOLECULES,
    NBODY,
    NBODY_RUN,
    PARTS,
    assert_same_bits,
    check_files,
    check_metrics,
    params_of,
    weights,
)

from geograph.datasets.loader import GraphLoader
from geograph.datasets.store import Store
from geograph.errors import ConfigError
from geograph.training.checkpoint import load_checkpoint
from pipelines import evaluate, featurize, prepare, train
from pipelines.params import Params, Task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GEOGRAPH_DATA", str(folder))


# Charged particles: prepare, featurize, train, evaluate -----------------------------------------------------


@pytest.fixture(scope="module")
def nbody(folder: Path) -> Iterator[Params]:
    """Prepare and featurize particle systems; the files that both stages touch are checked on the way."""
    params = params_of()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with watch_files() as access:
            prepare.run(params, "nbody")
        check_files(access, "prepare-nbody")
        with watch_files() as access:
            featurize.run(params, "nbody")
        check_files(access, "featurize", dataset="nbody")
        yield params


@pytest.fixture(scope="module")
def trained(nbody: Params, folder: Path) -> Params:
    """Return the parameters after one training."""
    with watch_files() as access:
        train.run(nbody, "nbody-egnn")
    check_files(access, "train-egnn", dataset="nbody", model="egnn")
    return nbody


def test_prepared_data(nbody: Params) -> None:
    figures = check_metrics("metrics/prepare/nbody.json")
    assert [figures[f"num_{part}"] for part in PARTS] == [60, 20, 20]
    assert (figures["num_records"], figures["num_nodes"], figures["num_rejected"]) == (100, 500, 0)
    graphs = check_metrics("metrics/featurize/nbody.json")
    assert (graphs["num_graphs"], graphs["nodes_max"], graphs["edges_mean"]) == (100, 5, 20)


def test_same_parameters_give_the_same_bytes(nbody: Params, folder: Path) -> None:
    folders = [Path("data/raw/nbody"), Path("data/processed/nbody")]
    before = [Store(path).digest() for path in folders]
    split = Path("data/raw/nbody-split.json").read_bytes()
    prepare.run(nbody, "nbody")
    featurize.run(nbody, "nbody")
    assert [Store(path).digest() for path in folders] == before
    assert Path("data/raw/nbody-split.json").read_bytes() == split
    for path in folders:
        Store(path).verify()


def test_other_seed_gives_other_data(nbody: Params, folder: Path, tmp_path: Path) -> None:
    other = NBODY | {"source": NBODY["source"] | {"seed": 2}}  # type: ignore[operator]
    digest = Store("data/raw/nbody").digest()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        prepare.run(params_of(data={"nbody": other, "molecules": MOLECULES}), "nbody")
        assert Store("data/raw/nbody").digest() != digest


def test_trained_run(trained: Params) -> None:
    metrics = check_metrics("metrics/train/nbody-egnn.json")
    assert (metrics["num_train"], metrics["num_epochs"]) == (60, 2)
    lines = Path("plots/history/nbody-egnn.csv").read_text().splitlines()
    assert len(lines) == 3
    assert {"epoch", "train/loss", "val/loss"} <= set(lines[0].split(","))
    checkpoint = load_checkpoint("models/nbody-egnn.pt")
    assert checkpoint.kind == "trajectory"
    assert checkpoint.data["sha256"] == Store("data/processed/nbody").digest()
    assert checkpoint.config["training"]["max_epochs"] == 2


def test_evaluated_run(trained: Params) -> None:
    with watch_files() as access:
        evaluate.run(trained, "nbody-egnn")
    check_files(access, "evaluate-egnn", dataset="nbody", model="egnn")
    metrics = check_metrics("metrics/evaluate/nbody-egnn.json")
    assert (metrics["num_test"], metrics["num_train"]) == (20, 60)
    assert metrics["mse"] > 0
    assert metrics["equivariance_error"] < 1e-4
    assert metrics["num_parameters"] > 0
    with np.load("models/nbody-egnn-predictions.npz") as terms:
        assert all(len(values) == 20 for values in terms.values())


def test_finished_run_starts_anew_and_gives_the_same_bits(
    trained: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    before = weights("nbody-egnn")
    train.run(trained, "nbody-egnn")
    assert "starting anew" in capsys.readouterr().out
    assert_same_bits(weights("nbody-egnn"), before)


class Interrupted(RuntimeError):
    """Stands for the end of the process in the middle of an epoch."""


def interrupt(patch: pytest.MonkeyPatch, epoch: int) -> list[int]:
    """Stop in the second batch of an epoch; return the epochs of all training batches."""
    seen: list[int] = []
    batch = GraphLoader.batch

    def spoilt(self: GraphLoader, records: np.ndarray) -> Any:
        if self.shuffle:
            seen.append(self.epoch)
            if seen.count(epoch) == 2:
                raise Interrupted
        return batch(self, records)

    patch.setattr(GraphLoader, "batch", spoilt)
    return seen


def test_interrupted_run_goes_on_and_ends_with_the_same_bits(
    trained: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    before = weights("nbody-egnn")
    with pytest.MonkeyPatch.context() as patch:
        seen = interrupt(patch, epoch=1)
        with pytest.raises(Interrupted):
            train.run(trained, "nbody-egnn")
        assert seen == [0, 0, 0, 1, 1]
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        seen = interrupt(patch, epoch=-1)
        train.run(trained, "nbody-egnn")
    # The last batch drawn is the example that goes to the tracking server.
    assert seen[:3] == [1, 1, 1]
    assert 0 not in seen[:3]
    assert "starting anew" not in capsys.readouterr().out
    assert check_metrics("metrics/train/nbody-egnn.json")["num_epochs"] == 2
    assert_same_bits(weights("nbody-egnn"), before)


def test_interrupted_run_of_another_configuration_starts_anew(
    trained: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, epoch=1)
        with pytest.raises(Interrupted):
            train.run(trained, "nbody-egnn")
    capsys.readouterr()
    run = {**NBODY_RUN, "optimizer": {"schedule": "cosine", "lr": 0.002}}
    with pytest.MonkeyPatch.context() as patch:
        seen = interrupt(patch, epoch=-1)
        train.run(params_of(runs={"nbody-egnn": run, "molecules-edm": EDM_RUN}), "nbody-egnn")
    assert "starting anew" in capsys.readouterr().out
    assert seen[:3] == [0, 0, 0]
    train.run(trained, "nbody-egnn")  # leave what the other tests expect


def test_data_without_the_target_of_a_run(nbody: Params) -> None:
    wanted = Task(kind="regression", targets=["energy_ev"])
    run = nbody.runs["nbody-egnn"].model_copy(update={"task": wanted})
    with pytest.raises(ConfigError, match="nbody has the targets .*, not 'energy_ev'; add it to data.nbody"):
        train.open_data(run)
