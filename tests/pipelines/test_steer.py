from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from strategies import make_batch

from geograph.diffusion.condition import fit_properties
from geograph.records import Molecule
from geograph.tasks import build_task
from geograph.tasks.generation import GenerationTask, fit_statistics
from geograph.tasks.regression import fit_statistics as fit_regression
from geograph.training.checkpoint import save_checkpoint
from pipelines import steer
from pipelines.params import Params

SIZES = [5] * 12 + [3] * 4


def tasks() -> tuple[GenerationTask, object]:
    torch.manual_seed(0)
    data = make_batch("molecule", seed=0, sizes=SIZES)
    data.y = torch.arange(len(SIZES), dtype=torch.float32)[:, None]
    statistics = fit_statistics(data.z, data.batch) | fit_properties(["gap_ev"], data.y, data.ptr.diff())
    params = {"num_hidden": 8, "num_layers": 1}
    generator = GenerationTask(model_params=params, statistics=statistics, num_steps=20)
    elements = sorted(set(data.z.tolist()))
    judge = build_task(
        "regression",
        model="egnn",
        model_params={"inputs": "molecule", "elements": elements, "num_outputs": 1, **params},
        statistics=fit_regression(data.y, names=["gap"], units=["ev"]),
    )
    return generator, judge.eval()


def params_of(**steering: object) -> Params:
    def run(kind: str, targets: list[str]) -> dict:
        return {
            "dataset": "small",
            "task": {"kind": kind, "targets": targets},
            "model": {"name": "egnn"},
            "training": {"max_epochs": 1, "batch_size": 1},
        }

    settings = {"target": "gap_ev", "judge": "judge", "size": 5, "num_values": 3, "num_molecules": 2}
    return Params.model_validate(
        {
            "tracking": {"enabled": False},
            "data": {
                "small": {
                    "domain": "molecules",
                    "source": {"kind": "generated", "num_molecules": 1, "seed": 1},
                    "graph": {"targets": ["gap_ev", "energy_ev"]},
                }
            },
            "runs": {"edm": run("generation", ["gap_ev"]), "judge": run("regression", ["gap_ev"])},
            "steer": {"edm": {**settings, **steering}},
        }
    )


def test_stage_writes_figures_rows_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    generator, judge = tasks()
    (tmp_path / "models").mkdir()
    for name, task in (("edm", generator), ("judge", judge)):
        save_checkpoint(f"models/{name}.pt", task)
    monkeypatch.setattr(steer, "_LEAST", 12)
    steer.run(params_of(guidance=[0.0, 2.0], num_steps=4), "edm")
    figures = json.loads(Path("metrics/steer/edm.json").read_text())
    assert -1 <= figures["guidance_0_pearson"] <= 1
    assert {"guidance_2_spearman", "guidance_2_mae", "guidance_2_molecule_stability"} <= figures.keys()
    with Path("plots/steer/edm.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 2
    # 5, 50 and 95 % of the values 0 ... 11 of the molecules of five atoms
    assert sorted({float(row["target"]) for row in rows}) == pytest.approx([0.55, 5.5, 10.45])
    assert Path("plots/steer/edm.png").read_bytes().startswith(b"\x89PNG")


def test_judge_sees_each_molecule_by_itself() -> None:
    _, judge = tasks()
    rng = np.random.default_rng(0)
    molecules = [Molecule(np.array([6, 1, 1]), rng.normal(size=(3, 3))) for _ in range(3)]
    together = steer.judged(judge, molecules, "gap_ev")
    alone = [steer.judged(judge, [molecule], "gap_ev")[0] for molecule in molecules]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_figures_of_perfect_and_of_no_steering() -> None:
    aimed = np.repeat(np.arange(5.0), 40)
    assert steer.figures(aimed, aimed) == pytest.approx(
        {"pearson": 1.0, "spearman": 1.0, "mae": 0.0, "mae_of_the_mean": 1.2}
    )
    found = np.random.default_rng(0).normal(size=200)
    assert abs(steer.figures(aimed, found)["pearson"]) < 5 / np.sqrt(200)


def test_targets_are_quantiles_of_molecules_of_about_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, _ = tasks()
    assert generator.condition is not None
    # The values 0 ... 11 belong to five atoms, 12 ... 15 to three.
    monkeypatch.setattr(steer, "_LEAST", 2)
    expected = {5: [0.55, 5.5, 10.45], 3: [12.15, 13.5, 14.85]}
    for size, values in expected.items():
        assert steer.target_values(generator.condition, "gap_ev", size, 3).tolist() == pytest.approx(values)
    monkeypatch.setattr(steer, "_LEAST", 16)
    for size in (3, 5):
        found = steer.target_values(generator.condition, "gap_ev", size, 3)
        assert found.tolist() == pytest.approx([0.75, 7.5, 14.25])


def test_judge_must_know_the_target() -> None:
    with pytest.raises(ValueError, match="steer.edm: edm is no run of kind generation with energy_ev"):
        params_of(target="energy_ev")
    with pytest.raises(ValueError, match="steer.edm: nobody is no run of kind regression"):
        params_of(judge="nobody")
