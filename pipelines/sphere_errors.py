"""Equivariance error of networks on the sphere against oversampling: `python -m pipelines.sphere_errors`.

Networks with random weights, in float64, and random functions of band-limit 16; the figure is the largest
change of the output under random rotations, relative to its largest entry. Writes
`metrics/sphere_errors.json`; `--table` prints that file as Markdown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from geograph.algebra.harmonics import degrees
from geograph.algebra.wigner import random_rotation, rotate
from geograph.models import build_model
from geograph.sphere.scattering import scatter
from geograph.sphere.scattering_plan import ScatteringPlan

OVERSAMPLING = (1.0, 1.5, 2.0, 3.0, 4.0)
PATH = Path("metrics/sphere_errors.json")
_BANDLIMIT, _CHANNELS, _SPHERES, _SCALE = 16, 3, 4, 2

Function = Callable[[Tensor], Tensor]


def network(name: str, params: Mapping[str, Any]) -> Callable[[float], Function]:
    """Return what makes the trunk of a model at an oversampling; its output is invariant."""

    def make(oversampling: float) -> Function:
        torch.manual_seed(0)
        sizes = {"num_channels": _CHANNELS, "bandlimit": _BANDLIMIT, "num_outputs": 1}
        model = build_model(name, **sizes, oversampling=oversampling, **params).double().eval()
        return cast(Function, model.trunk)

    return make


def scattered(order: int) -> Callable[[float], Function]:
    """Return what scatters at an oversampling, and keeps the paths of one order; its output rotates."""

    def make(oversampling: float) -> Function:
        plan = ScatteringPlan(_BANDLIMIT, _SCALE, 2.0, 2, oversampling, None, "descending")
        chosen = [number for number, path in enumerate(plan.list_paths()) if len(path) == order]
        return lambda harmonic: scatter(plan, harmonic)[..., chosen, :]

    return make


SUBJECTS: dict[str, tuple[Callable[[float], Function], bool]] = {
    "zonal, PReLU": (network("zonal-cnn", {}), False),
    "zonal, SiLU": (network("zonal-cnn", {"activation": "silu"}), False),
    "zonal, quadratic": (network("zonal-cnn", {"activation": "quadratic"}), False),
    "spin, phase collapse": (network("spin-weighted-cnn", {}), False),
    "spin, squared collapse": (network("spin-weighted-cnn", {"nonlinearity": "squared-collapse"}), False),
    "S2CNN, ReLU": (network("s2cnn", {"features": [4, 8], "bandlimits": [8, 4]}), False),
    "scattering, first order": (scattered(1), True),
    "scattering, second order": (scattered(2), True),
}


def functions(generator: torch.Generator) -> Tensor:
    """Random functions whose coefficients fall with the degree, [4, 3, L^2]."""
    values = torch.randn(_SPHERES, _CHANNELS, _BANDLIMIT**2, generator=generator, dtype=torch.float64)
    return values / (1 + degrees(_BANDLIMIT).double())


@torch.no_grad()
def error_of(function: Function, is_equivariant: bool, *, num_rotations: int = 3, seed: int = 0) -> float:
    """Largest relative change of an output that should be invariant, or rotate with the input.

    Parameters
    ----------
    function
        Takes coefficients [4, 3, L^2].
    is_equivariant
        Whether the output are coefficients that rotate; otherwise they should not change.
    num_rotations, seed
        Of the random rotations.
    """
    generator = torch.Generator().manual_seed(seed)
    harmonic = functions(generator)
    before, worst = function(harmonic), 0.0
    for rotation in random_rotation(generator, num_rotations):
        expected = rotate(before, rotation) if is_equivariant else before
        change = (function(rotate(harmonic, rotation)) - expected).abs().max() / expected.abs().max()
        worst = max(worst, float(change))
    return worst


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table of the measurements."""
    head = "| oversampling | " + " | ".join(f"{value:g}" for value in OVERSAMPLING) + " |"
    lines = [head, "|---|" + "---|" * len(OVERSAMPLING)]
    for row in rows:
        lines.append(f"| {row['subject']} | " + " | ".join(f"{value:.1e}" for value in row["errors"]) + " |")
    return "\n".join(lines)


def main(table: Annotated[bool, typer.Option("--table", help="Print the last figures.")] = False) -> None:
    """Measure the equivariance errors."""
    if table:
        print(markdown(json.loads(PATH.read_text(encoding="utf-8"))))
        return
    rows = []
    for subject in track(SUBJECTS, description="equivariance errors"):
        make, is_equivariant = SUBJECTS[subject]
        errors = [error_of(make(value), is_equivariant) for value in OVERSAMPLING]
        rows.append({"subject": subject, "errors": errors})
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    shown = Table("oversampling", *(f"{value:g}" for value in OVERSAMPLING))
    for row in rows:
        shown.add_row(str(row["subject"]), *(f"{value:.1e}" for value in row["errors"]))
    Console().print(shown)


if __name__ == "__main__":
    typer.run(main)
