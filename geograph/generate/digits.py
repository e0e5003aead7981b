"""Project the handwritten digits of scikit-learn to the sphere.

1797 images of 8 x 8 pixels, 17 grey levels, 10 classes: what scikit-learn carries, so that no download is
needed. The published experiment does the same with the 28 x 28 pixels of MNIST.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float

from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError
from geograph.parallel import run_chunks
from geograph.records import SphereMap
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import analysis

NUM_DIGITS = 1797
_PIXELS = 8
_GREY_LEVELS = 16.0
#: Half the side of the image in the plane in which the opposite half of the sphere lies outside the unit
#: circle: the corners of the image then lie on the rim of the hemisphere.
HALF_WIDTH = 0.5**0.5
#: Pixels are integrated on a grid of at least this band-limit.
_FINE_BANDLIMIT = 128
#: Height above the centre of the sphere below which no pixel reaches.
_BEHIND = -0.5
#: Directions (right, up, out) of the image, seen from outside.
_FRAMES = {
    "pole": np.eye(3),
    "equator": np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]]),
}


@lru_cache(maxsize=8)
def projection_matrix(bandlimit: int, centre: str) -> Float[np.ndarray, "coefficients pixels"]:
    """Real coefficients of each pixel of the image, float64.

    The projection is stereographic from the point opposite of the centre of the image. Between the centres of
    pixels values are interpolated linearly in both directions; beyond the outermost ones they fall to zero.
    The coefficients are those of this function, computed on a grid that is finer than the band-limit needs.

    Parameters
    ----------
    bandlimit
        Degrees below it are kept.
    centre
        `pole`: at the north pole, right along x and up along y, as published. `equator`: in the middle of
        a map of longitudes, at (-1, 0, 0), right to the east and up to the north, so that rotations about z
        leave the digit upright.
    """
    grid = make_grid("gl", max(_FINE_BANDLIMIT, 4 * bandlimit))
    theta, phi = grid.theta[:, None].numpy(), grid.phi0 + 2 * np.pi * np.arange(grid.nlon) / grid.nlon
    direction = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi])
    right, up, out = np.tensordot(_FRAMES[centre], direction, axes=1)
    # The image ends a little behind the rim of the hemisphere; near the point opposite nothing is drawn.
    shrink = _PIXELS / (2 * HALF_WIDTH) / (1 + np.maximum(out, _BEHIND))
    column, row = right * shrink, -up * shrink
    number = np.arange(_PIXELS)[:, None, None] - (_PIXELS - 1) / 2
    hats = [np.maximum(0.0, 1 - abs(place - number)) for place in (row, column)]
    pixels = np.einsum("ixy,jxy->ijxy", *hats).reshape(-1, *grid.shape) * (out > _BEHIND)
    return analysis(torch.from_numpy(pixels), grid, bandlimit).numpy().T


def _chunk(
    images: np.ndarray, bandlimit: int, centre: str, num_copies: int, seed: int, number: int
) -> np.ndarray:
    """Coefficients of images as they are and of rotated copies, [images, 1 + copies, coefficients]."""
    upright = images.reshape(len(images), -1) / _GREY_LEVELS @ projection_matrix(bandlimit, centre).T
    every = torch.from_numpy(np.repeat(upright[:, None], 1 + num_copies, axis=1))
    if num_copies:
        entropy = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(entropy >> np.uint64(1)))
        turns = random_rotation(generator, len(images) * num_copies)
        every[:, 1:] = rotate(every[:, 1:].flatten(0, 1), turns).unflatten(0, (len(images), num_copies))
    return every.float().numpy()


def generate_digits(
    num_digits: int | None = None,
    *,
    bandlimit: int,
    seed: int,
    num_copies: int = 0,
    val: float = 0.1,
    test: float = 0.2,
    centre: str = "pole",
    num_workers: int = 1,
    chunk_size: int = 100,
) -> list[SphereMap]:
    """Return digits on the sphere, one channel from 0 to about 1, in an order that the seed decides.

    The identifiers are `PART-NUMBER` or, for copies, `PART-NUMBER-copyN`: PART is `train`, `val` or `test`
    (see `digit_part`), NUMBER that of the image in scikit-learn. Only digits of `train` have copies, each
    rotated by its own uniform rotation, so that no copy of a test digit is ever trained on. A chunk depends
    on the seed and its number alone, never on the number of workers.

    Parameters
    ----------
    num_digits
        Images to take, None for all 1797.
    bandlimit
        Of the maps.
    seed
        Of order, split and rotations.
    num_copies
        Rotated copies of each training digit, beside itself.
    val, test
        Fractions of the digits for validation and test.
    centre
        Where the image stands, see `projection_matrix`.
    num_workers
        Processes.
    chunk_size
        Digits of a chunk.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    References
    ----------
    Cohen et al. (2018), arXiv:1801.10130, section 5.2; Gerken et al. (2022), arXiv:2202.03990, section 4.
    """
    count = NUM_DIGITS if num_digits is None else num_digits
    _check(count, bandlimit, seed, num_copies, val, test, centre, chunk_size)
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(NUM_DIGITS)[:count]
    num_test, num_val = round(test * count), round(val * count)
    parts = ["test"] * num_test + ["val"] * num_val + ["train"] * (count - num_test - num_val)
    jobs: list[tuple[object, ...]] = []
    for copies, chosen in ((0, order[: num_test + num_val]), (num_copies, order[num_test + num_val :])):
        for start in range(0, len(chosen), chunk_size):
            taken = images[chosen[start : start + chunk_size]]
            jobs.append((taken, bandlimit, centre, copies, seed, len(jobs)))
    chunks = run_chunks(_chunk, jobs, num_workers=num_workers, description="digits")
    maps = [digit for chunk in chunks for digit in chunk]
    return [
        SphereMap(harmonic[None], int(labels[number]), f"{part}-{number:04d}" + (f"-copy{n}" if n else ""))
        for part, number, digit in zip(parts, order, maps, strict=True)
        for n, harmonic in enumerate(digit)
    ]


def _check(
    count: int,
    bandlimit: int,
    seed: int,
    num_copies: int,
    val: float,
    test: float,
    centre: str,
    chunk_size: int,
) -> None:
    if not 1 <= count <= NUM_DIGITS:
        raise ConfigError(f"`num_digits` must be from 1 to {NUM_DIGITS}, got {count}.")
    if bandlimit < 1 or chunk_size < 1 or num_copies < 0 or seed < 0:
        raise ConfigError(
            "`bandlimit` and `chunk_size` must be at least 1, `num_copies` and `seed` at least 0, got "
            f"{bandlimit}, {chunk_size}, {num_copies} and {seed}."
        )
    if not (val >= 0 and test >= 0 and val + test <= 1):
        raise ConfigError(f"`val` and `test` must be fractions of at most 1 together, got {val} and {test}.")
    if centre not in _FRAMES:
        raise ConfigError(f"`centre` must be pole or equator, got {centre!r}.")


def digit_part(record: SphereMap) -> str:
    """Part of the data set that a digit belongs to: `train`, `val` or `test`."""
    return record.id.split("-")[0]
