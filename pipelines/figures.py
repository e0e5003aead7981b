"""Figures of the stages, drawn without a display: every function returns a matplotlib Figure."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from geograph.errors import ShapeError

#: Eight colours that stay apart for colour-blind readers (Okabe and Ito 2008), light yellow left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
_DASHES = ("-", "--", "-.", ":")
_DPI = 150
#: Largest confusion matrix whose cells still have room for numbers.
_MAX_ANNOTATED_CLASSES = 20
#: Curves of so few points show them.
_MAX_MARKED_POINTS = 12


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, np.ndarray]:
    """Return a figure of the given size in inches and its axes [rows, columns]."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.asarray(figure.subplots(rows, columns, squeeze=False))
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write the figure; the suffix chooses the format. The folder is made if needed."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Without dates and versions the same data gives the same bytes.
    metadata = {"Software": None} if target.suffix == ".png" else None
    figure.savefig(target, metadata=metadata)
    return target


def png_base64(figure: Figure) -> str:
    """Return the figure as a PNG in base64, for embedding."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _style(number: int) -> dict[str, Any]:
    dash = _DASHES[number // len(COLOURS) % len(_DASHES)]
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": dash, "linewidth": 1.6}


def _legend(axis: Axes, **options: Any) -> None:
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, fontsize=9, **options)


def learning_curves(
    histories: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    x: str = "epoch",
    key: str = "val/loss",
    ylabel: str = "validation loss",
    logarithmic: bool = True,
) -> Figure:
    """Draw one quantity of several runs against training progress.

    Parameters
    ----------
    histories
        For each run, its columns by name, all of one length; runs without `key` are left out.
    x
        Column of the horizontal axis; it is also its label, underscores as spaces.
    key
        Column that is drawn.
    ylabel
        What `key` means, with its unit.
    logarithmic
        Whether the vertical axis is logarithmic; it is linear where a value is not positive.
    """
    figure, axes = new_figure(6.4, 4.0)
    axis = axes[0, 0]
    drawn = {name: history for name, history in histories.items() if key in history}
    for number, (name, history) in enumerate(drawn.items()):
        values = np.asarray(history[key], dtype=float)
        known = np.isfinite(values)  # an epoch without validation is a gap, which the line bridges
        steps = np.asarray(_column(history, x, key), dtype=float)
        marker = "o" if known.sum() <= _MAX_MARKED_POINTS else None
        axis.plot(steps[known], values[known], label=name, marker=marker, markersize=4, **_style(number))
    _progress_axis(axis, x)
    axis.set_ylabel(ylabel)
    lowest = min((np.nanmin(history[key]) for history in drawn.values() if len(history[key])), default=1.0)
    if logarithmic and lowest > 0:
        axis.set_yscale("log")
    _legend(axis)
    return figure


def loss_history(
    history: Mapping[str, Sequence[float]],
    *,
    panels: Mapping[str, Sequence[str]],
    x: str = "epoch",
    title: str = "",
) -> Figure:
    """Draw several quantities of one run, one panel for each group.

    Parameters
    ----------
    history
        Columns by name, all of one length; a gap is NaN.
    panels
        Label of the vertical axis (with unit) of each panel, and the columns drawn in it.
    x
        Column of the horizontal axis.
    title
        Name of the run.
    """
    figure, axes = new_figure(4.6 * len(panels), 3.6, columns=len(panels))
    for axis, (ylabel, keys) in zip(axes[0], panels.items(), strict=True):
        for number, key in enumerate(key for key in keys if key in history):
            values = np.asarray(history[key], dtype=float)
            known = np.isfinite(values)
            steps = np.asarray(_column(history, x, key), dtype=float)
            marker = "o" if known.sum() <= _MAX_MARKED_POINTS else None
            label = key.replace("_", " ")
            axis.plot(steps[known], values[known], label=label, marker=marker, markersize=4, **_style(number))
        _progress_axis(axis, x)
        axis.set_ylabel(ylabel)
        _legend(axis)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _column(history: Mapping[str, Sequence[float]], x: str, key: str) -> Sequence[float]:
    steps = history.get(x, range(len(history[key])))
    if len(steps) != len(history[key]):
        raise ShapeError(
            f"columns `{x}` and `{key}` must have one length, got {len(steps)} and {len(history[key])}"
        )
    return steps


def _progress_axis(axis: Axes, x: str) -> None:
    axis.set_xlabel(x.replace("_", " "))
    if x in ("epoch", "step"):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.25, which="major")


def roc_curves(curves: Mapping[str, tuple[Sequence[float], Sequence[float], float]]) -> Figure:
    """Draw ROC curves twice: the usual way, and as background rejection over signal efficiency.

    Parameters
    ----------
    curves
        For each model: false-positive rates, true-positive rates, and the area under the curve.
    """
    figure, axes = new_figure(9.6, 4.2, columns=2)
    usual, rejection = axes[0]
    usual.plot([0, 1], [0, 1], color="0.75", linewidth=1, linestyle=":", zorder=0)
    ceiling = 10.0
    for number, (name, (fpr, tpr, auc)) in enumerate(curves.items()):
        false, true = np.asarray(fpr, dtype=float), np.asarray(tpr, dtype=float)
        usual.plot(false, true, label=f"{name} (AUC {auc:.4f})", **_style(number))
        some = (false > 0) & (true > 0)
        rejection.plot(true[some], 1.0 / false[some], label=name, **_style(number))
        ceiling = max(ceiling, float(np.max(1.0 / false[some], initial=1.0)))
    usual.set(xlabel="background efficiency $\\varepsilon_B$", ylabel="signal efficiency $\\varepsilon_S$")
    usual.set(xlim=(0, 1), ylim=(0, 1.01))
    _legend(usual, loc="lower right")
    rejection.set(
        xlabel="signal efficiency $\\varepsilon_S$", ylabel="background rejection $1/\\varepsilon_B$"
    )
    rejection.set(xlim=(0, 1), ylim=(1, 1.5 * ceiling), yscale="log")
    for efficiency in (0.3, 0.5):
        rejection.axvline(efficiency, color="0.75", linewidth=1, linestyle=":", zorder=0)
    for axis in (usual, rejection):
        axis.grid(alpha=0.25)
    return figure


def confusion(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Draw a confusion matrix: rows are true classes, colour is the share of the row, numbers are counts.

    Raises
    ------
    ShapeError
        If the matrix is not square with one row for each name.
    """
    counts = np.asarray(matrix)
    num_classes = len(class_names)
    if counts.shape != (num_classes, num_classes):
        raise ShapeError(f"`matrix` must have shape ({num_classes}, {num_classes}), got {counts.shape}")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.6 + max(0.3 * num_classes, 1.6)
    figure, axes = new_figure(size + 0.8, size)
    axis = axes[0, 0]
    image = axis.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    axis.spines[:].set_visible(False)
    ticks = np.arange(num_classes)
    font = 9 if num_classes <= _MAX_ANNOTATED_CLASSES else 7
    axis.set_xticks(ticks, class_names, rotation=45, ha="right", rotation_mode="anchor", fontsize=font)
    axis.set_yticks(ticks, class_names, fontsize=font)
    axis.set(xlabel="predicted class", ylabel="true class")
    if num_classes <= _MAX_ANNOTATED_CLASSES:
        for row, column in np.argwhere(counts > 0).tolist():
            colour = "white" if share[row, column] > 0.55 else "0.15"
            text = f"{counts[row, column]:g}"
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=font - 1)
    figure.colorbar(image, ax=axis, label="share of the true class", shrink=0.8)
    return figure


