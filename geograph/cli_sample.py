"""`geograph sample`: molecules from a trained diffusion model, without its training data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from geograph.cli_sample_options import SampleOptions
from geograph.cli_sample_outputs import SampleOutputs, check_device, frame_interval
from geograph.errors import CheckpointError


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


def sample(
    run: Annotated[str, typer.Option("--run", help="Checkpoint, run of the pipeline, or MLflow run id.")],
    num: Annotated[
        int, typer.Option("-n", "--num", min=1, help="Molecules (of each value of a sweep).")
    ] = 10,
    out: Annotated[
        list[Path] | None,
        typer.Option("--out", help="File to write (.sdf, .xyz, .extxyz, .db); may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same molecules.")] = 0,
    sampler: Annotated[
        str, typer.Option(help="ancestral, ddim, dpm-solver++ or sde-dpm-solver++.")
    ] = "ancestral",
    eta: Annotated[float | None, typer.Option(help="Noise of ddim: 0 (none) to 1 (ancestral).")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Reverse steps; default: all.")] = None,
    sizes: Annotated[
        str | None, typer.Option(help="Atoms of all molecules, or of each; default: as in training.")
    ] = None,
    composition: Annotated[str | None, typer.Option(help="Formula of all molecules, such as C6H6.")] = None,
    fragment: Annotated[
        Path | None, typer.Option(help="File with atoms that stay fixed; several records are pieces to link.")
    ] = None,
    fragment_atoms: Annotated[
        str | None, typer.Option(help="Fix these atoms of the molecule in --fragment: 0,1,2.")
    ] = None,
    smarts: Annotated[
        str | None, typer.Option(help="Fix the atoms in --fragment that match this pattern.")
    ] = None,
    resamplings: Annotated[
        int | None, typer.Option(min=1, help="Runs of each step, for --fragment or --composition.")
    ] = None,
    start: Annotated[Path | None, typer.Option(help="File with molecules to begin with.")] = None,
    noise_level: Annotated[
        float | None, typer.Option(help="How far --start is noised, above 0 up to 1 (all).")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Property to aim at, NAME=VALUE; may be repeated.")
    ] = None,
    guidance: Annotated[float, typer.Option(help="Guidance scale towards --target; 0 is none.")] = 0.0,
    sweep: Annotated[
        str | None, typer.Option(help="One set of molecules for each value: NAME=FROM:TO:COUNT.")
    ] = None,
    trajectory: Annotated[
        Path | None, typer.Option(help="Write the way from noise to each molecule here (.extxyz).")
    ] = None,
    frames: Annotated[int, typer.Option(min=2, help="Frames of each trajectory, about.")] = 50,
    page: Annotated[Path | None, typer.Option(help="Write a page to look at the molecules here.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most molecules that are made together.")] = 64,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Draw molecules from a trained diffusion model."""
    from geograph.tasks.generation import GenerationTask
    from geograph.training.checkpoint import load_checkpoint

    outputs = SampleOutputs(tuple(out or [Path("molecules.sdf")]), trajectory, page)
    outputs.check()
    options = SampleOptions(
        num, seed, sizes, composition, fragment, fragment_atoms, smarts, resamplings, start, noise_level,
        tuple(target or ()), sweep,
    )  # fmt: skip
    loaded = load_checkpoint(find_checkpoint(run), expected_kind="generation")
    task = cast(GenerationTask, loaded.task).to(check_device(device))
    request = options.request(task)
    request |= {"sampler": sampler, "eta": eta, "num_steps": steps, "guidance": guidance}
    if trajectory is not None or page is not None:
        request["frame_every"] = frame_interval(request, task.process.num_steps, frames)
    with _SampleProgress(request["num"]) as progress:
        samples = task.sample(**request, batch_size=batch_size, progress=progress.update)
    outputs.write(samples)
    for failure in samples.failures:
        print(f"dropped: {failure}")


class _SampleProgress:
    """Bar on standard error with molecules per second."""

    def __init__(self, num: int) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f}%"),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.num = num
        self.bars = Progress(*columns, console=Console(stderr=True))
        self.bar = self.bars.add_task(f"{num} molecules", total=None, rate="")
        self.begin = time.perf_counter()

    def __enter__(self) -> _SampleProgress:
        self.bars.start()
        self.begin = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def update(self, done: int, total: int) -> None:
        """Show that `done` of `total` evaluations were made."""
        rate = self.num * done / total / (time.perf_counter() - self.begin)
        self.bars.update(self.bar, completed=done, total=total, rate=f"{rate:.3g} molecules/s")
