"""The stage that samples: its files, figures and metrics, and quality against steps."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_pipeline import params_of

from geograph.errors import ConfigError
from geograph.interop.molecule_files import read_molecule_files
from geograph.interop.molecule_metrics import evaluate_molecules
from geograph.records import Molecule
from geograph.tasks import build_task
from geograph.tasks.generation import GenerationTask
from geograph.training.checkpoint import save_checkpoint
from pipelines import sample
from pipelines.params import Params, Quality
from pipelines.quality import COLUMNS, quality_rows

STATISTICS = {"atomic_numbers": [1, 6, 8], "size_histogram": {"3": 1, "5": 2}}


def water(number: int) -> Molecule:
    pos = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]])
    shaken = pos + 0.01 * np.random.default_rng(number).standard_normal(pos.shape)
    return Molecule(np.array([8, 1, 1]), shaken, id=f"water-{number}")


def untrained() -> GenerationTask:
    task = build_task(
        "generation",
        model="edm-dynamics",
        model_params={"num_hidden": 8, "num_layers": 1},
        statistics=STATISTICS,
        num_steps=20,
    )
    assert isinstance(task, GenerationTask)
    return task


def sampling(**changes: object) -> Params:
    settings = {"num_molecules": 5, "batch_size": 4, "num_steps": 10, "num_chains": 2}
    return params_of(sample={"molecules-edm": settings | changes})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sample, "training_molecules", lambda dataset: [water(k) for k in range(12)])
    save_checkpoint("models/molecules-edm.pt", untrained())
    return tmp_path


def test_stage_writes_molecules_tables_page_and_figures(folder: Path) -> None:
    sample.run(sampling(sampler="ddim", eta=0.5, num_reference=8), "molecules-edm")
    out = folder / "samples/molecules-edm"
    tables = {f"molecules.{suffix}" for suffix in ("sdf", "extxyz", "csv", "parquet")}
    names = {path.name for path in out.iterdir()}
    assert names == tables | {"page.html", "report.json", "grid.png", "distributions.png"}
    assert len(read_molecule_files(out / "molecules.extxyz")) == 5
    metrics = json.loads((folder / "metrics/sample/molecules-edm.json").read_text())
    assert all(isinstance(value, int | float) for value in metrics.values())
    assert metrics["train_molecule_stability"] == 1.0
    assert metrics["molecule_stability_low"] <= metrics["molecule_stability"]
    assert metrics["molecule_stability"] <= metrics["molecule_stability_high"]
    assert any("distance" in key for key in metrics)
    report = json.loads((out / "report.json").read_text())
    assert report["reference"]["num_molecules"] == 8  # a part of the training molecules
    text = (out / "page.html").read_text(encoding="utf-8")
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert data["title"] == "molecules-edm: 5 molecules, ddim, 10 steps"
    assert [entry["chain"] is not None for entry in data["molecules"]] == [True, True, False, False, False]
    assert not (folder / "plots").exists()


def test_stage_measures_quality_against_steps(folder: Path) -> None:
    quality = {"samplers": ["ancestral", "ddim"], "steps": [5, 10], "num_molecules": 3}
    sample.run(sampling(quality=quality, num_chains=0), "molecules-edm")
    assert (folder / "samples/molecules-edm/quality.png").is_file()
    with (folder / "plots/quality/molecules-edm.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["sampler"], row["num_steps"]) for row in rows] == [
        ("ancestral", "5"),
        ("ancestral", "10"),
        ("ddim", "5"),
        ("ddim", "10"),
    ]
    for row in rows:
        low, value, high = (float(row[f"atom_stability{end}"]) for end in ("_low", "", "_high"))
        assert 0 <= low <= value <= high <= 1
        assert float(row["molecules_per_s"]) == pytest.approx(3 / float(row["seconds"]))


def test_lost_molecules_count_against_the_quality(monkeypatch: pytest.MonkeyPatch) -> None:
    from geograph.diffusion.molecules import Samples
    from geograph.diffusion.sampling import SamplingFailure

    made = [water(0), water(1)]
    lost = [SamplingFailure(2, 7, 6, 0), SamplingFailure(3, 8, 12, 0)]
    task = untrained()
    monkeypatch.setattr(task, "sample", lambda *args, **options: Samples(made, lost, []))
    settings = Quality(samplers=["ancestral"], steps=[5], num_molecules=4)
    row = next(iter(quality_rows(task, settings, seed=0)))
    assert evaluate_molecules(made).molecule_stability == 1.0
    assert (row["molecule_stability"], row["rdkit_validity"], row["num_failed"]) == (0.5, 0.5, 2)
    assert row["atom_stability"] == pytest.approx(6 / 24)
    monkeypatch.setattr(task, "sample", lambda *args, **options: Samples([], lost, []))
    row = next(iter(quality_rows(task, settings, seed=0)))
    assert row["molecule_stability"] == row["atom_stability_high"] == 0.0


@pytest.mark.parametrize(
    ("samplers", "steps", "message"),
    [(["ancestral", "euler"], [5], "`sampler` must be one of .*'euler'"), (["ddim"], [5, 21], "got 21")],
)
def test_quality_is_checked_before_anything_is_sampled(
    samplers: list[str], steps: list[int], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = untrained()
    monkeypatch.setattr(task, "sample", lambda *args, **options: pytest.fail("sampled too early"))
    settings = Quality(samplers=samplers, steps=steps, num_molecules=2)
    with pytest.raises(ConfigError, match=message):
        next(iter(quality_rows(task, settings, seed=0)))
