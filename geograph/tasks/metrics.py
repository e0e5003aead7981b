"""Metrics of a whole data set as plain functions of arrays; every value is a JSON number.

Classification: signal is class 1, a score is larger for more signal-like items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from geograph.errors import ShapeError


def regression_metrics(
    prediction: Float[np.ndarray, "items targets"],
    target: Float[np.ndarray, "items targets"],
    suffixes: Sequence[str],
) -> dict[str, float]:
    """Mean absolute and root-mean-square error of each target, as `mae_<suffix>` and `rmse_<suffix>`.

    Parameters
    ----------
    prediction, target
        In the physical unit of each target.
    suffixes
        Name and unit of each target, such as `energy_ev`.

    Raises
    ------
    ShapeError
        If there is not exactly one suffix for each target.
    """
    if len(suffixes) != target.shape[1]:
        raise ShapeError(f"`suffixes` must name {target.shape[1]} targets, got {len(suffixes)}: {suffixes}.")
    error = prediction.astype(np.float64) - target.astype(np.float64)
    mae, rmse = np.abs(error).mean(axis=0), np.sqrt((error**2).mean(axis=0))
    values = {f"mae_{name}": float(value) for name, value in zip(suffixes, mae, strict=True)}
    return values | {f"rmse_{name}": float(value) for name, value in zip(suffixes, rmse, strict=True)}


def _signal_background(
    labels: Int[np.ndarray, " items"], scores: Float[np.ndarray, " items"]
) -> tuple[np.ndarray, np.ndarray]:
    signal, background = scores[labels == 1], scores[labels == 0]
    if len(signal) == 0 or len(background) == 0:
        raise ShapeError(
            f"`labels` must hold both classes 0 and 1, got {len(background)} items of class 0 and "
            f"{len(signal)} of class 1; a larger or shuffled data set is needed."
        )
    return signal, background


def auc(labels: Int[np.ndarray, " items"], scores: Float[np.ndarray, " items"]) -> float:
    """Area under the ROC curve: the probability that a signal item scores above a background item.

    Computed from ranks (Mann-Whitney), where a tie counts one half; equal to the trapezoidal area.

    Raises
    ------
    ShapeError
        If one of the classes is missing.
    """
    signal, background = _signal_background(labels, scores)
    ranks = rankdata(np.concatenate([signal, background]))[: len(signal)].sum()
    pairs = len(signal) * len(background)
    return float((ranks - len(signal) * (len(signal) + 1) / 2) / pairs)


def rejection(
    labels: Int[np.ndarray, " items"], scores: Float[np.ndarray, " items"], signal_efficiency: float
) -> tuple[float, int]:
    """Background rejection 1/eps_B at a signal efficiency, and how many background items survive.

    The threshold is the highest score that keeps at least `signal_efficiency` of the signal; items at the
    threshold survive. When no background item survives, the rejection is a lower bound: the value for one
    surviving item, that is the number of background items, together with the count 0.

    Raises
    ------
    ShapeError
        If one of the classes is missing.
    """
    signal, background = _signal_background(labels, scores)
    kept = max(1, math.ceil(signal_efficiency * len(signal) - 1e-9))
    threshold = np.sort(signal)[len(signal) - kept]
    survivors = int((background >= threshold).sum())
    return len(background) / max(survivors, 1), survivors


def tagging_metrics(
    labels: Int[np.ndarray, " items"],
    scores: Float[np.ndarray, " items"],
    signal_efficiencies: Sequence[float] = (0.3, 0.5),
) -> dict[str, float]:
    """`auc`, and `rejection_at_<eps>` with `background_at_<eps>`, the surviving background count.

    Raises
    ------
    ShapeError
        If one of the classes is missing.
    """
    values = {"auc": auc(labels, scores)}
    for efficiency in signal_efficiencies:
        ratio, survivors = rejection(labels, scores, efficiency)
        values[f"rejection_at_{efficiency:g}"] = ratio
        values[f"background_at_{efficiency:g}"] = float(survivors)
    return values


def roc_points(
    labels: Int[np.ndarray, " items"], scores: Float[np.ndarray, " items"], max_points: int = 500
) -> dict[str, list[float]]:
    """Points of the ROC curve from (0, 0) to (1, 1), thinned to at most `max_points`.

    Returns
    -------
    `false_positive_rate` and `true_positive_rate`, both rising.

    Raises
    ------
    ShapeError
        If one of the classes is missing.
    """
    signal, background = _signal_background(labels, scores)
    thresholds = np.unique(np.concatenate([signal, background]))[::-1]
    # Number of items at or above each threshold.
    true = len(signal) - np.searchsorted(np.sort(signal), thresholds, side="left")
    false = len(background) - np.searchsorted(np.sort(background), thresholds, side="left")
    tpr = np.concatenate([[0.0], true / len(signal)])
    fpr = np.concatenate([[0.0], false / len(background)])
    # Low background rates matter most: half of the points are even in index, half in the logarithm of it.
    last = len(tpr) - 1
    half = max(2, max_points // 2)
    even = np.linspace(0, last, half)
    geometric = np.geomspace(1, max(last, 1), half)
    index = np.unique(np.concatenate([even, geometric]).round().astype(np.int64))
    index = index[index <= last]
    return {"false_positive_rate": fpr[index].tolist(), "true_positive_rate": tpr[index].tolist()}


def confusion_matrix(
    labels: Int[np.ndarray, " items"], predicted: Int[np.ndarray, " items"], num_classes: int
) -> Int[np.ndarray, "num_classes num_classes"]:
    """Count the items of each true class (rows) and predicted class (columns).

    Raises
    ------
    ShapeError
        If a class is outside [0, num_classes).
    """
    for name, values in (("labels", labels), ("predicted", predicted)):
        if len(values) and (values.min() < 0 or values.max() >= num_classes):
            raise ShapeError(
                f"`{name}` must lie in [0, {num_classes}), got values from {values.min()} to {values.max()}."
            )
    flat = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)
