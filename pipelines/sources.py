"""From a data set's parameters to its records: one small function for each source and format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from geograph.errors import ConfigError, DataError
from geograph.records import Record
from pipelines.params_data import Dataset, FilesSource, ReferenceSource
from pipelines.source import REPOSITORY, Source, locate


def open_source(dataset: Dataset, num_workers: int) -> Source:
    """Open or generate the records of a data set.

    Parameters
    ----------
    dataset
        Its parameters.
    num_workers
        Processes for generation.
    """
    source = dataset.source
    if dataset.domain == "maps":
        return _MAPS[source.kind](source, num_workers)
    if source.kind == "generated":
        return _GENERATORS[dataset.domain](source, num_workers)
    if isinstance(source, ReferenceSource):
        return _reference(source)
    if isinstance(source, FilesSource):
        return _files(source, locate(source.path))
    raise ConfigError(f"`source.kind` {source.kind!r} is not for {dataset.domain}")


# --- generators ------------------------------------------------------------------------------------------


def _molecules(source: Any, num_workers: int) -> Source:
    from geograph.generate.molecules import generate_molecules

    made = generate_molecules(
        source.num_molecules,
        seed=source.seed,
        num_workers=num_workers,
        fmax_ev_per_angstrom=source.fmax_ev_per_angstrom,
    )
    reasons = {f"refused_{_slug(key)}": count for key, count in made.reject_counts().items()}
    return Source(made.molecules, counts={**reasons, "refused": len(made.rejected)})


def _slug(reason: str) -> str:
    return reason.replace(" ", "_").replace("-", "_")


def _jets(source: Any, num_workers: int) -> Source:
    from geograph.generate.jets import generate_jets

    jets = generate_jets(
        source.num_background,
        source.num_signal,
        seed=source.seed,
        num_workers=num_workers,
        chunk_size=source.chunk_size,
        pt_hat_min_gev=source.pt_hat_min_gev,
        pt_hat_max_gev=source.pt_hat_max_gev,
    )
    return Source(jets, {"class_names": ["QCD", "top"]})


def _meshes(source: Any, num_workers: int) -> Source:
    from geograph.generate.meshes import MESH_CLASSES, generate_meshes

    meshes = generate_meshes(
        source.num_per_class,
        seed=source.seed,
        num_workers=num_workers,
        anisotropy=source.anisotropy,
        deformation=source.deformation,
        upright=source.upright,
    )
    return Source(meshes, {"class_names": list(MESH_CLASSES)})


def _nbody(source: Any, num_workers: int) -> Source:
    from geograph.generate.nbody import generate_nbody

    parts = generate_nbody(
        source.num_train,
        source.num_val,
        source.num_test,
        seed=source.seed,
        num_workers=num_workers,
        protocol=source.protocol,
    )
    records = [record for part in parts.values() for record in part]
    names = [name for name, part in parts.items() for _ in part]
    return Source(records, {"protocol": source.protocol}, parts=lambda _: names)


_GENERATORS: dict[str, Callable[[Any, int], Source]] = {
    "molecules": _molecules,
    "jets": _jets,
    "meshes": _meshes,
    "nbody": _nbody,
}


def _cmb(source: Any, num_workers: int) -> Source:
    from geograph.generate.cmb import generate_cmb

    maps = generate_cmb(num_workers=num_workers, **source.model_dump(exclude={"kind"}))
    return Source(maps, {"class_names": ["Gaussian", "non-Gaussian"], "strength": source.strength})


def _digits(source: Any, num_workers: int) -> Source:
    from geograph.generate.digits import generate_digits

    digits = generate_digits(
        source.limit,
        bandlimit=source.bandlimit,
        seed=source.seed,
        centre=source.centre,
        num_workers=num_workers,
    )
    names = {"class_names": [str(digit) for digit in range(10)]}
    return Source(digits, names, parts=lambda ids: [name.split("-")[0] for name in ids])


def _map_files(source: Any, num_workers: int) -> Source:
    from geograph.readers.sphere_maps import read_sphere_maps, sphere_map_classes

    path, (rejects, on_error) = locate(source.path), _tolerant(source.max_rejected)
    options = source.model_dump(include={"bandlimit", "grid", "order"})
    maps = read_sphere_maps(path, on_error=on_error, **options)
    facts = {"class_names": sphere_map_classes(path), "path": path.name}
    return Source(islice(maps, source.limit), facts, rejects=rejects)


_MAPS: dict[str, Callable[[Any, int], Source]] = {"cmb": _cmb, "digits": _digits, "files": _map_files}


# --- files -----------------------------------------------------------------------------------------------


OnError = Callable[[DataError], None]


def _tolerant(max_rejected: int) -> tuple[list[str], OnError]:
    """Return a list of rejects, and what notes one there until there are too many."""
    rejects: list[str] = []

    def on_error(error: DataError) -> None:
        rejects.append(str(error))
        if len(rejects) > max_rejected:
            raise error

    return rejects, on_error


def _files(source: FilesSource, path: Path) -> Source:
    rejects, on_error = _tolerant(source.max_rejected)
    opened = _READERS[source.format](source, path, on_error)
    opened.rejects = rejects
    opened.attributes["path"] = path.name
    if source.limit is not None:
        opened.records = islice(opened.records, source.limit)
    return opened


def _qm7(source: FilesSource, path: Path, on_error: OnError) -> Source:
    from geograph.readers.qm7 import qm7_folds, read_qm7

    refused: list[int] = []

    def note(error: DataError) -> None:
        refused.append(int(error.record or 0))
        on_error(error)

    return Source(read_qm7(path, on_error=note), folds=lambda: np.delete(qm7_folds(path), refused))


def _qm9(source: FilesSource, path: Path, on_error: OnError) -> Source:
    from geograph.readers.qm9 import read_qm9, read_uncharacterized

    exclude = read_uncharacterized(locate(source.exclude)) if source.exclude else frozenset()
    return Source(read_qm9(path, exclude=exclude, on_error=on_error))


def _atoms(source: FilesSource, path: Path, on_error: OnError) -> Source:
    from geograph.readers.atoms import read_atoms

    return Source(read_atoms(path, on_error=on_error))


def _top_tagging(source: FilesSource, path: Path, on_error: OnError) -> Source:
    from geograph.readers.top_tagging import read_top_tagging

    jets = read_top_tagging(path, has_beam_frame=source.has_beam_frame, on_error=on_error)
    return Source(jets, {"class_names": ["QCD", "top"]})


def _jetclass(source: FilesSource, path: Path, on_error: OnError) -> Source:
    from geograph.readers.jetclass import read_jetclass

    return Source(read_jetclass(path, on_error=on_error))


def _mesh_files(source: FilesSource, path: Path, on_error: OnError) -> Source:
    from geograph.readers.meshes import mesh_classes, mesh_split_of, read_meshes

    return Source(
        read_meshes(path, on_error=on_error),
        {"class_names": mesh_classes(path)},
        parts=lambda ids: [mesh_split_of(name) or "train" for name in ids],
    )


def _nbody_files(source: FilesSource, path: Path, on_error: OnError) -> Source:
    from geograph.readers.nbody import read_nbody

    return Source(read_nbody(path, on_error=on_error))


_READERS: dict[str, Callable[[FilesSource, Path, OnError], Source]] = {
    "qm7": _qm7,
    "qm9": _qm9,
    "atoms": _atoms,
    "top_tagging": _top_tagging,
    "jetclass": _jetclass,
    "meshes": _mesh_files,
    "nbody": _nbody_files,
}


# --- reference data sets -----------------------------------------------------------------------------------


def _reference(source: ReferenceSource) -> Source:
    from geograph.datasets.download import REFERENCE_SETS, fetch

    if source.name not in REFERENCE_SETS:
        raise ConfigError(f"`name` must be one of {', '.join(REFERENCE_SETS)}, got {source.name!r}.")
    folder = REPOSITORY / "data" / "downloads" / source.name
    paths = fetch(source.name, folder)
    reader = REFERENCE_SETS[source.name].reader
    if source.name == "top_tagging":
        return _published_parts(source, reader, paths)
    exclude = next((path for path in paths if path.name == "uncharacterized.txt"), None)
    files = FilesSource(
        kind="files",
        format=reader,  # type: ignore[arg-type]
        path=str(paths[0]),
        exclude=None if exclude is None else str(exclude),
        has_beam_frame=source.has_beam_frame,
        limit=source.limit,
        max_rejected=source.max_rejected,
    )
    return _files(files, paths[0])


def _published_parts(source: ReferenceSource, reader: Any, paths: list[Path]) -> Source:
    """Chain the files of the published train, validation and test parts; `limit` holds for each of them."""
    opened = []
    for path in paths:
        files = FilesSource(
            kind="files",
            format=reader,
            path=str(path),
            has_beam_frame=source.has_beam_frame,
            limit=source.limit,
            max_rejected=source.max_rejected,
        )
        opened.append(_files(files, path))
    counts = [0] * len(paths)
    rejects: list[str] = []

    def records() -> Iterator[Record]:
        for number, part in enumerate(opened):
            for record in part.records:
                counts[number] += 1
                yield record
            rejects.extend(part.rejects)

    def parts(_: list[str]) -> list[str]:
        return [
            name for name, count in zip(("train", "val", "test"), counts, strict=True) for _ in range(count)
        ]

    attributes = opened[0].attributes | {"path": ", ".join(path.name for path in paths)}
    return Source(records(), attributes, parts=parts, rejects=rejects)
