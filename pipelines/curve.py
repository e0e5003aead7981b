"""Draw columns of a learning curve: `python -m pipelines.curve plots/history/RUN.csv --out curve.png`.

Without `--y` the validation loss is drawn and, for a diffusion model that generated molecules during its
training, the share of stable atoms and molecules.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from geograph.errors import ConfigError, GeographError
from pipelines.compare import read_history
from pipelines.figures import loss_history, save_figure

#: Panels that are drawn by themselves where a run has their columns.
PANELS = {
    "validation loss": ("val/loss",),
    "fraction stable": ("val/atom_stability", "val/molecule_stability"),
}


def draw(history: Path, out: Path, *, x: str, y: list[str] | None = None, title: str = "") -> Path:
    """Draw a CSV of `plots/history` into an image.

    Raises
    ------
    ConfigError
        If the file lacks a column; the message lists those that it has.
    """
    if not history.is_file():
        raise ConfigError(f"{history}: no such learning curve; a training writes plots/history/RUN.csv.")
    columns = read_history(history)
    if x == "minutes":
        columns["minutes"] = [seconds / 60 for seconds in columns["elapsed_s"]]
    missing = [name for name in (x, *(y or ())) if name not in columns]
    if missing:
        raise ConfigError(f"{history}: no column `{missing[0]}`; there are {', '.join(columns)}.")
    panels = {name: [name] for name in y} if y else PANELS
    there = {label: [k for k in keys if k in columns] for label, keys in panels.items()}
    return save_figure(
        loss_history(columns, panels={k: v for k, v in there.items() if v}, x=x, title=title), out
    )


def main(
    history: Path,
    out: Annotated[Path, typer.Option(help="Image to write.")] = Path("curve.png"),
    x: Annotated[str, typer.Option(help="Column of the horizontal axis, or `minutes`.")] = "epoch",
    y: Annotated[list[str] | None, typer.Option(help="Columns to draw, a panel each.")] = None,
    title: Annotated[str, typer.Option(help="Name above the figure.")] = "",
) -> None:
    """Draw columns of a learning curve."""
    try:
        print(f"written to {draw(history, out, x=x, y=y, title=title)}")
    except GeographError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
