"""Rows of the benchmark: their keys, and how they compare with each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

#: Keys of every row, in order. For spherical transforms `forward_s` is the synthesis, `analysis_s` and
#: `backward_s` (of both) come beside it, `step_s` is their sum, and `memory_ratio` and `speedup_step` are
#: against the backend `gemm`. Speed-ups and the memory ratio are against the backend `reference` of the same
#: case (for the loader: against PyTorch Geometric); a memory ratio below 1 is a saving. `speedup_padded` is
#: the training step of the padded layout over that of the row. `roofline_*` is the time of the unavoidable
#: matrix products over the time of the row. `molecules_per_s` counts molecules that went through all steps of
#: a reverse chain, of which `forward_s` is one step. `exponent_*` is the slope of the logarithms along
#: a series.
KEYS = (
    "case", "backend", "device", "forward_s", "step_s", "peak_mb", "speedup_forward", "speedup_step",
    "memory_ratio", "roofline_fraction", "roofline_forward", "speedup_padded", "graphs_per_s",
    "molecules_per_s", "edges", "hidden", "batch", "bandlimit", "analysis_s",
    "backward_s", "rounds", "exponent_step", "exponent_memory", "error",
)  # fmt: skip

Row = dict[str, Any]


def row_of(case: str, backend: str, device: str, **figures: float | str | None) -> Row:
    """Make a row; what was not measured is None."""
    return complete({"case": case, "backend": backend, "device": device, **figures})


def complete(row: Row) -> Row:
    """Bring the keys of a row into order, with None for those that it lacks."""
    return {key: row.get(key) for key in KEYS}


def ratio(above: float | None, below: float | None) -> float | None:
    """Quotient of two measurements, or None where one is missing or zero."""
    return above / below if above and below else None


def fit_exponent(sizes: Sequence[float], values: Sequence[float | None]) -> float | None:
    """Exponent p of value ~ size^p: least squares on the logarithms.

    Only sizes within a factor of 100 of the largest count, since fixed costs rule the small ones.

    Parameters
    ----------
    sizes
        Positive sizes.
    values
        One measurement for each; what is missing or not positive is left out.

    Returns
    -------
    float or None
        None for fewer than two different sizes.
    """
    pairs = zip(sizes, values, strict=True)
    known = [(size, value) for size, value in pairs if value is not None and value > 0]
    if not known:
        return None
    largest = max(size for size, _ in known)
    points = [(math.log(size), math.log(value)) for size, value in known if 100 * size >= largest]
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if spread == 0:
        return None
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
