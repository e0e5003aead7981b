"""Figures of generated molecules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from geograph.errors import DataError
from geograph.interop.molecule_metrics import evaluate_molecules
from geograph.records import Molecule
from pipelines.figures import png_base64
from pipelines.figures_molecules import QUALITIES, distribution_plots, quality_plot


def ethanes(num: int, seed: int) -> list[Molecule]:
    from ase.build import molecule

    atoms = molecule("C2H6")
    generator = np.random.default_rng(seed)
    shape = atoms.positions.shape
    return [
        Molecule(
            np.asarray(atoms.numbers, np.int64), atoms.positions + 0.01 * generator.standard_normal(shape)
        )
        for _ in range(num)
    ]


def test_every_quantity_has_a_panel() -> None:
    report = evaluate_molecules(ethanes(8, 0), reference=ethanes(16, 1))
    assert report.distributions is not None
    figure = distribution_plots(report.distributions)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    expected = {"number of atoms", "elements", "C-H length", "C-C length", "H-C-C-H dihedral"}
    assert expected <= set(titles)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training data", "samples"]
    # The samples' bars of the elements are their fractions: six H and two C.
    axis = figure.axes[titles.index("elements")]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["H", "C"]
    assert [bar.get_height() for bar in axis.patches][-2:] == pytest.approx([0.75, 0.25])
    assert png_base64(figure)


def test_distributions_need_a_reference() -> None:
    with pytest.raises(DataError, match="no distribution to draw"):
        distribution_plots({})


def row(sampler: str, num_steps: int, value: float) -> dict[str, Any]:
    found: dict[str, Any] = {"sampler": sampler, "num_steps": num_steps, "molecules_per_s": 100 / num_steps}
    for key in QUALITIES:
        found |= {key: value, f"{key}_low": value - 0.1, f"{key}_high": value + 0.1}
    return found


def test_quality_is_drawn_in_the_order_of_steps() -> None:
    rows = [row("ancestral", 50, 0.8), row("ancestral", 10, 0.5), row("ddim", 10, 0.7)]
    figure = quality_plot(rows, ceiling={"atom_stability": 0.99})
    axis = figure.axes[0]
    np.testing.assert_allclose(axis.lines[0].get_xydata(), [[10, 50], [50, 80]])
    np.testing.assert_allclose(axis.lines[1].get_xydata(), [[10, 70]])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["ancestral", "ddim", "training data"]
    np.testing.assert_allclose(figure.axes[-1].lines[0].get_xydata(), [[10, 10], [50, 2]])
    assert png_base64(figure)


def test_quality_needs_rows() -> None:
    with pytest.raises(DataError, match="no row to draw"):
        quality_plot([])
