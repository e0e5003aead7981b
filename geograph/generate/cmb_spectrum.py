"""Angular power spectrum of the cosmic microwave background: a committed table, CAMB, or a file.

The table beside this module holds D_l = l (l + 1) C_l / 2 pi of the lensed temperature for l = 2 ... 2508 in
microkelvin^2. CAMB 2.0.5 made it, with the best-fit parameters of Planck 2018 (`PLANCK_2018`), by

    python -m geograph.generate.cmb_spectrum geograph/generate/cmb_spectrum.txt

Monopole and dipole are 0: they are no part of the pattern that theory predicts.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float

from geograph.errors import ConfigError, DataError, MissingExtraError

#: Flat LambdaCDM, best fit to TT,TE,EE+lowE+lensing: Planck Collaboration VI (2020), arXiv:1807.06209,
#: Table 1 (column Plik best fit). H0 in km/s/Mpc, sum of the neutrino masses in eV.
PLANCK_2018 = {
    "H0": 67.32,
    "ombh2": 0.022383,
    "omch2": 0.12011,
    "tau": 0.0543,
    "As": 1e-10 * np.exp(3.0448),
    "ns": 0.96605,
    "mnu": 0.06,
    "omk": 0.0,
}
TABLE = Path(__file__).with_name("cmb_spectrum.txt")
_LARGEST_DEGREE = 2508
_SOURCES = {"planck": "the committed table", "camb": "CAMB"}


def load_spectrum(source: str | Path, bandlimit: int) -> Float[np.ndarray, " bandlimit"]:
    """Return C_l in microkelvin^2 for the degrees l = 0 ... L - 1; C_0 = C_1 = 0.

    Parameters
    ----------
    source
        `planck`: the committed table; `camb`: computed now, with the same parameters; or a text file whose
        first two columns are l (rising by 1, from 2 or below) and D_l in microkelvin^2, as the Planck Legacy
        Archive has them. Lines that start with # and one line of column names are left out.
    bandlimit
        L.

    Raises
    ------
    ConfigError
        If the band-limit is too small to hold anything, or beyond the degrees of the source.
    DataError
        If the file is missing or no such table.
    MissingExtraError
        If CAMB is asked for and not installed.
    """
    if bandlimit < 3:
        raise ConfigError(f"`bandlimit` must be at least 3 (the spectrum starts at l = 2), got {bandlimit}.")
    if source == "camb":
        scaled = _camb_table(bandlimit - 1)
    else:
        scaled = _read_table(TABLE if source == "planck" else Path(source))
    if len(scaled) < bandlimit:
        raise ConfigError(
            f"`bandlimit` {bandlimit} needs the spectrum up to l = {bandlimit - 1}, but `spectrum` {source} "
            f"ends at l = {len(scaled) - 1}."
        )
    degree = np.arange(2, bandlimit, dtype=np.float64)
    spectrum = np.zeros(bandlimit)
    spectrum[2:] = scaled[2:bandlimit] * 2.0 * np.pi / (degree * (degree + 1.0))
    return spectrum


def _rows(path: Path) -> list[list[str]]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "no such text file of a power spectrum",
            source=path,
            remedy=f"`spectrum` must be {' or '.join(_SOURCES)} or name a file with columns l and D_l",
        ) from error
    rows = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return rows[1:] if rows and not rows[0][0][0].isdigit() else rows


def _read_table(path: Path) -> np.ndarray:
    """D_l by l; degrees before the first of the file are 0."""
    rows = _rows(path)
    remedy = "the first two columns must be l and D_l in microkelvin^2, one line for each l"
    try:
        table = np.array([[float(cell) for cell in row[:2]] for row in rows], dtype=np.float64)
    except ValueError as error:
        raise DataError(f"not a table of numbers ({error})", source=path, remedy=remedy) from error
    if table.ndim != 2 or table.shape[1] != 2 or len(table) == 0:
        raise DataError("no table of two columns", source=path, remedy=remedy)
    first = table[0, 0]
    if first not in (0.0, 1.0, 2.0) or not np.array_equal(table[:, 0], first + np.arange(len(table))):
        raise DataError("the degrees do not rise by 1 from 2 or below", source=path, remedy=remedy)
    if not (np.isfinite(table[:, 1]).all() and (table[:, 1] >= 0).all()):
        raise DataError("a power is negative or not finite", source=path, remedy=remedy)
    return np.concatenate([np.zeros(int(first)), table[:, 1]])


def _camb_table(largest_degree: int) -> np.ndarray:
    """D_l of the lensed temperature by l, in microkelvin^2."""
    try:
        camb = importlib.import_module("camb")
    except ImportError as error:
        raise MissingExtraError("`spectrum: camb`", "camb", "generate") from error
    # Lensing moves power between degrees some hundreds apart.
    params = camb.set_params(**PLANCK_2018, lmax=max(largest_degree + 500, 1000), lens_potential_accuracy=1)
    spectra = camb.get_results(params).get_cmb_power_spectra(
        params, spectra=["total"], CMB_unit="muK", lmax=largest_degree
    )
    table: np.ndarray = np.array(spectra["total"][:, 0], dtype=np.float64)
    return table


def write_table(path: str | Path, largest_degree: int = _LARGEST_DEGREE) -> None:
    """Compute the spectrum by CAMB and write it in the form that `load_spectrum` reads.

    Parameters
    ----------
    path
        Of the text file.
    largest_degree
        Last l.

    Raises
    ------
    MissingExtraError
        If CAMB is not installed.
    """
    scaled = _camb_table(largest_degree)
    version = importlib.import_module("camb").__version__
    parameters = ", ".join(f"{name} = {value:.6g}" for name, value in PLANCK_2018.items())
    lines = [
        f"# Lensed TT power spectrum of flat LambdaCDM by CAMB {version}: {parameters}",
        "# (Planck Collaboration VI 2020, arXiv:1807.06209, Table 1); made by",
        "# `python -m geograph.generate.cmb_spectrum`. Columns: l, D_l = l (l + 1) C_l / 2 pi in uK^2.",
        *(f"{degree:4d} {scaled[degree]:.6e}" for degree in range(2, largest_degree + 1)),
    ]
    Path(path).write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    write_table(sys.argv[1] if len(sys.argv) > 1 else TABLE)