def parity_plot(truth: np.ndarray, prediction: np.ndarray, *, quantity: str, unit: str) -> Figure:
    """Draw predictions against true values, and the histogram of the errors.

    Parameters
    ----------
    truth, prediction
        Values [n] in `unit`.
    quantity
        What they are, for the labels.
    unit
        Their unit.

    Raises
    ------
    ShapeError
        If the two have different lengths, or none.
    """
    true, predicted = np.ravel(truth).astype(float), np.ravel(prediction).astype(float)
    if true.shape != predicted.shape or not true.size:
        raise ShapeError(
            f"`truth` and `prediction` must have one length above 0, got {true.size}, {predicted.size}"
        )
    figure, axes = new_figure(9.2, 4.2, columns=2)
    scatter, histogram = axes[0]
    both = np.concatenate([true, predicted])
    margin = 0.04 * (np.ptp(both) or 1.0)
    ends = (both.min() - margin, both.max() + margin)
    scatter.plot(ends, ends, color="0.6", linewidth=1, linestyle="--", zorder=0)
    scatter.scatter(true, predicted, s=9, alpha=0.5, color=COLOURS[0], linewidths=0, rasterized=True)
    scatter.set(xlim=ends, ylim=ends, aspect="equal")
    scatter.set(xlabel=f"true {quantity} [{unit}]", ylabel=f"predicted {quantity} [{unit}]")
    error = predicted - true
    reach = float(np.quantile(np.abs(error), 0.99)) * 1.3 or 1.0
    outside = int((np.abs(error) > reach).sum())
    histogram.hist(error, bins=np.linspace(-reach, reach, 51).tolist(), color=COLOURS[0], alpha=0.85)
    histogram.axvline(0.0, color="0.4", linewidth=1)
    histogram.set(xlabel=f"predicted − true {quantity} [{unit}]", ylabel="records")
    mae, rmse = np.abs(error).mean(), np.sqrt((error**2).mean())
    note = f"MAE {mae:.3g} {unit}\nRMSE {rmse:.3g} {unit}" + (f"\n{outside} outside" if outside else "")
    histogram.text(0.98, 0.97, note, transform=histogram.transAxes, ha="right", va="top", fontsize=9)
    for axis in (scatter, histogram):
        axis.grid(alpha=0.25)
    return figure
