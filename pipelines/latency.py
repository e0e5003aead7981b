"""Time one forward pass of spherical networks beside a planar one: `python -m pipelines.latency`.

The protocol: digits on the sphere, evaluation mode, float32, a fixed number of threads, at least 20 calls
that are not counted, then at least 100 that are, for batches of 1, 8 and 32 spheres. What is reported is the
median and the interquartile range; on a GPU every call ends with a synchronisation. The planar network gets
as many parameters as the S2CNN has. Writes `metrics/latency.json`; `--table` prints that file as Markdown.

References
----------
Gerken et al. (2022), arXiv:2202.03990, section 4.3: the comparison and the published figures.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import nn

from geograph.errors import ConfigError, GeographError
from pipelines.bench_machine import processor
from pipelines.cost import num_parameters
from pipelines.latency_subjects import Subject, build, chosen, digits, take

app = typer.Typer(add_completion=False)

BATCHES = (1, 8, 32)
#: Calls that are not counted, and calls that are, at the least.
WARM_UP, REPEATS = 20, 100
#: The published input: 60 x 60 points on the grid of Driscoll and Healy.
BANDLIMIT = 30

#: Median and interquartile range in ms of one 60 x 60 input on an NVIDIA T4.
PUBLISHED = (
    {"model": "S2CNN", "batch": 1, "median_ms": 111.0, "iqr_ms": 0.6, "device": "NVIDIA T4"},
    {"model": "CNN", "batch": 1, "median_ms": 5.93, "iqr_ms": 0.24, "device": "NVIDIA T4"},
)


def times_s(function: Callable[[], object], *, warm_up: int, repeats: int, device: str) -> list[float]:
    """Wall times of calls in seconds, after calls that are not counted.

    Parameters
    ----------
    function
        What is timed.
    warm_up, repeats
        Calls before, and calls that count.
    device
        `cuda` waits for the GPU at the end of each call.
    """

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(warm_up):
        function()
    wait()
    gc.collect()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        wait()
        found.append(time.perf_counter() - start)
    return found


def row(subject: Subject, model: nn.Module, num: int, seconds: Sequence[float]) -> dict[str, Any]:
    """Summarise the times of a subject at one batch size."""
    low, median, high = (1e3 * value for value in statistics.quantiles(seconds, n=4, method="inclusive"))
    return {
        "model": subject.name,
        "parameters": num_parameters(model),
        "batch": num,
        "median_ms": median,
        "lower_quartile_ms": low,
        "upper_quartile_ms": high,
        "iqr_ms": high - low,
        "median_ms_per_sphere": median / num,
        "repeats": len(seconds),
    }


@torch.inference_mode()
def measure(
    subjects: Sequence[Subject],
    *,
    bandlimit: int = BANDLIMIT,
    batches: Sequence[int] = BATCHES,
    warm_up: int = WARM_UP,
    repeats: int = REPEATS,
    device: str = "cpu",
    note: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Time every subject at every batch size.

    Parameters
    ----------
    subjects
        What to time.
    bandlimit
        Of the input.
    batches
        Numbers of spheres.
    warm_up, repeats
        Calls before, and calls that count.
    device
        `cpu` or `cuda`.
    note
        Called with what is being done.
    """
    spheres = digits(max(batches), bandlimit).to(device)
    rows = []
    for subject in subjects:
        model = build(subject, bandlimit).to(device)
        for num in batches:
            note(f"{subject.name}, {num}")
            given = take(spheres, num)
            rows.append(
                row(
                    subject,
                    model,
                    num,
                    times_s(partial(model, given), warm_up=warm_up, repeats=repeats, device=device),
                )
            )
    return rows


def markdown(report: dict[str, Any]) -> str:
    """Table of a report, the published figures below it."""
    facts = report["protocol"]
    lines = [
        f"One forward pass, input of band-limit {facts['bandlimit']}, {facts['threads']} threads, "
        f"{facts['processor']}, device {facts['device']}; median of {facts['repeats']} calls after "
        f"{facts['warm_up']}, interquartile range in brackets.",
        "",
        "| model | parameters | " + " | ".join(f"batch {num} (ms)" for num in facts["batches"]) + " |",
        "|---|---:|" + "---:|" * len(facts["batches"]),
    ]
    for name in dict.fromkeys(each["model"] for each in report["rows"]):
        rows = [each for each in report["rows"] if each["model"] == name]
        cells = [f"{each['median_ms']:.2f} ({each['iqr_ms']:.2f})" for each in rows]
        lines.append(f"| {name} | {rows[0]['parameters']} | {' | '.join(cells)} |")
    for each in report["published"]:
        cells = [f"{each['median_ms']:g} ({each['iqr_ms']:g})", *["-"] * (len(facts["batches"]) - 1)]
        lines.append(f"| {each['model']}, published, {each['device']} | - | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def read(path: Path) -> dict[str, Any]:
    """Read a report.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; `python -m pipelines.latency` writes it.")
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def _measure_with_bar(
    subjects: Sequence[Subject], bandlimit: int, warm_up: int, repeats: int, device: str
) -> list[dict[str, Any]]:
    bars = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*bars, console=Console(stderr=True)) as progress:
        bar = progress.add_task("digits", total=len(subjects) * len(BATCHES))
        return measure(
            subjects,
            bandlimit=bandlimit,
            warm_up=warm_up,
            repeats=repeats,
            device=device,
            note=lambda text: progress.update(bar, description=text, advance=1),
        )


@app.command()
def main(
    only: Annotated[list[str] | None, typer.Option(help="Models to time, by the name of their row.")] = None,
    bandlimit: Annotated[int, typer.Option(help="Of the input.", min=10)] = BANDLIMIT,
    threads: Annotated[int, typer.Option(help="Threads of every product.", min=1)] = 1,
    warm_up: Annotated[int, typer.Option(help="Calls that are not counted.", min=WARM_UP)] = WARM_UP,
    repeats: Annotated[int, typer.Option(help="Calls that are.", min=REPEATS)] = REPEATS,
    table: Annotated[bool, typer.Option("--table", help="Measure nothing, print the file.")] = False,
    out: Annotated[Path, typer.Option(help="JSON file to write (or read).")] = Path("metrics/latency.json"),
) -> None:
    """Time forward passes of spherical networks and of a planar one."""
    try:
        if table:
            print(markdown(read(out)), end="")
            return
        torch.set_num_threads(threads)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        subjects = chosen(only)
        rows = _measure_with_bar(subjects, bandlimit, warm_up, repeats, device)
    except GeographError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    protocol = {
        "bandlimit": bandlimit,
        "batches": list(BATCHES),
        "warm_up": warm_up,
        "repeats": repeats,
        "threads": threads,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "processor": processor(),
        "torch": torch.__version__,
    }
    report = {"protocol": protocol, "rows": rows, "published": list(PUBLISHED)}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(markdown(report), end="")


if __name__ == "__main__":
    app()
