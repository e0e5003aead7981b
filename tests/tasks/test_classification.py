from __future__ import annotations

import math

import pytest
import torch
from tiny_training import Fixed, molecule_batch, register
from torch.nn import functional

from geograph import models
from geograph.errors import ConfigError, DataError
from geograph.tasks.classification import ClassificationTask


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    table = dict(models.MODELS)
    register(table)
    monkeypatch.setattr(models, "MODELS", table)


def task(logits: list[list[float]], **params: object) -> ClassificationTask:
    made = ClassificationTask(model="tiny", model_params={"num_outputs": len(logits[0])}, **params).eval()
    made.model = Fixed(logits)
    return made


def batch_of(labels: list[int]) -> object:
    batch = molecule_batch(list(range(10, 10 + len(labels))))
    batch.y = torch.tensor(labels)
    return batch


def test_cross_entropy_by_hand() -> None:
    made = task([[0.0, 0.0], [math.log(3), 0.0]])
    expected = (math.log(2) - math.log(3 / 4)) / 2
    assert made.training_loss(batch_of([1, 0])).item() == pytest.approx(expected)
    metrics, _ = made.evaluate([batch_of([1, 0])])
    assert metrics["loss"] == pytest.approx(expected)
    assert metrics["auc"] == 1.0
    assert metrics["accuracy"] == 0.5
    assert made.predict(batch_of([1, 0])).tolist()[1] == pytest.approx([0.75, 0.25])


def test_one_output_is_the_logit_of_class_one() -> None:
    single = task([[0.3], [-1.2]])
    expected = functional.binary_cross_entropy_with_logits(
        torch.tensor([0.3, -1.2]), torch.tensor([1.0, 0.0])
    )
    assert single.training_loss(batch_of([1, 0])).item() == pytest.approx(expected.item())
    assert single.evaluate([batch_of([1, 0])])[0]["accuracy"] == 1.0


def test_balanced_weights_have_mean_one_and_leave_evaluation_alone() -> None:
    made = task([[0.0, 0.0], [0.0, 0.0]], class_weights="balanced", statistics={"class_counts": [30, 10]})
    assert made.class_weight.tolist() == pytest.approx([40 / 60, 40 / 20])
    assert (30 * made.class_weight[0] + 10 * made.class_weight[1]).item() == pytest.approx(40)
    assert made.training_loss(batch_of([0, 1])).item() == pytest.approx(math.log(2) * (2 / 3 + 2) / 2)
    assert made.evaluate([batch_of([0, 1])])[0]["loss"] == pytest.approx(math.log(2))


def test_smoothing_by_hand() -> None:
    made = task([[math.log(3), 0.0]], label_smoothing=0.2)
    expected = -(0.9 * math.log(0.75) + 0.1 * math.log(0.25))
    assert made.training_loss(batch_of([0])).item() == pytest.approx(expected)


def test_single_class_has_no_auc() -> None:
    metrics, _ = task([[1.0, 0.0], [0.0, 1.0]]).evaluate([batch_of([0, 0])])
    assert metrics.keys() == {"loss", "accuracy"}


def test_many_classes_have_accuracy_only() -> None:
    metrics, _ = task([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).evaluate([batch_of([0, 2])])
    assert metrics.keys() == {"loss", "accuracy"}
    assert metrics["accuracy"] == 1.0


def test_bad_labels_and_parameters() -> None:
    with pytest.raises(DataError, match=r"record 11: label 2 is not in \[0, 2\); check the labels"):
        task([[0.0, 0.0], [0.0, 0.0]]).training_loss(batch_of([0, 2]))
    with pytest.raises(ConfigError, match=r"`label_smoothing` must lie in \[0, 1\), got 1.0"):
        task([[0.0]], label_smoothing=1.0)
    with pytest.raises(ConfigError, match="`class_weights` must be 'balanced' or None, got 'even'"):
        task([[0.0]], class_weights="even")
    with pytest.raises(ConfigError, match="`statistics` must hold `class_counts`, positive for each"):
        task([[0.0]], class_weights="balanced")
    uneven = task([[0.0, 0.0]], class_weights="balanced", statistics={"class_counts": [1, 1, 1]})
    with pytest.raises(ConfigError, match="`class_counts` must have one entry for each of 2 classes, got 3"):
        uneven.training_loss(batch_of([0]))
