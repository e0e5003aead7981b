from __future__ import annotations

import pytest
import torch
from tiny_training import Fixed, register
from torch_geometric.data import Data

from geograph import models
from geograph.errors import ShapeError
from geograph.tasks.trajectory import TrajectoryTask, fit_linear_time


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    table = dict(models.MODELS)
    register(table)
    monkeypatch.setattr(models, "MODELS", table)


def systems() -> Data:
    """Two systems of one and two particles that move straight for a time of 2."""
    generator = torch.Generator().manual_seed(0)
    pos, vel = torch.randn(3, 3, generator=generator), torch.randn(3, 3, generator=generator)
    data = Data(pos=pos, vel=vel, pos_target=pos + 2 * vel, batch=torch.tensor([0, 1, 1]))
    data.num_nodes, data.num_graphs = 3, 2
    return data


def test_errors_by_hand() -> None:
    data = systems()
    statistics = {"linear_time": 1.5}
    task = TrajectoryTask(model="drift", model_params={"time": 1.0}, statistics=statistics).eval()
    square = data.vel.square().mean().item()
    assert task.training_loss(data).item() == pytest.approx(square, rel=1e-5)
    metrics, terms = task.evaluate([data])
    assert metrics["mse"] == pytest.approx(square, rel=1e-5)
    assert metrics["mse_linear"] == pytest.approx(0.25 * square, rel=1e-5)
    assert terms["num_coordinates"].tolist() == [3, 6]
    assert task.predict(data).detach() == pytest.approx((data.pos + data.vel).detach(), rel=1e-6)


def test_time_of_straight_motion_is_recovered() -> None:
    data = systems()
    assert fit_linear_time(data.pos, data.vel, data.pos_target) == pytest.approx(2.0, rel=1e-6)


def test_without_a_time_there_is_no_straight_motion() -> None:
    task = TrajectoryTask(model="drift", model_params={})
    assert task.evaluate([systems()])[0].keys() == {"loss", "mse"}


def test_model_without_positions_is_refused() -> None:
    task = TrajectoryTask(model="drift", model_params={})
    task.model = Fixed([[0.0], [0.0]])
    with pytest.raises(ShapeError, match=r"shape \(3, 3\) of `pos`, got \(2, 1\); drift"):
        task.predict(systems())
