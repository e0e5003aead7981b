from __future__ import annotations

import pytest
import torch
from tiny_training import STATISTICS, Fixed, TinyLoader, molecule_batch, register, tiny_task

from geograph import models
from geograph.errors import ConfigError, ShapeError
from geograph.tasks import TASKS, build_task
from geograph.tasks.regression import RegressionTask, fit_statistics


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    table = dict(models.MODELS)
    register(table)
    monkeypatch.setattr(models, "MODELS", table)


def task(**params: object) -> RegressionTask:
    settings = {"model": "tiny", "model_params": {}, "statistics": STATISTICS} | params
    return RegressionTask(**settings).eval()


def test_statistics_by_hand() -> None:
    statistics = fit_statistics(torch.tensor([[1.0], [3.0]]), names=["gap"], units=["ev"])
    assert statistics == {
        "target_names": ["gap"],
        "target_units": ["ev"],
        "target_mean": [2.0],
        "target_std": [1.0],
    }


def test_prediction_undoes_normalisation_and_baseline() -> None:
    batch = molecule_batch([1, 2, 3, 4, 5, 6])
    statistics = fit_statistics(batch.y, names=["energy"], units=["ev"], z=batch.z, batch=batch.batch)
    assert statistics["target_mean"] == pytest.approx([0.0], abs=1e-9)
    with_baseline = task(statistics=statistics)
    target = with_baseline.normalised_target(batch)
    assert target.std(dim=0, unbiased=False).item() == pytest.approx(1.0)
    assert with_baseline._physical(target, batch) == pytest.approx(batch.y.double(), rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "expected"), [("l1", (0.5 + 3) / 2), ("l2", (0.25 + 9) / 2), ("huber", (0.125 + 2.5) / 2)]
)
def test_losses_by_hand(loss: str, expected: float) -> None:
    regression = task(loss=loss)
    batch = molecule_batch([1, 2])
    batch.y = torch.tensor([[9.0 + 4 * 0.5], [9.0 - 4 * 3.0]])
    regression.model = Fixed([[0.0], [0.0]])
    assert regression.training_loss(batch).item() == pytest.approx(expected)
    metrics, terms = regression.evaluate([batch])
    assert metrics == pytest.approx(
        {"loss": expected, "mae_energy_ev": 7.0, "rmse_energy_ev": ((4 + 144) / 2) ** 0.5}
    )
    assert terms["prediction"].tolist() == [[9.0], [9.0]]


def test_evaluation_does_not_depend_on_the_batch_size_and_leaves_the_state() -> None:
    regression = task()
    regression.train()
    before = torch.get_rng_state()
    small, _ = regression.evaluate(TinyLoader(6, 2, shuffle=False))
    large, _ = regression.evaluate(TinyLoader(6, 6, shuffle=False))
    assert small == pytest.approx(large, rel=1e-6)
    assert regression.training
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ConfigError, match="`loader` must hold at least one batch"):
        regression.evaluate([])


def test_bad_parameters() -> None:
    with pytest.raises(ConfigError, match="`loss` must be one of l1, l2, huber, got 'l3'"):
        task(loss="l3")
    with pytest.raises(ConfigError, match="`statistics` must hold target_std"):
        task(statistics={"target_mean": [0.0]})
    with pytest.raises(ShapeError, match=r"shape \(2, 1\) of `y`, got \(2, 3\); set the number"):
        task(model_params={"num_outputs": 3}).training_loss(molecule_batch([1, 2]))
    with pytest.raises(ConfigError, match="`names` and `units` must have one entry for each of 1 targets"):
        fit_statistics(torch.ones(2, 1), names=[], units=[])
    with pytest.raises(ConfigError, match="`y` must vary in every target, got constant gap"):
        fit_statistics(torch.ones(2, 1), names=["gap"], units=["ev"])


def test_table_of_tasks() -> None:
    assert list(TASKS) == ["regression", "classification", "trajectory", "generation"]
    assert all(TASKS[kind].kind == kind for kind in ("regression", "classification", "trajectory"))
    with pytest.raises(ConfigError, match="`kind` must be one of regression, .*got 'ranking'"):
        build_task("ranking")
    with pytest.raises(ConfigError, match="a regression task cannot be built.*argument 'margin'"):
        build_task("regression", model="tiny", model_params={}, margin=1)


def test_settings_are_plain_and_rebuild_the_task() -> None:
    first = tiny_task(width=6)
    again = build_task("regression", **first.settings)
    assert {name: p.shape for name, p in first.state_dict().items()} == {
        name: p.shape for name, p in again.state_dict().items()
    }
    assert all(name.startswith("model.") for name in first.state_dict())
