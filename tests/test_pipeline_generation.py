"""Molecules at a tiny size: the generator through all its stages, then `geograph sample`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from file_access import watch_files
from tiny_pipeline import check_files, check_metrics, params_of
from typer.testing import CliRunner

from geograph.cli import app
from geograph.cli_sample import find_checkpoint
from geograph.cli_sample_options import parse_sizes
from geograph.errors import CheckpointError, ConfigError, GeographError
from geograph.interop.molecule_files import read_molecule_files, write_molecules
from geograph.records import Molecule
from geograph.tasks import build_task
from geograph.training.checkpoint import save_checkpoint
from pipelines import evaluate, featurize, prepare, sample, train
from pipelines.params import Params


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GEOGRAPH_DATA", str(folder))


def small_molecules() -> list[Molecule]:
    """Twelve small molecules with slightly shaken atoms."""
    from ase.build import molecule

    generator = np.random.default_rng(0)
    made = []
    for number, name in enumerate(["CH4", "H2O", "NH3", "C2H6", "CH3OH", "CO2"] * 2):
        atoms = molecule(name)
        pos = atoms.positions + 0.01 * generator.standard_normal(atoms.positions.shape)
        made.append(Molecule(np.asarray(atoms.numbers, np.int64), pos, id=f"{name}-{number}"))
    return made


@pytest.fixture(scope="module")
def generator(folder: Path) -> Iterator[Params]:
    """Return the parameters after a generator was trained for one epoch."""
    params = params_of()
    write_molecules(folder / "small.extxyz", small_molecules())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GEOGRAPH_DATA", str(folder))
        with watch_files() as access:
            prepare.run(params, "molecules")
        check_files(access, "prepare-molecules", also_reads=["small.extxyz"])
        with watch_files() as access:
            featurize.run(params, "molecules")
        check_files(access, "featurize", dataset="molecules")
        with watch_files() as access:
            train.run(params, "molecules-edm")
        check_files(access, "train-edm", dataset="molecules", model="edm")
        yield params


def test_generator_is_evaluated(generator: Params) -> None:
    with watch_files() as access:
        evaluate.run(generator, "molecules-edm")
    check_files(access, "evaluate-edm", dataset="molecules", model="edm")
    metrics = check_metrics("metrics/evaluate/molecules-edm.json")
    assert {"nll", "nll_given_size", "num_unseen_sizes"} <= metrics.keys()
    assert metrics["equivariance_error"] < 1e-3


def test_stage_samples(generator: Params) -> None:
    with watch_files() as access:
        sample.run(generator, "molecules-edm")
    check_files(access, "sample", run="molecules-edm")
    metrics = json.loads(Path("metrics/sample/molecules-edm.json").read_text())
    assert all(isinstance(value, int | float) for value in metrics.values())
    assert {"molecule_stability", "train_molecule_stability", "num_failed", "ms_per_item"} <= metrics.keys()
    names = {path.name for path in Path("samples/molecules-edm").iterdir()}
    tables = {f"molecules.{suffix}" for suffix in ("sdf", "extxyz", "csv", "parquet")}
    pictures = {"grid.png", "distributions.png", "quality.png"}
    assert names == tables | pictures | {"page.html", "report.json"}
    quality = Path("plots/quality/molecules-edm.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in quality[1:]] == [
        [sampler, steps] for sampler in ("ancestral", "dpm-solver++") for steps in ("4", "2")
    ]
    assert len(read_molecule_files(Path("samples/molecules-edm/molecules.extxyz"))) == 3


def draw(out: Path, *arguments: str) -> list[Molecule]:
    """Call `geograph sample` and read what it wrote."""
    words = ["sample", "--run", "molecules-edm", "-n", "3", "--steps", "5", "--out", str(out), *arguments]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert f"3 molecules written to {out}" in result.output
    return list(read_molecule_files(out))


def assert_same_molecules(first: list[Molecule], second: list[Molecule]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.z, other.z)
        scale = max(float(np.abs(one.pos).max()), 1.0)
        np.testing.assert_allclose(one.pos, other.pos, rtol=0, atol=1e-4 * scale)


def test_command_gives_the_same_molecules_for_a_seed(generator: Params, tmp_path: Path) -> None:
    alone = draw(tmp_path / "alone.extxyz", "--seed", "1", "--batch-size", "1")
    together = draw(tmp_path / "together.extxyz", "--seed", "1", "--batch-size", "3")
    assert_same_molecules(alone, together)
    again = tmp_path / "again.extxyz"
    draw(again, "--seed", "1", "--batch-size", "3")
    assert again.read_bytes() == (tmp_path / "together.extxyz").read_bytes()
    # Negative control: another seed gives other molecules.
    other = draw(tmp_path / "other.extxyz", "--seed", "2")
    assert any(
        len(one.z) != len(two.z) or not np.allclose(one.pos, two.pos)
        for one, two in zip(together, other, strict=True)
    )


def test_command_takes_sizes_and_a_path(generator: Params, tmp_path: Path, folder: Path) -> None:
    sizes = draw(tmp_path / "sizes.extxyz", "--sizes", "2,5,3")
    assert [len(molecule.z) for molecule in sizes] == [2, 5, 3]
    equal = draw(tmp_path / "equal.sdf", "--sizes", "4", "--run", str(folder / "models/molecules-edm.pt"))
    assert [len(molecule.z) for molecule in equal] == [4, 4, 4]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--run", "none"], CheckpointError, "`--run` 'none': neither a checkpoint file nor models/none.pt"),
        (["--run", "molecules-edm", "--sizes", "a"], ConfigError, "`--sizes` must be whole numbers .* 'a'"),
        (
            ["--run", "molecules-edm", "--sizes", "3,4"],
            ConfigError,
            "`--sizes` must be 1 or 3 positive numbers, got '3,4'",
        ),
        (["--run", "molecules-edm", "--sizes", "0"], ConfigError, "positive numbers, got '0'"),
        (
            ["--run", "nbody-egnn"],
            CheckpointError,
            "nbody-egnn.pt: the task must be generation, this checkpoint is of trajectory",
        ),
    ],
)
def test_command_refuses(
    generator: Params, arguments: list[str], error: type[GeographError], message: str
) -> None:
    task = build_task(
        "trajectory",
        model="egnn-dynamics",
        model_params={"num_hidden": 4, "num_layers": 1},
        statistics={"linear_time": 1.0},
    )
    save_checkpoint("models/nbody-egnn.pt", task)
    result = CliRunner().invoke(app, ["sample", "-n", "3", "--steps", "5", *arguments])
    assert isinstance(result.exception, error)
    with pytest.raises(error, match=message):
        raise result.exception


def test_checkpoint_by_path_or_by_name(generator: Params, folder: Path) -> None:
    assert find_checkpoint("molecules-edm") == Path("models/molecules-edm.pt")
    assert find_checkpoint(str(folder / "models/molecules-edm.pt")).is_absolute()


def test_sizes() -> None:
    assert parse_sizes(None, 3) is None
    assert parse_sizes("5", 3) == [5, 5, 5]
    assert parse_sizes("5,6,7", 3) == [5, 6, 7]
