"""The command `geograph`: doctor, validate, sample, evaluate, import-checkpoint."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from geograph.cli_evaluate import evaluate_app
from geograph.cli_import import import_checkpoint
from geograph.cli_sample import sample
from geograph.errors import GeographError

app = typer.Typer(
    help="Reproducible geometric deep learning across sciences.", no_args_is_help=True, add_completion=False
)
app.add_typer(evaluate_app, name="evaluate", help="Judge what a model made.")
app.command()(sample)
app.command(name="import-checkpoint")(import_checkpoint)

_PACKAGES = (
    "geograph",
    "torch",
    "torch-geometric",
    "torch-scatter",
    "lightning",
    "mlflow",
    "dvc",
    "rdkit",
    "ase",
    "pythia8mc",
    "fastjet",
    "tblite",
    "manifold3d",
    "embreex",
)


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say which backends work here, why others do not, and which versions are installed."""
    import torch

    from geograph.kernels import backends, selected
    from geograph.kernels.cpu import build

    report = {
        "selected_backend": selected(None),
        "backends": [
            {"name": status.name, "is_available": status.is_available, "reason": status.reason}
            for status in backends()
        ],
        "cpu_kernels": build.describe(),
        "num_threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": _versions(),
    }
    if as_json:
        print(json.dumps(report, indent=2))
        return
    console = Console()
    table = Table("backend", "works", "note", title="scatter kernels")
    for status in backends():
        chosen = "selected" if status.name == report["selected_backend"] else ""
        table.add_row(status.name, "yes" if status.is_available else "no", escape(status.reason) or chosen)
    console.print(table)
    for name, value in build.describe().items():
        console.print(f"C++ kernels, {name.replace('_', ' ')}: {value if value is not None else 'none'}")
    title = f"{report['num_threads']} threads, CUDA: {report['cuda'] or 'none'}"
    table = Table("package", "version", title=title)
    for name, number in _versions().items():
        table.add_row(name, number or "not installed")
    console.print(table)


def _mount_plugins() -> None:
    """Add the commands that other packages offer in the entry-point group `geograph.commands`."""
    known = {item.name or getattr(item.callback, "__name__", "") for item in app.registered_commands}
    known |= {group.name or "" for group in app.registered_groups}
    for point in entry_points(group="geograph.commands"):
        if point.name not in known:
            app.command(name=point.name)(point.load())


def main() -> None:
    """Run the command line; an expected error is one line, not a traceback."""
    _mount_plugins()
    try:
        app()
    except GeographError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
