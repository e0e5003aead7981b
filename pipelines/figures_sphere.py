"""Pictures of functions on the sphere: Mollweide maps and globes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.ndimage import map_coordinates

from geograph.algebra.harmonics import bandlimit_of, truncate
from geograph.errors import ShapeError
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import synthesis
from pipelines.figures import new_figure

#: Rows of the picture of one map; finer structure than `_MAX_BANDLIMIT` is narrower than its pixels.
_ROWS = 240
_MAX_BANDLIMIT = 240
#: Grids of at least this band-limit are fine enough to interpolate between their pixels linearly.
_FINE_BANDLIMIT = 128
_MAX_COLUMNS = 6
_LINE: dict[str, Any] = {"color": "white", "linewidth": 0.3, "alpha": 0.6}


@lru_cache(maxsize=4)
def mollweide_directions(rows: int) -> Float[np.ndarray, "rows columns 3"]:
    """Return the direction that each pixel of a Mollweide map shows, nan outside of the ellipse.

    Longitude 0 is in the middle and grows to the right, the north pole is at the top; pixels have equal
    areas on the sphere.

    Parameters
    ----------
    rows
        Height of the picture; it is twice as wide.
    """
    height = 1.0 - (2.0 * np.arange(rows) + 1.0) / rows
    across = (2.0 * np.arange(2 * rows) + 1.0) / (2 * rows) - 1.0
    auxiliary = np.arcsin(height)[:, None]
    latitude = np.arcsin((2.0 * auxiliary + np.sin(2.0 * auxiliary)) / np.pi)
    longitude = np.pi * across[None, :] / np.cos(auxiliary)
    longitude = np.where(np.abs(longitude) <= np.pi, longitude, np.nan)
    flat = np.cos(latitude)
    up = np.where(np.isnan(longitude), np.nan, np.sin(latitude))
    return np.stack([flat * np.cos(longitude), flat * np.sin(longitude), up], axis=-1)


@lru_cache(maxsize=8)
def orthographic_directions(
    rows: int, theta_degrees: float, phi_degrees: float
) -> Float[np.ndarray, "rows columns 3"]:
    """Return the direction that each pixel of a globe seen from far away shows, nan beside it.

    Parameters
    ----------
    rows
        Height and width of the picture.
    theta_degrees, phi_degrees
        Colatitude and longitude of the viewer; north is up.
    """
    theta, phi = np.radians([theta_degrees, phi_degrees])
    towards = np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])
    right = np.array([-np.sin(phi), np.cos(phi), 0.0])
    up = np.cross(towards, right)
    across = (2.0 * np.arange(rows) + 1.0) / rows - 1.0
    x, y = np.meshgrid(across, -across)
    squared = x**2 + y**2
    depth = np.sqrt(np.where(squared <= 1.0, 1.0 - squared, np.nan))
    return x[..., None] * right + y[..., None] * up + depth[..., None] * towards


def sphere_values(
    harmonic: Float[np.ndarray, "channels coefficients"], directions: Float[np.ndarray, "rows columns 3"]
) -> Float[np.ndarray, "channels rows columns"]:
    """Return the values of functions at the pixels of a picture, nan where there is no direction.

    Degrees that pixels cannot show are left out; values between the pixels of a grid are interpolated.
    """
    coefficients = torch.from_numpy(np.array(harmonic, dtype=np.float64))
    kept = min(bandlimit_of(coefficients.shape[1]), _MAX_BANDLIMIT)
    grid = make_grid("soft", max(kept, _FINE_BANDLIMIT))
    values = synthesis(truncate(truncate(coefficients, kept), grid.bandlimit), grid).numpy()
    # One more ring beyond each pole, half a turn away, and one more pixel around.
    half = grid.nlon // 2
    values = np.concatenate(
        [np.roll(values[:, :1], half, axis=2), values, np.roll(values[:, -1:], half, axis=2)], axis=1
    )
    values = np.concatenate([values, values[:, :, :1]], axis=2)
    shown = ~np.isnan(directions[..., 0])
    x, y, z = directions[shown].T
    ring = np.arccos(np.clip(z, -1.0, 1.0)) * grid.nlat / np.pi + 0.5
    pixel = np.mod(np.arctan2(y, x), 2.0 * np.pi) * grid.nlon / (2.0 * np.pi)
    picture = np.full((len(values), *shown.shape), np.nan)
    for channel, function in enumerate(values):
        picture[channel, shown] = map_coordinates(function, [ring, pixel], order=1, mode="nearest")
    return picture


def colour_scale(pictures: Sequence[np.ndarray]) -> tuple[Normalize, str]:
    """Return one scale of colours for several pictures: around zero if they have both signs."""
    low = min(float(np.nanmin(picture)) for picture in pictures)
    high = max(float(np.nanmax(picture)) for picture in pictures)
    reach = max(abs(low), abs(high))
    if high - low <= 1e-6 * reach or reach == 0.0:
        return Normalize(low - 0.5 * (reach or 1.0), high + 0.5 * (reach or 1.0)), "viridis"
    if low < -0.2 * high < 0.0 and high > -0.2 * low:
        return Normalize(-reach, reach), "RdBu_r"
    return Normalize(low, high), "viridis"


def draw_map(axis: Axes, picture: np.ndarray, norm: Normalize, colours: str) -> None:
    """Show a picture of a map or a globe, with its outline and without axes."""
    rows, columns = picture.shape
    width = columns / rows
    axis.imshow(picture, norm=norm, cmap=colours, extent=(-width, width, -1, 1), interpolation="nearest")
    turn = np.linspace(0, 2 * np.pi, 200)
    axis.plot(width * np.cos(turn), np.sin(turn), color="0.3", linewidth=0.6)
    if columns > rows:
        for latitude in (-60, -30, 0, 30, 60):
            height = _mollweide_height(np.radians(latitude))
            axis.plot(np.array([-1, 1]) * width * np.sqrt(1 - height**2), [height] * 2, **_LINE)
    axis.set(xlim=(-1.02 * width, 1.02 * width), ylim=(-1.04, 1.04), aspect="equal")
    axis.axis("off")


def _mollweide_height(latitude: float) -> float:
    """Solve 2 a + sin 2 a = pi sin(latitude) by Newton's method; the height is sin a."""
    angle = latitude
    for _ in range(20):
        angle -= (2 * angle + np.sin(2 * angle) - np.pi * np.sin(latitude)) / (2 + 2 * np.cos(2 * angle))
    return float(np.sin(angle))


