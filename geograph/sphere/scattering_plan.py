"""What a scattering transform on the sphere consists of: its scales, paths, band-limits and grids."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from geograph.errors import ConfigError
from geograph.sphere.grids import Grid, make_grid
from geograph.sphere.wavelets import check_scales, largest_scale, scale_bandlimit

Paths: TypeAlias = Literal["descending", "all"]
Path: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class ScatteringPlan:
    """Which wavelets, paths and grids a scattering transform has; checked on construction.

    Attributes
    ----------
    bandlimit
        L of the field.
    smallest_scale
        J0: the outputs have the degrees l < dilation^J0. The smaller it is, the less they change when the
        field is rotated or bent.
    dilation
        Ratio of neighbouring scales.
    depth
        Length of the longest paths; 2 holds nearly all energy.
    oversampling
        Resolution of the grid of each modulus, in units of the band-limit of its wavelet, at least 1. Memory
        and time grow with its square.
    max_grid_bandlimit
        Grids are not refined beyond this band-limit; None for no limit. At L, only the scales below the two
        finest are oversampled in full.
    paths
        `descending` or `all`.
    """

    bandlimit: int
    smallest_scale: int
    dilation: float = 2.0
    depth: int = 2
    oversampling: float = 2.0
    max_grid_bandlimit: int | None = None
    paths: Paths = "descending"

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_scales(self.bandlimit, self.smallest_scale, self.dilation)
        if self.depth < 0:
            raise ConfigError(f"`depth` must not be negative, got {self.depth}.")
        if not 1.0 <= self.oversampling < math.inf:
            raise ConfigError(f"`oversampling` must be at least 1, got {self.oversampling}.")
        if self.max_grid_bandlimit is not None and self.max_grid_bandlimit < 1:
            raise ConfigError(f"`max_grid_bandlimit` must be positive, got {self.max_grid_bandlimit}.")
        if self.paths not in ("descending", "all"):
            raise ConfigError(f"`paths` must be descending or all, got {self.paths!r}.")

    @property
    def scales(self) -> range:
        """Scales of the wavelets, coarsest first."""
        return range(self.smallest_scale, largest_scale(self.bandlimit, self.dilation) + 1)

    @property
    def bandlimit_out(self) -> int:
        """Band-limit of the outputs."""
        return scale_bandlimit(self.smallest_scale, self.bandlimit, self.dilation)

    def next_scales(self, path: Path) -> range:
        """Scales by which a path may go on."""
        if self.paths == "all" or not path:
            return self.scales
        return range(self.smallest_scale, path[-1])

    def list_paths(self) -> tuple[Path, ...]:
        """Paths in the order of the outputs: by length, then scale by scale, coarsest first."""
        found: list[Path] = [()]
        last: list[Path] = [()]
        for _ in range(self.depth):
            last = [(*path, scale) for path in last for scale in self.next_scales(path)]
            found.extend(last)
        return tuple(found)

    def wavelet_bandlimit(self, scale: int) -> int:
        """Band-limit of the wavelet of a scale."""
        return scale_bandlimit(scale + 1, self.bandlimit, self.dilation)

    def modulus_bandlimit(self, scale: int, order: int) -> int:
        """Band-limit up to which the modulus after a wavelet is needed, as the last of `order` wavelets."""
        if order == self.depth:
            return self.bandlimit_out
        return (
            self.bandlimit if self.paths == "all" else scale_bandlimit(scale, self.bandlimit, self.dilation)
        )

    def grid(self, scale: int, order: int) -> Grid:
        """Grid of the modulus after a wavelet."""
        wavelet = self.wavelet_bandlimit(scale)
        wanted = math.ceil(self.oversampling * wavelet)
        if self.max_grid_bandlimit is not None:
            wanted = min(wanted, self.max_grid_bandlimit)
        return make_grid("gl", max(wanted, wavelet, self.modulus_bandlimit(scale, order)))
