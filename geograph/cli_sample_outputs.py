"""Where `geograph sample` computes and what it writes: molecule files, trajectories, a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geograph.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from geograph.diffusion.molecules import Samples

_SUFFIXES = (".sdf", ".xyz", ".extxyz", ".db")


@dataclass(frozen=True)
class SampleOutputs:
    """Files to write.

    Attributes
    ----------
    molecules
        Molecule files, format by suffix.
    trajectory
        Frames of all molecules, one molecule after the other; extended xyz. None writes none.
    page
        Page to look at the molecules. None writes none.
    """

    molecules: tuple[Path, ...]
    trajectory: Path | None = None
    page: Path | None = None

    def check(self) -> None:
        """Check the names before anything is computed.

        Raises
        ------
        ConfigError
            If a suffix names another format.
        """
        for path in self.molecules:
            if path.suffix.lower() not in _SUFFIXES:
                raise ConfigError(f"`--out` must end in one of {', '.join(_SUFFIXES)}, got {path.name!r}.")
            if path.suffix.lower() == ".db" and path.exists():
                raise ConfigError(
                    f"`--out` must be a new database, but {path} is there; choose another name or remove it."
                )
        if self.trajectory is not None and self.trajectory.suffix.lower() != ".extxyz":
            raise ConfigError(f"`--trajectory` must end in .extxyz, got {self.trajectory.name!r}.")
        if self.page is not None and self.page.suffix.lower() not in (".html", ".htm"):
            raise ConfigError(f"`--page` must end in .html, got {self.page.name!r}.")

    def write(self, samples: Samples) -> None:
        """Write what was asked for, and say so."""
        from geograph.interop.molecule_writers import write_molecules

        for path in self.molecules:
            write_molecules(path, samples.molecules)
            print(f"{len(samples.molecules)} molecules written to {path}")
        if self.trajectory is not None:
            write_molecules(self.trajectory, [frame for chain in samples.frames for frame in chain])
            print(f"{sum(map(len, samples.frames))} frames written to {self.trajectory}")
        if self.page is not None:
            from geograph.interop.molecule_page import write_page

            write_page(self.page, samples.molecules, frames=samples.frames or None)
            print(f"page written to {self.page}")


def frame_interval(request: Mapping[str, Any], num_times: int, num_frames: int) -> int:
    """Return the steps between frames that make at most `num_frames` of them, both ends included."""
    start = request.get("start")
    first = num_times if start is None else max(1, round(start.noise_level * num_times))
    num_steps = request["num_steps"] or first
    return max(1, -(-num_steps // (num_frames - 1)))


def check_device(name: str) -> str:
    """Check that a device can be computed on.

    Raises
    ------
    ConfigError
        If the name is none of a device.
    BackendError
        If there is no such device here.
    """
    import torch

    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise ConfigError(f"`--device` must be cpu, cuda or cuda:NUMBER, got {name!r}.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise BackendError(f"`--device` {name}: torch finds no CUDA device here; use cpu.")
    return name
