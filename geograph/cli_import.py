"""`geograph import-checkpoint`: checkpoints that the authors of the published models released."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from geograph.errors import ConfigError


def parse_elements(text: str | None) -> list[int] | None:
    """Read `--elements`: symbols separated by commas.

    Raises
    ------
    ConfigError
        If one is no element, or occurs twice.
    """
    if text is None:
        return None
    from ase.data import atomic_numbers

    symbols = [symbol.strip() for symbol in text.split(",")]
    unknown = [symbol for symbol in symbols if atomic_numbers.get(symbol, 0) < 1]
    if unknown or len(set(symbols)) < len(symbols):
        raise ConfigError(f"`--elements` must be different symbols such as H,C,N,O,F, got {text!r}.")
    return [int(atomic_numbers[symbol]) for symbol in symbols]


def parse_options(texts: list[str]) -> dict[str, Any]:
    """Read `--option NAME=VALUE`: values are JSON, and text where they are not.

    Raises
    ------
    ConfigError
        If one has no name.
    """
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise ConfigError(f"`--option` must be NAME=VALUE, got {text!r}.")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options


def _histogram(
    sizes: Path | None,
    size_data: list[Path],
    arguments: Path | None,
    source: Path,
    elements: list[int] | None,
) -> dict[str, int] | None:
    """Histogram of sizes from whichever of the two options was given."""
    from geograph.interop import checkpoint_import_edm, released_edm_arguments
    from geograph.interop.molecule_files import read_molecule_files
    from geograph.interop.restricted_pickle import read_arguments

    if sizes is not None and size_data:
        raise ConfigError("`--sizes` and `--size-data` exclude each other: give one of them.")
    if sizes is not None:
        return checkpoint_import_edm.read_sizes(sizes)
    if not size_data:
        return None
    beside = (source if source.is_dir() else source.parent) / "args.pickle"
    numbers = released_edm_arguments.elements_of(read_arguments(arguments or beside), elements)
    return checkpoint_import_edm.sizes_of(read_molecule_files(size_data), numbers)


def import_checkpoint(
    path: Annotated[Path, typer.Argument(help="State dictionary, or folder of a released EDM training.")],
    out: Annotated[Path, typer.Option("--out", help="Checkpoint to write.")] = Path("imported.pt"),
    family: Annotated[
        str | None,
        typer.Option(help="edm-dynamics, egnn, lorentznet, cgenn-nbody, cgenn-lorentz; default: recognised."),
    ] = None,
    args: Annotated[
        Path | None, typer.Option("--args", help="EDM: pickled arguments; default: args.pickle beside it.")
    ] = None,
    sizes: Annotated[
        Path | None, typer.Option(help="EDM: JSON with number of atoms -> number of training molecules.")
    ] = None,
    size_data: Annotated[
        list[Path] | None, typer.Option(help="EDM: molecule file to count the sizes in; may be repeated.")
    ] = None,
    elements: Annotated[
        str | None, typer.Option(help="EDM: order of the elements, such as H,C,N,O,F; default: as QM9.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Option of the released constructor, NAME=VALUE; may be repeated."),
    ] = None,
) -> None:
    """Make a checkpoint of ours from one that the authors released; no code of the file is run."""
    from geograph.interop import checkpoint_import

    numbers = parse_elements(elements)
    made = checkpoint_import.import_checkpoint(
        path,
        out,
        name=family,
        arguments=args,
        size_histogram=_histogram(sizes, size_data or [], args, path, numbers),
        elements=numbers,
        options=parse_options(option or []),
    )
    average = " with averaged weights" if made.has_ema else ""
    print(f"{made.family}: {made.num_parameters} parameters{average} written to {made.path} ({made.kind})")
    for note in made.notes:
        print(f"note: {note}")
