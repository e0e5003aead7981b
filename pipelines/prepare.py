"""Stage prepare: records of one data set from its source, and their split.

Writes `data/raw/NAME` (records, rejected.csv), `data/raw/NAME-split.json` and `metrics/prepare/NAME.json`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from geograph.datasets.records import read_text, write_records
from geograph.datasets.splits import PARTS, Split, seeded_split, write_split
from geograph.datasets.store import Store
from geograph.errors import ConfigError
from geograph.fields import Level
from pipelines.params import Params
from pipelines.params_data import Dataset
from pipelines.source import Source, locate, make_rejects_report
from pipelines.sources import open_source
from pipelines.stage import main, stage, write_metrics


def make_split(dataset: Dataset, source: Source, ids: list[str]) -> Split:
    """Split the records as the parameters say.

    Raises
    ------
    ConfigError
        If the source offers no such split.
    """
    wanted, num_records = dataset.split, len(ids)
    if wanted.kind == "seeded":
        return seeded_split(num_records, {"val": wanted.val, "test": wanted.test}, wanted.seed)
    if wanted.kind == "qm9-edm":
        return _edm_split(dataset, ids)
    if wanted.kind == "qm7-folds":
        if source.folds is None:
            raise ConfigError("split.kind qm7-folds needs a QM7 file, which holds the folds")
        return _fold_split(source.folds()[:num_records], wanted.test_fold or 0, wanted.val, wanted.seed)
    if source.parts is None:
        raise ConfigError(
            "split.kind provided: this source does not say which record belongs where; use seeded"
        )
    return _provided_split(np.asarray(source.parts(ids)), wanted.val, wanted.seed)


def _edm_split(dataset: Dataset, ids: list[str]) -> Split:
    """Return the published split of QM9; of a part of QM9, each record goes where the whole has it."""
    from geograph.datasets import published_splits as published
    from geograph.readers.qm9 import read_uncharacterized

    if len(ids) == published.QM9_NUM_MOLECULES - published.QM9_NUM_EXCLUDED:
        return published.edm_split()
    exclude = getattr(dataset.source, "exclude", None)
    if exclude is None or not all(name.startswith("gdb_") for name in ids):
        raise ConfigError(
            f"split.kind qm9-edm needs QM9 whole, or a part of it with source.exclude: the published list of "
            f"inconsistent molecules; this source has {len(ids)} records"
        )
    numbers = np.array([int(name.removeprefix("gdb_")) for name in ids])
    return published.edm_split_of(numbers, read_uncharacterized(locate(exclude)))


def _fold_split(folds: np.ndarray, test_fold: int, val: float, seed: int) -> Split:
    rest = np.random.default_rng(seed).permutation(np.flatnonzero(folds != test_fold))
    cut = int(val * len(rest))
    return Split(f"qm7-fold-{test_fold}", rest[cut:], rest[:cut], np.flatnonzero(folds == test_fold))


def _provided_split(parts: np.ndarray, val: float, seed: int) -> Split:
    """Parts as given; where the source has no validation part, a share of its train part is held out."""
    numbers = {part: np.flatnonzero(parts == part) for part in PARTS}
    if len(numbers["val"]) == 0:
        order = np.random.default_rng(seed).permutation(numbers["train"])
        cut = int(val * len(order))
        numbers["val"], numbers["train"] = np.sort(order[:cut]), np.sort(order[cut:])
    return Split("provided", numbers["train"], numbers["val"], numbers["test"])


def _counted(records: Iterable[object], every: int = 1000) -> Iterator:
    for count, record in enumerate(records, start=1):
        if count % every == 0:
            print(f"  {count} records", flush=True)
        yield record


def run(params: Params, name: str) -> None:
    """Make the records of data set `name`."""
    dataset = params.data[name]
    folder = Path("data/raw") / name
    shutil.rmtree(folder, ignore_errors=True)
    with stage(
        "prepare", name, params, settings=dataset.model_dump(mode="json"), experiment="data"
    ) as tracker:
        start = time.perf_counter()
        source = open_source(dataset, params.parallel.num_workers)
        attributes = {
            "name": name,
            "domain": dataset.domain,
            "source": dataset.source.kind,
        } | source.attributes
        store = write_records(folder, _counted(source.records), attributes)
        (folder / "rejected.csv").write_text(make_rejects_report(source.rejects), encoding="utf-8")
        split = make_split(dataset, source, read_text(folder)["id"]).check(len(store))
        write_split(folder.with_name(f"{name}-split.json"), split)
        metrics = _figures(store, split, source) | {"wall_s": round(time.perf_counter() - start, 2)}
        write_metrics(f"metrics/prepare/{name}.json", metrics)
        tracker.log_metrics(metrics)
        tracker.set_tags({"data.sha256": store.digest()})
        print(f"{name}: {len(store)} records, {len(source.rejects)} rejected, in {metrics['wall_s']:.0f} s")


def _figures(store: Store, split: Split, source: Source) -> dict[str, float]:
    figures: dict[str, float] = {
        "num_records": len(store),
        "num_nodes": int(store.pointer(Level.NODE)[-1]),
        "num_rejected": len(source.rejects),
    }
    figures |= {f"num_{part}": len(getattr(split, part)) for part in PARTS}
    return figures | source.counts


if __name__ == "__main__":
    main(run)
