r"""Wigner functions d^l_mn(theta) at many angles by their recurrence in the degree; n = 0 gives Legendre's.

With c_l = sqrt((2 l + 1) / 4 pi), c_l d^l_m0(theta) e^{i m phi} is the spherical harmonic Y_lm, and
(-1)^s c_l d^l_{m,-s}(theta) e^{i m phi} the spin-weighted sYlm. The recurrence runs in extended precision
where the machine has it: near the poles the cosine alone would cost L^2 units in the last place.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

import numpy as np
from jaxtyping import Float

_EXTENDED = np.longdouble


def _seeds(bandlimit: int, n: int, theta: np.ndarray) -> np.ndarray:
    """d^l_mn at the lowest degree l = max(m, |n|), for each m >= 0; shape [bandlimit, angles]."""
    cosine, sine = np.cos(theta / 2), np.sin(theta / 2)
    seeds = np.zeros((bandlimit, len(theta)), _EXTENDED)
    size = abs(n)
    for m in range(min(size, bandlimit)):  # l = |n| > m
        k = m if n > 0 else -m
        sign = 1 if n > 0 else (-1) ** (size + m)
        seeds[m] = sign * np.sqrt(_EXTENDED(comb(2 * size, size + k)))
        seeds[m] *= cosine ** (size + k) * sine ** (size - k)
    if size < bandlimit:
        seeds[size] = cosine ** (2 * size) if n >= 0 else (-sine) ** (2 * size)
        order = np.arange(size + 1, bandlimit, dtype=_EXTENDED)
        ratio = np.sqrt(2 * order * (2 * order - 1) / ((order + n) * (order - n)))
        steps = -ratio[:, None] * (cosine * sine)[None, :]
        seeds[size + 1 :] = seeds[size] * np.cumprod(steps, axis=0)
    return seeds


def wigner_columns(
    bandlimit: int, n: int, theta: Float[np.ndarray, " angles"]
) -> Iterator[tuple[int, Float[np.ndarray, "orders angles"]]]:
    """Yield each degree l with c_l d^l_mn(theta) for m = 0 ... l; the next step overwrites them.

    Negative orders follow from d^l_{-m,n} = (-1)^{m+n} d^l_{m,-n}. Degrees below |n| are all zero.

    Parameters
    ----------
    bandlimit
        Degrees below it are given.
    n
        Second index.
    theta
        Angles, radian.

    References
    ----------
    Varshalovich, Moskalev and Khersonskii (1988), Quantum Theory of Angular Momentum, 4.8.2, equation 14.
    """
    theta = theta.astype(_EXTENDED)
    cosine, size = np.cos(theta), abs(n)
    seeds = _seeds(bandlimit, n, theta)
    now, before = np.zeros_like(seeds), np.zeros_like(seeds)
    for degree in range(bandlimit):
        norm = np.sqrt((2 * degree + 1) / (4 * _EXTENDED(np.pi)))
        if degree == size:
            now[: degree + 1] = norm * seeds[: degree + 1]
        elif degree > size:
            ahead, shift, back = (row[:, None] for row in _coefficients(degree, n))
            step = now[:degree] * cosine
            step *= ahead
            if n:
                step -= shift * now[:degree]
            before[:degree] *= back
            np.subtract(step, before[:degree], out=before[:degree])
            before, now = now, before
            now[degree] = norm * seeds[degree]
        yield degree, now[: degree + 1]


def _coefficients(degree: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factors, for m = 0 ... l - 1, of the recurrence from l - 1 and l - 2 to l = `degree` with c_l in it."""
    lower = degree - 1
    m = np.arange(degree, dtype=_EXTENDED)
    root = np.sqrt((degree**2 - m**2) * _EXTENDED(degree**2 - n**2))
    ahead = np.sqrt(_EXTENDED((2 * degree + 1) * (2 * lower + 1))) / root
    if lower == 0:
        return ahead * degree, 0 * m, 0 * m
    old = np.sqrt(np.maximum(lower**2 - m**2, 0) * _EXTENDED(lower**2 - n**2))
    back = np.sqrt(_EXTENDED(2 * degree + 1) / (2 * lower - 1)) * degree * old / (lower * root)
    return ahead * degree, ahead * m * n / lower, back
