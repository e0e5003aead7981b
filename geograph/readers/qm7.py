"""QM7: 7,165 molecules with atomization energies, as `qm7.mat` or as `.npz`.

Public layout of `qm7.mat` (http://quantum-machine.org/datasets): `R` [n, 23, 3] in bohr and `Z` [n, 23], both
padded with zeros, `T` [1, n] atomization energy in kcal/mol (negative), `P` [5, n/5] record numbers of the
five published folds. In place of `P` there may be `fold` [n]; a `.npz` file has `R_angstrom`, `Z`,
`T_kcalmol`, `fold`.

References
----------
Blum and Reymond, J. Am. Chem. Soc. 131, 8732 (2009); Rupp et al., Phys. Rev. Lett. 108, 058301 (2012).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Int

from geograph.errors import DataError
from geograph.readers.archives import OnError, existing, load_npz, report
from geograph.records import Molecule
from geograph.units import BOHR_ANGSTROM

#: What SciPy's MATLAB reader raises on files that are damaged, cut off or of another kind.
_DAMAGED_MAT = (
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
)


def read_qm7(path: str | PathLike[str], *, on_error: OnError | None = None) -> Iterator[Molecule]:
    """Molecules of QM7 in the order of the file, padding removed, in angstrom.

    Their property is `atomization_energy_kcal_mol`, negative as published. The identifier is `qm7_` with the
    number of the record in the published file where the file tells it (`qm7_index`), else in this file.

    Parameters
    ----------
    path
        A `.mat` or `.npz` file.
    on_error
        Called with every broken record, which is then left out; without it the first one raises.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another layout, or if a record is broken.
    """
    source, arrays = _load(path)
    z, pos, energy = arrays["Z"], arrays["pos"], arrays["T"]
    index = arrays.get("qm7_index", np.arange(len(z)))
    for record in range(len(z)):
        try:
            molecule = _molecule(z[record], pos[record], float(energy[record]), f"qm7_{int(index[record])}")
        except DataError as error:
            report(DataError(error.what, source=source, record=record, remedy=error.remedy), on_error)
        else:
            yield molecule


def qm7_folds(path: str | PathLike[str]) -> Int[np.ndarray, " n"]:
    """Read the published fold (0 to 4) of each record, in the order of the file.

    Raises
    ------
    DataError
        If the file tells no folds, or if they do not cover every record once.
    """
    source, arrays = _load(path)
    count = len(arrays["Z"])
    if "fold" in arrays:
        return arrays["fold"].ravel().astype(np.int64)
    if "P" not in arrays:
        raise DataError("neither `P` nor `fold` is there", source=source, remedy="use the published qm7.mat")
    parts = arrays["P"].astype(np.int64)
    if sorted(parts.ravel().tolist()) != list(range(count)):
        raise DataError(
            f"`P` {parts.shape} does not name each of the {count} records once",
            source=source,
            remedy="use the published qm7.mat, whole",
        )
    folds = np.empty(count, dtype=np.int64)
    folds[parts] = np.arange(len(parts))[:, None]
    return folds


def _molecule(z: np.ndarray, pos: np.ndarray, energy: float, name: str) -> Molecule:
    is_atom = z != 0
    if not np.isfinite(energy):
        raise DataError(f"`T` is not finite ({energy})", record=name, remedy="remove the record")
    if (z != np.round(z)).any():
        raise DataError("`Z` has a value that is not a whole number", record=name, remedy="remove the record")
    return Molecule(
        z[is_atom].astype(np.int64),
        pos[is_atom].astype(np.float64),
        properties={"atomization_energy_kcal_mol": energy},
        id=name,
    )


def _load(path: str | PathLike[str]) -> tuple[Path, dict[str, np.ndarray]]:
    source = existing(path)
    if source.suffix == ".npz":
        arrays = load_npz(source, ("R_angstrom", "Z", "T_kcalmol"))
        arrays["pos"], arrays["T"] = arrays.pop("R_angstrom"), arrays.pop("T_kcalmol")
    elif source.suffix == ".mat":
        arrays = _load_mat(source)
        arrays["pos"] = arrays.pop("R").astype(np.float64) * BOHR_ANGSTROM
    else:
        raise DataError(
            f"the suffix {source.suffix!r} is not known", source=source, remedy="give a .mat or .npz file"
        )
    arrays["T"] = arrays["T"].ravel()
    if "qm7_index" in arrays:
        arrays["qm7_index"] = arrays["qm7_index"].ravel()
    z, pos, energy = arrays["Z"], arrays["pos"], arrays["T"]
    if z.ndim != 2 or pos.shape != (*z.shape, 3) or energy.shape != z.shape[:1]:
        raise DataError(
            f"shapes do not fit: `Z` {z.shape}, `R` {pos.shape}, `T` {energy.shape};"
            " required are (n, a), (n, a, 3) and n values",
            source=source,
            remedy="use the published qm7.mat",
        )
    return source, arrays


def _load_mat(source: Path) -> dict[str, np.ndarray]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        arrays = loadmat(source)
    except (*_DAMAGED_MAT, MatReadError, zlib.error) as error:
        raise DataError(
            f"not a readable MATLAB file ({error})",
            source=source,
            remedy="the file is damaged or cut off; fetch it again",
        ) from error
    missing = [name for name in ("R", "Z", "T") if name not in arrays]
    if missing:
        raise DataError(f"array {missing[0]!r} is missing", source=source, remedy="use the published qm7.mat")
    return {name: values for name, values in arrays.items() if isinstance(values, np.ndarray)}
