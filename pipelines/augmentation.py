"""Draw accuracy against rotated copies: `python -m pipelines.augmentation FOLDER_OF_THE_EXPERIMENT`.

Runs of one model and one size make a line: judged on rotated data (full) and on upright data (dashed). A run
without augmentation stands at 0, one with new rotations in every epoch at "new". Models that were trained
without augmentation only are horizontal lines.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure

from geograph.errors import ConfigError, GeographError
from pipelines.figures import new_figure, save_figure
from pipelines.params import Run, load_params

#: Accuracy on rotated and on upright data, by the position of the run on the axis.
Line = dict[int, tuple[float, float]]


def copies_of(run: Run) -> int | None:
    """Rotated copies of each record in the training; None for new ones in every epoch."""
    if run.rotations is None or run.rotations.train == "none":
        return 0
    return run.rotations.copies


def read_lines(folder: Path) -> tuple[dict[str, Line], list[str]]:
    """Read the accuracies of an experiment.

    Parameters
    ----------
    folder
        Holds `params.yaml` and `metrics/evaluate`.

    Returns
    -------
    tuple
        For each model and size its line, and the names of the positions on the axis.

    Raises
    ------
    ConfigError
        If no run was judged on rotated data.
    """
    runs = load_params(folder / "params.yaml").runs
    numbers = sorted({copies for run in runs.values() if (copies := copies_of(run)) is not None})
    labels = [str(number) for number in numbers] + ["new"]
    lines: dict[str, Line] = {}
    for name, run in runs.items():
        path = folder / "metrics" / "evaluate" / f"{name}.json"
        metrics = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if "accuracy_so3" not in metrics:
            continue
        copies = copies_of(run)
        place = len(numbers) if copies is None else numbers.index(copies)
        size = f"{run.model.name}, {metrics['num_parameters'] / 1000:.0f}k parameters"
        lines.setdefault(size, {})[place] = (metrics["accuracy_so3"], metrics["accuracy"])
    if not lines:
        raise ConfigError(f"{folder}: no run there was judged on rotated data; run its dvc.yaml first.")
    return lines, labels


def draw(lines: dict[str, Line], labels: list[str]) -> Figure:
    """Draw one line for each model and size."""
    figure, axes = new_figure(6.4, 4.2, 1, 1)
    axis = axes.flat[0]
    for number, (name, line) in enumerate(lines.items()):
        colour, places = f"C{number}", sorted(line)
        for column, style in ((0, "-"), (1, "--")):
            values = [line[place][column] for place in places]
            label = name if column == 0 else None
            if len(places) == 1:
                axis.axhline(values[0], color=colour, linestyle=style, label=label)
            else:
                axis.plot(places, values, style, marker="o", color=colour, label=label)
    axis.set(xlabel="rotated copies of each training record", ylabel="test accuracy", ylim=(0, 1.02))
    axis.set_xticks(range(len(labels)), labels)
    axis.legend(title="rotated (full), upright (dashed)", fontsize=8, title_fontsize=8)
    return figure


def main(
    folder: Annotated[Path, typer.Argument(help="Experiment that was run.")],
    out: Annotated[Path | None, typer.Option(help="Image; by default in its folder `plots`.")] = None,
) -> None:
    """Draw accuracy against the number of rotated copies."""
    try:
        print(
            f"written to {save_figure(draw(*read_lines(folder)), out or folder / 'plots/augmentation.png')}"
        )
    except GeographError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
