"""Figures are drawn, say what they show, and come out as the same bytes for the same data."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from geograph.errors import ShapeError
from pipelines.figures import (
    confusion,
    learning_curves,
    loss_history,
    parity_plot,
    png_base64,
    roc_curves,
    save_figure,
)

_PNG = b"\x89PNG\r\n\x1a\n"


def texts(figure: Figure) -> set[str]:
    from matplotlib.text import Text

    return {text.get_text() for text in figure.findobj(Text)}


def history(num_epochs: int = 20) -> dict[str, list[float]]:
    epochs = [float(epoch) for epoch in range(num_epochs)]
    return {"epoch": epochs, "val/loss": [1 / (1 + epoch) for epoch in epochs]}


def test_learning_curves_are_logarithmic_and_labelled() -> None:
    figure = learning_curves({"EGNN": history(), "CGENN": history(3), "untrained": {"epoch": [0.0]}})
    assert {"EGNN", "CGENN", "epoch", "validation loss"} <= texts(figure)
    assert "untrained" not in texts(figure)
    assert figure.axes[0].get_yscale() == "log"


def test_learning_curves_of_negative_values_are_linear() -> None:
    figure = learning_curves(
        {"EDM": {"epoch": [0, 1], "val/nll": [2.0, -3.0]}}, key="val/nll", ylabel="NLL [nats]"
    )
    assert figure.axes[0].get_yscale() == "linear"


def test_learning_curves_without_runs() -> None:
    assert learning_curves({}).axes[0].get_legend() is None


def test_columns_must_have_one_length() -> None:
    with pytest.raises(ShapeError, match=r"columns `epoch` and `val/loss` must have one length, got 2 and 1"):
        learning_curves({"EGNN": {"epoch": [0.0, 1.0], "val/loss": [1.0]}})


def test_loss_history_leaves_gaps_out() -> None:
    columns = history() | {"atom_stability": [float("nan")] * 19 + [0.5]}
    figure = loss_history(columns, panels={"loss": ["val/loss"], "fraction": ["atom_stability"]}, title="EDM")
    assert {"loss", "fraction", "EDM", "atom stability"} <= texts(figure)
    assert figure.axes[1].lines[0].get_xdata().tolist() == [19.0]


def test_roc_curves_show_rejection() -> None:
    rates = np.linspace(0, 1, 50)
    figure = roc_curves({"LorentzNet": (rates**3, rates, 0.75)})
    assert "LorentzNet (AUC 0.7500)" in texts(figure)
    curve = figure.axes[1].lines[0]
    np.testing.assert_allclose(curve.get_ydata(), 1 / rates[1:] ** 3)


def test_confusion_has_counts_only_where_they_fit() -> None:
    assert {"7", "QCD", "top"} <= texts(confusion(np.array([[7, 1], [0, 9]]), ["QCD", "top"]))
    many = confusion(np.eye(30) * 4, [f"class {index}" for index in range(30)])
    assert "4" not in texts(many)
    empty_class = confusion(np.array([[3, 0], [0, 0]]), ["a", "b"])
    assert "3" in texts(empty_class)


def test_confusion_must_be_square() -> None:
    with pytest.raises(ShapeError, match=r"`matrix` must have shape \(2, 2\), got \(2, 3\)"):
        confusion(np.zeros((2, 3)), ["a", "b"])


def test_parity_plot_has_units_and_errors() -> None:
    truth = np.linspace(-5, 5, 100)
    figure = parity_plot(truth, truth + 0.5, quantity="energy", unit="eV")
    assert {"true energy [eV]", "predicted energy [eV]", "MAE 0.5 eV\nRMSE 0.5 eV"} <= texts(figure)
    parity_plot(np.ones(1), np.ones(1), quantity="energy", unit="eV")  # no spread at all


def test_parity_plot_needs_pairs() -> None:
    with pytest.raises(ShapeError, match="must have one length above 0, got 2, 3"):
        parity_plot(np.ones(2), np.ones(3), quantity="energy", unit="eV")


def test_saved_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [
        save_figure(learning_curves({"a": history()}), tmp_path / name / "curve.png") for name in ("a", "b")
    ]
    first, second = (path.read_bytes() for path in paths)
    assert first.startswith(_PNG)
    assert first == second


def test_embedded_picture_is_png() -> None:
    assert base64.b64decode(png_base64(learning_curves({"a": history()}))).startswith(_PNG)
