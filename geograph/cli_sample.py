"""`geograph sample`: molecules from a trained diffusion model, without its training data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from geograph.errors import CheckpointError, ConfigError


def find_checkpoint(run: str) -> Path:
    """Find the checkpoint of a run.

    Parameters
    ----------
    run
        Path of a checkpoint, name of a run of the pipeline (`models/NAME.pt`), or id of an MLflow run.

    Raises
    ------
    CheckpointError
        If it is none of them.
    """
    for candidate in (Path(run), Path("models") / f"{run}.pt"):
        if candidate.is_file():
            return candidate
    if len(run) == 32 and all(letter in "0123456789abcdef" for letter in run):
        from geograph.training.tracking import default_uri, fetch_checkpoint

        return fetch_checkpoint(default_uri(Path.cwd()), run)
    raise CheckpointError(
        f"`--run` {run!r}: neither a checkpoint file nor models/{run}.pt nor the id of an MLflow run; "
        "give the path of a .pt file, or run from the folder of the pipeline."
    )


def parse_sizes(text: str | None, num: int) -> list[int] | None:
    """Read `--sizes`: one number of atoms for all molecules, or one for each, separated by commas.

    Raises
    ------
    ConfigError
        If it is not a list of positive whole numbers of the right length.
    """
    if text is None:
        return None
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"`--sizes` must be whole numbers separated by commas, got {text!r}.") from error
    if len(sizes) not in (1, num) or min(sizes) < 1:
        raise ConfigError(f"`--sizes` must be 1 or {num} positive numbers, got {text!r}.")
    return sizes * num if len(sizes) == 1 else sizes


def sample(
    run: Annotated[str, typer.Option("--run", help="Checkpoint, run of the pipeline, or MLflow run id.")],
    num: Annotated[int, typer.Option("-n", "--num", min=1, help="Number of molecules.")] = 10,
    out: Annotated[
        list[Path] | None, typer.Option("--out", help="File to write (.sdf, .xyz, .extxyz); may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same molecules.")] = 0,
    sizes: Annotated[
        str | None, typer.Option(help="Atoms of all molecules, or of each; default: as in training.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Reverse steps; default: all.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Molecules that are made together.")] = 64,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Draw molecules from a trained diffusion model."""
    from geograph.interop.molecule_files import write_molecules
    from geograph.tasks.generation import GenerationTask
    from geograph.training.checkpoint import load_checkpoint

    paths: Sequence[Path] = out or [Path("molecules.sdf")]
    loaded = load_checkpoint(find_checkpoint(run), expected_kind="generation")
    task = cast(GenerationTask, loaded.task).to(device)
    bars = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*bars, console=console) as progress:
        bar = progress.add_task(f"{num} molecules", total=None)
        samples = task.sample(
            num,
            seed,
            sizes=parse_sizes(sizes, num),
            batch_size=batch_size,
            num_steps=steps,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    for path in paths:
        write_molecules(path, samples.molecules)
        print(f"{len(samples.molecules)} molecules written to {path}")
    for failure in samples.failures:
        print(f"dropped: {failure}")