def mollweide_position(directions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
    """Return where directions lie on a Mollweide map that is 4 wide and 2 high, centred at the origin."""
    latitude = np.arcsin(np.clip(directions[:, 2], -1, 1))
    longitude = np.arctan2(directions[:, 1], directions[:, 0])
    height = np.array([_mollweide_height(float(angle)) for angle in 0.9999 * latitude])
    return np.stack([2.0 * longitude / np.pi * np.sqrt(1 - height**2), height], axis=1)


def _names(num_channels: int, channels: Sequence[object] | None) -> list[str]:
    if channels is None:
        return [f"channel {number}" for number in range(num_channels)] if num_channels > 1 else [""]
    repeats, rest = divmod(num_channels, len(channels))
    if rest:
        raise ShapeError(f"`channels` must name {num_channels} channels, got {len(channels)} names.")
    words = [f"Z = {name}" if isinstance(name, int) else str(name) for name in channels]
    return words if repeats == 1 else [f"{word} ({i + 1})" for i in range(repeats) for word in words]


def check_harmonic(harmonic: np.ndarray, channel: int = 0) -> None:
    """Raise a ShapeError unless this is [channels, L^2] with that channel."""
    if harmonic.ndim != 2 or not 0 <= channel < len(harmonic):
        raise ShapeError(
            f"`harmonic` must have shape (channels, L^2) with a channel {channel}, got {harmonic.shape}."
        )
    bandlimit_of(harmonic.shape[1])


def _figure(
    harmonic: np.ndarray, directions: np.ndarray, title: str, channels: Sequence[object] | None
) -> Figure:
    check_harmonic(harmonic)
    names = _names(len(harmonic), channels)
    columns = min(len(harmonic), 3)
    rows = -(-len(harmonic) // columns)
    wide, high = directions.shape[1], directions.shape[0]
    figure, axes = new_figure((2.0 * wide / high + 0.6) * columns, 2.2 * rows + 0.3, rows, columns)
    for axis in axes.flat:
        axis.axis("off")
    pictures = sphere_values(harmonic, directions)
    for axis, picture, name in zip(axes.flat, pictures, names, strict=False):
        norm, colours = colour_scale([picture])
        draw_map(axis, picture, norm, colours)
        axis.set_title(name, fontsize=9)
        figure.colorbar(
            ScalarMappable(norm, colours), ax=axis, shrink=0.7, fraction=0.04, pad=0.02
        ).ax.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=10)
    return figure


def mollweide(
    harmonic: Float[np.ndarray, "channels coefficients"],
    title: str = "",
    *,
    channels: Sequence[object] | None = None,
) -> Figure:
    """Draw each channel of a function on the sphere as a Mollweide map with its scale of colours.

    Parameters
    ----------
    harmonic
        Real coefficients, see `geograph.algebra.harmonics`.
    title
        Above the figure.
    channels
        Names; numbers count as atomic numbers.

    Raises
    ------
    ShapeError
        If the coefficients are not of that shape, or the names not as many as the channels.
    """
    return _figure(harmonic, mollweide_directions(_ROWS), title, channels)


def orthographic(
    harmonic: Float[np.ndarray, "channels coefficients"],
    title: str = "",
    *,
    channels: Sequence[object] | None = None,
    theta_degrees: float = 60.0,
    phi_degrees: float = 30.0,
) -> Figure:
    """Draw each channel of a function on the sphere as a globe seen from far away.

    Parameters
    ----------
    harmonic, title, channels
        As for `mollweide`.
    theta_degrees, phi_degrees
        Colatitude and longitude of the viewer.

    Raises
    ------
    ShapeError
        As `mollweide`.
    """
    directions = orthographic_directions(_ROWS, theta_degrees, phi_degrees)
    return _figure(harmonic, directions, title, channels)


def projection_figure(
    maps: Sequence[Float[np.ndarray, "channels coefficients"]],
    *,
    titles: Sequence[str] | None = None,
    channels: Sequence[object] | None = None,
) -> Figure:
    """Draw several functions on the sphere as Mollweide maps: a row for each, a column for each channel.

    A column has one scale of colours, written below it. The first six channels are shown.

    Parameters
    ----------
    maps
        Real coefficients of each.
    titles
        One line for each.
    channels
        Names; numbers count as atomic numbers. If there are several times as many channels, they repeat.

    Raises
    ------
    ShapeError
        If there is nothing to draw, the maps differ in shape, or titles or names do not fit.
    """
    if not maps or len({function.shape for function in maps}) != 1:
        raise ShapeError(f"`maps` must be of one shape, got {sorted({f.shape for f in maps}) or 'none'}.")
    check_harmonic(maps[0])
    if titles is not None and len(titles) != len(maps):
        raise ShapeError(f"`titles` must hold one line for each of {len(maps)} maps, got {len(titles)}.")
    names = _names(len(maps[0]), channels)[:_MAX_COLUMNS]
    pictures = [sphere_values(function[: len(names)], mollweide_directions(_ROWS)) for function in maps]
    figure, axes = new_figure(2.9 * len(names), 1.55 * len(maps) + 0.7, len(maps), len(names))
    for column, name in enumerate(names):
        norm, colours = colour_scale([picture[column] for picture in pictures])
        for axis, picture in zip(axes[:, column], pictures, strict=True):
            draw_map(axis, picture[column], norm, colours)
        axes[0, column].set_title(name, fontsize=9)
        bar = figure.colorbar(
            ScalarMappable(norm, colours),
            ax=axes[-1, column],
            location="bottom",
            shrink=0.7,
            aspect=30,
            pad=0.02,
        )
        bar.ax.tick_params(labelsize=7)
    for axis, line in zip(axes[:, 0], titles or (), strict=False):
        axis.text(
            -0.01, 0.5, line, transform=axis.transAxes, rotation=90, fontsize=7, ha="right", va="center"
        )
    return figure
