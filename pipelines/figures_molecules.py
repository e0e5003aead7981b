"""Figures of generated molecules: distributions beside the training data, quality against sampling steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, MultipleLocator, NullFormatter

from geograph.errors import DataError
from geograph.interop.molecule_distributions import Distribution, Histogram
from pipelines.figures import COLOURS, new_figure

#: Quantities in the order of the panels: title, and how many of the most frequent types are drawn.
_PANELS = {
    "sizes": ("number of atoms", 1),
    "elements": ("elements", 1),
    "bond_types": ("bonds", 1),
    "ring_counts": ("rings in a molecule", 1),
    "ring_sizes": ("atoms in a ring", 1),
    "bond_lengths": ("length", 5),
    "bond_angles": ("angle", 5),
    "dihedral_angles": ("dihedral", 5),
}
_UNITS = {"angstrom": "Å", "degree": "degrees", "atoms": "atoms", "rings": "rings", "": ""}
_COLUMNS = 5
_MOST_CATEGORIES = 8
_SAMPLED, _REFERENCE = COLOURS[1], "0.72"
_MARKERS = "osD^vP"

#: Columns of a quality table that are drawn, with the labels of their axes; each has an interval.
QUALITIES = {
    "atom_stability": "stable atoms / %",
    "molecule_stability": "stable molecules / %",
    "rdkit_validity": "valid molecules (RDKit) / %",
}


def distribution_plots(
    distributions: Mapping[str, Distribution], *, names: tuple[str, str] = ("samples", "training data")
) -> Figure:
    """Draw what is found in samples over what is found in the reference, one panel for each quantity or type.

    Parameters
    ----------
    distributions
        As in `MoleculeReport.distributions`: sizes, elements, rings, bonds, angles.
    names
        What the samples and the reference are called.

    Raises
    ------
    DataError
        If no quantity has a histogram.
    """
    panels: list[tuple[str, str, Histogram]] = []
    for key, (title, num_types) in _PANELS.items():
        found = distributions.get(key)
        kinds = [kind for kind in found.types if kind.histogram is not None] if found is not None else []
        for kind in kinds[:num_types]:
            if found is not None and kind.histogram is not None:
                unit = _UNITS.get(found.unit, found.unit)
                panels.append((f"{kind.name} {title}".strip(), unit, kind.histogram))
    if not panels:
        raise DataError("no distribution to draw", remedy="judge the molecules against reference molecules")
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(2.7 * columns, 2.0 * rows + 0.4, rows, columns)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (title, unit, histogram) in zip(axes.flat, panels, strict=False):
        _draw_histogram(axis, histogram, unit)
        axis.set_title(title, fontsize=9)
    handles, _ = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names[::-1], loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _draw_histogram(axis: Axes, histogram: Histogram, unit: str) -> None:
    """Draw the reference as an area, the samples as a line or narrow bars over it."""
    if histogram.labels:
        order = np.argsort(-np.asarray(histogram.reference), kind="stable")[:_MOST_CATEGORIES]
        labels = [histogram.labels[k] for k in order]
        if all(label.isdigit() for label in labels):
            order = order[np.argsort([int(label) for label in labels])]
        places = np.arange(len(order))
        axis.bar(places, np.asarray(histogram.reference)[order], 0.8, color=_REFERENCE, label="reference")
        axis.bar(places, np.asarray(histogram.samples)[order], 0.4, color=_SAMPLED, label="samples")
        axis.set_xticks(places, [histogram.labels[k] for k in order])
        axis.set_ylabel("fraction", fontsize=8)
    else:
        edges = np.asarray(histogram.edges)
        axis.stairs(histogram.reference, edges, fill=True, color=_REFERENCE, label="reference")
        axis.stairs(histogram.samples, edges, color=_SAMPLED, linewidth=1.4, label="samples")
        axis.set_xlabel(unit, fontsize=8)
        axis.set_xlim(edges[0], edges[-1])
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.xaxis.set_major_locator(_locator(unit, edges[-1] - edges[0]))
    axis.margins(y=0.08)
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=7.5)


def _locator(unit: str, span: float) -> Locator:
    if unit == _UNITS["degree"]:
        return MultipleLocator(60 if span <= 200 else 120)
    return MaxNLocator(5, integer=unit in ("atoms", "rings"))


def quality_plot(rows: Sequence[Mapping[str, Any]], *, ceiling: Mapping[str, float] | None = None) -> Figure:
    """Draw the quality of molecules and the speed of sampling against the number of steps, by sampler.

    Parameters
    ----------
    rows
        One for each sampler and number of steps, as from `pipelines.quality`: `sampler`, `num_steps`, for
        each of `QUALITIES` its value with `_low` and `_high` (95 %), and `molecules_per_s`.
    ceiling
        The same figures of the training molecules, drawn as a dotted line.

    Raises
    ------
    DataError
        If there are no rows.
    """
    if not rows:
        raise DataError("no row to draw", remedy="sample with at least one number of steps")
    figure, axes = new_figure(3.3 * (len(QUALITIES) + 1), 3.3, columns=len(QUALITIES) + 1)
    samplers = list(dict.fromkeys(row["sampler"] for row in rows))
    for axis, (key, label) in zip(axes[0], QUALITIES.items(), strict=False):
        for number, sampler in enumerate(samplers):
            mine = sorted((row for row in rows if row["sampler"] == sampler), key=lambda r: r["num_steps"])
            _draw_quality(axis, mine, key, number, sampler)
        if ceiling is not None and key in ceiling:
            axis.axhline(100 * ceiling[key], color="0.4", linestyle=":", linewidth=1.2, label="training data")
        axis.set_ylabel(label)
        axis.set_ylim(0, 103)
    for number, sampler in enumerate(samplers):
        mine = sorted((row for row in rows if row["sampler"] == sampler), key=lambda r: r["num_steps"])
        points = [(row["num_steps"], row["molecules_per_s"]) for row in mine]
        axes[0, -1].plot(*np.array(points).T, color=COLOURS[number], **_mark(number))
    axes[0, -1].set(ylabel="molecules per second", yscale="log")
    axes[0, -1].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _step_axes(axes[0], sorted({int(row["num_steps"]) for row in rows}))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure


def _mark(number: int) -> dict[str, Any]:
    return {"marker": _MARKERS[number % len(_MARKERS)], "markersize": 4.5, "linewidth": 1.5}


def _draw_quality(axis: Axes, rows: Sequence[Mapping[str, Any]], key: str, number: int, label: str) -> None:
    steps = [row["num_steps"] for row in rows]
    value, low, high = (
        100 * np.array([row[name] for row in rows], dtype=float)
        for name in (key, f"{key}_low", f"{key}_high")
    )
    axis.fill_between(steps, low, high, color=COLOURS[number], alpha=0.15, linewidth=0)
    axis.plot(steps, value, color=COLOURS[number], label=label, **_mark(number))


def _step_axes(axes: Sequence[Axes], steps: Sequence[int]) -> None:
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xticks(steps)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.minorticks_off()
        axis.set_xlabel("sampling steps")
        axis.grid(alpha=0.25)
