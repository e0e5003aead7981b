from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from geograph.errors import ShapeError
from geograph.tasks.metrics import (
    auc,
    confusion_matrix,
    regression_metrics,
    rejection,
    roc_points,
    tagging_metrics,
)

LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
SCORES = np.array([0.9, 0.8, 0.7, 0.1, 0.85, 0.6, 0.5, 0.4, 0.3, 0.2])


def test_regression_by_hand() -> None:
    prediction, target = np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([[0.0, 2.0], [0.0, 6.0]])
    values = regression_metrics(prediction, target, ["energy_ev", "gap_ev"])
    assert values == pytest.approx(
        {"mae_energy_ev": 2.0, "mae_gap_ev": 2.0, "rmse_energy_ev": 5**0.5, "rmse_gap_ev": 8**0.5}
    )
    with pytest.raises(ShapeError, match="`suffixes` must name 2 targets, got 1"):
        regression_metrics(prediction, target, ["energy_ev"])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=60))
def test_auc_equals_that_of_sklearn(items: list[tuple[bool, int]]) -> None:
    labels = np.array([int(label) for label, _ in items])
    scores = np.array([score / 7 for _, score in items])
    labels[:2] = (0, 1)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_rejection_by_hand() -> None:
    # Two of four signal items are kept at 0.8; one background item (0.85) is at or above it.
    assert rejection(LABELS, SCORES, 0.5) == (6.0, 1)
    # 0.3 of four needs two items too; 0.75 goes down to 0.7, 1.0 down to 0.1.
    assert rejection(LABELS, SCORES, 0.3) == (6.0, 1)
    assert rejection(LABELS, SCORES, 0.75) == (6.0, 1)
    assert rejection(LABELS, SCORES, 1.0) == (1.0, 6)


def test_rejection_without_survivors_is_a_lower_bound() -> None:
    assert rejection(LABELS, SCORES, 0.25) == (6.0, 0)


def test_ties_at_the_threshold_survive() -> None:
    assert rejection(np.array([1, 0, 0]), np.array([0.5, 0.5, 0.5]), 0.5) == (1.0, 2)


def test_tagging_metrics_are_json_values() -> None:
    values = tagging_metrics(LABELS, SCORES)
    assert values["auc"] == pytest.approx(roc_auc_score(LABELS, SCORES))
    assert (values["rejection_at_0.3"], values["background_at_0.3"]) == (6.0, 1.0)
    assert (values["rejection_at_0.5"], values["background_at_0.5"]) == (6.0, 1.0)
    json.dumps(values, allow_nan=False)


def test_one_class_is_refused() -> None:
    with pytest.raises(ShapeError, match="must hold both classes 0 and 1, got 2 items of class 0 and 0"):
        auc(np.array([0, 0]), np.array([0.1, 0.2]))


def test_roc_points_lie_on_the_curve_of_sklearn() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 3000)
    scores = generator.normal(labels, 1.0)
    points = roc_points(labels, scores, max_points=100)
    fpr, tpr = np.array(points["false_positive_rate"]), np.array(points["true_positive_rate"])
    assert len(fpr) <= 100
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0.0, 0.0, 1.0, 1.0)
    expected = set(zip(*roc_curve(labels, scores, drop_intermediate=False)[:2], strict=True))
    assert set(zip(fpr, tpr, strict=True)) <= expected


def test_confusion_matrix_by_hand() -> None:
    matrix = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    with pytest.raises(ShapeError, match=r"`predicted` must lie in \[0, 2\), got values from 0 to 2"):
        confusion_matrix(np.array([0, 1]), np.array([0, 2]), 2)
