"""Comparison of runs with each other and with published figures: one row for each figure, as plain values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from geograph.errors import DataError
from geograph.units import KCAL_PER_MOL_EV

Row: TypeAlias = dict[str, Any]

#: Keys of a row that say how the run was made and what it costs; None where not known.
COST_KEYS = ("num_parameters", "ms_per_item", "peak_mb", "equivariance_error", "train_s", "mlflow_run_id")
#: All keys of a row, in the order of `compare.json`.
ROW_KEYS = ("task", "dataset", "num_train", "model", "metric", "value", "unit", *COST_KEYS, "source", "run")
THIS_RUN = "this run"

#: Endings of metric names that are units; the longest that fits counts.
_UNITS = {
    "_ev": "eV", "_mev": "meV", "_kcal_mol": "kcal/mol", "_hartree": "hartree", "_debye": "D",
    "_angstrom": "Å", "_percent": "%", "_gev": "GeV", "_s": "s", "_ms": "ms", "_mb": "MB",
}  # fmt: skip
_UNIT_OF_METRIC = {"nll": "nats", "nll_given_size": "nats"}


@dataclass(frozen=True)
class PublishedTable:
    """What the figures of one published table were measured on.

    Attributes
    ----------
    dataset, num_train
        Data set and size of its training part.
    source
        Citation of the table.
    sources
        Citations of single rows that come from elsewhere.
    metrics
        For each column: our name of the metric and the factor that makes it ours.
    compute
        Name of another table that has the numbers of parameters, or an empty string.
    """

    dataset: str
    num_train: int
    source: str
    metrics: Mapping[str, tuple[str, float]]
    sources: Mapping[str, str]
    compute: str = ""


_CGENN = "Ruhe et al. 2023, arXiv:2305.11141"
PUBLISHED_TABLES = {
    "top_tagging": PublishedTable(
        dataset="top-tagging reference",
        num_train=1_200_000,
        source="Gong et al. 2022, arXiv:2201.08187",
        sources={"CGENN": _CGENN},
        metrics={
            "accuracy": ("accuracy", 1.0),
            "auc": ("auc", 1.0),
            "rejection_at_eps_s_0.5": ("rejection_at_0.5", 1.0),
            "rejection_at_eps_s_0.3": ("rejection_at_0.3", 1.0),
        },
        compute="top_tagging_compute",
    ),
    "molecule_generation_qm9": PublishedTable(
        dataset="QM9",
        num_train=100_000,
        source="Hoogeboom et al. 2022, arXiv:2203.17003",
        sources={},
        metrics={
            "nll": ("nll", 1.0),
            "atom_stability_percent": ("atom_stability", 0.01),
            "molecule_stability_percent": ("molecule_stability", 0.01),
        },
    ),
    "qm7_atomization_energy": PublishedTable(
        dataset="QM7 (four folds of five)",
        num_train=5_732,
        source="Cobb et al. 2021, arXiv:2010.11661, and references there",
        sources={},
        metrics={"rmse_kcal_mol": ("rmse_kcal_mol", 1.0)},
    ),
    "nbody_mse": PublishedTable(
        dataset="charged particles, 5 bodies",
        num_train=3_000,
        source=_CGENN,
        sources={"EGNN": "Satorras et al. 2021, arXiv:2102.09844"},
        metrics={"mse": ("mse", 1.0)},
    ),
}


def published_table(domain: str, kind: str, dataset: str) -> str | None:
    """Return the name of the published table that belongs to a task, or None.

    Parameters
    ----------
    domain
        "molecules", "jets", "meshes" or "nbody".
    kind
        "regression", "classification", "trajectory" or "generation".
    dataset
        Name of the data set; QM7 is known by its name.
    """
    if (domain, kind) == ("molecules", "regression"):
        return "qm7_atomization_energy" if "qm7" in dataset.lower() else None
    tables = {
        ("jets", "classification"): "top_tagging",
        ("molecules", "generation"): "molecule_generation_qm9",
        ("nbody", "trajectory"): "nbody_mse",
    }
    return tables.get((domain, kind))


def load_published(path: str | Path) -> dict[str, list[Row]]:
    """Read published figures from YAML.

    A table is `{columns: [...], MODEL: [values], ...}`, or `{MODEL: value}` if it has one column, which is
    then called like the last word of the table's name. Tables without an entry in `PUBLISHED_TABLES` are
    left out, since what they were measured on is not known here.

    Returns
    -------
    For each table, its rows; the task is the name of the table.

    Raises
    ------
    DataError
        If the file is missing or not YAML, or a table has an unknown column or a row of another length.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(
            "no such file", source=source, remedy="restore the published figures from the repository"
        )
    try:
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise DataError(f"not valid YAML ({error})", source=source) from error
    try:
        return {name: _published_rows(name, content) for name in PUBLISHED_TABLES if name in (content or {})}
    except DataError as error:
        raise error.at(source=source) from error


def _published_rows(name: str, content: Mapping[str, Any]) -> list[Row]:
    about, table = PUBLISHED_TABLES[name], dict(content[name])
    columns = table.pop("columns", [name.rsplit("_", 1)[-1]])
    unknown = set(columns) - set(about.metrics) - set(COST_KEYS)
    if unknown:
        raise DataError(
            f"unknown columns {sorted(unknown)}", record=name, remedy="add them to `PUBLISHED_TABLES`"
        )
    compute = dict(content.get(about.compute, {}))
    compute_columns = compute.pop("columns", [])
    rows = []
    for model, values in table.items():
        figures = _by_column(f"{name}, {model}", columns, values)
        costs = _by_column(
            f"{about.compute}, {model}", compute_columns, compute.get(model, [None] * len(compute_columns))
        )
        known = {key: value for key, value in (costs | figures).items() if key in COST_KEYS}
        for column, (metric, factor) in about.metrics.items():
            if figures.get(column) is not None:
                place = {"task": name, "dataset": about.dataset, "num_train": about.num_train, "model": model}
                value = float(figures[column]) * factor
                rows.append(
                    _row(
                        **place,
                        metric=metric,
                        value=value,
                        source=about.sources.get(model, about.source),
                        **known,
                    )
                )
    return rows


def _by_column(where: str, columns: Sequence[str], values: Any) -> dict[str, Any]:
    values = values if isinstance(values, list) else [values]
    if len(values) != len(columns):
        raise DataError(
            f"{len(values)} values for {len(columns)} columns",
            record=where,
            remedy="write `null` where unknown",
        )
    return dict(zip(columns, values, strict=True))


def rows_from_metrics(
    entries: Iterable[Mapping[str, Any]], published: Mapping[str, Sequence[Row]] | None = None
) -> list[Row]:
    """Make one row of each metric of each run, with the published rows of the same task behind ours.

    Parameters
    ----------
    entries
        One for each run: `task`, `dataset`, `model`, `metrics` (name to number), and where known
        `num_train` and the keys of `COST_KEYS`, each beside or within `metrics`; `run` may name the run and
        `published` the published table that belongs to the task. Of the metrics, text is left out; a number
        that is not finite becomes None.
    published
        Tables as from `load_published`.

    Raises
    ------
    DataError
        If an entry lacks one of its four parts.
    """
    by_task: dict[str, list[Row]] = {}
    tables: dict[str, str] = {}
    for number, entry in enumerate(entries):
        missing = [key for key in ("task", "dataset", "model", "metrics") if key not in entry]
        if missing:
            raise DataError(
                f"metrics without {', '.join(missing)}", record=number, remedy="run its stage again"
            )
        by_task.setdefault(entry["task"], []).extend(_rows_of_run(entry))
        if entry.get("published"):
            tables[entry["task"]] = entry["published"]
    for task, table in tables.items():
        by_task[task] += [{**row, "task": task} for row in (published or {}).get(table, ())]
    return [row for rows in by_task.values() for row in rows]


def _rows_of_run(entry: Mapping[str, Any]) -> list[Row]:
    metrics = dict(entry["metrics"])
    about = {key: entry.get(key, metrics.get(key)) for key in ("num_train", *COST_KEYS)}
    place = {key: entry[key] for key in ("task", "dataset", "model")} | about | {"run": entry.get("run")}
    figures = {
        name: value for name, value in metrics.items() if name not in about and not isinstance(value, str)
    }
    if entry.get("published") == "qm7_atomization_energy":
        figures = _in_kcal_per_mol(figures)
    return [_row(**place, metric=name, value=value, source=THIS_RUN) for name, value in figures.items()]


def _in_kcal_per_mol(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Name errors as QM7 is reported; those in eV come in its unit besides."""
    named: dict[str, Any] = {}
    for name, value in metrics.items():
        kind = f"{name.split('_', 1)[0]}_kcal_mol"
        is_error = name.startswith(("mae_", "rmse_")) and value is not None
        if is_error and name.endswith("_kcal_mol"):
            named[kind] = value
        elif is_error and name.endswith("_ev"):
            named |= {name: value, kind: value / KCAL_PER_MOL_EV}
        else:
            named[name] = value
    return named


def _row(*, metric: str, value: float | None, **known: Any) -> Row:
    finite = value is not None and math.isfinite(value)
    row = {
        "metric": metric,
        "value": float(value) if finite and value is not None else None,
        "unit": unit_of(metric),
    }
    return {key: (row | known).get(key) for key in ROW_KEYS}


def unit_of(metric: str) -> str:
    """Return the unit that a metric's name carries; "1" if it has none."""
    endings = [ending for ending in _UNITS if metric.endswith(ending)]
    return _UNIT_OF_METRIC.get(metric) or (_UNITS[max(endings, key=len)] if endings else "1")


def label_of(metric: str) -> str:
    """Return a metric's name as the head of a column: words, and the unit in brackets."""
    unit = unit_of(metric)
    endings = [ending for ending in _UNITS if metric.endswith(ending)]
    name = metric[: -len(max(endings, key=len))] if endings else metric
    words = [
        word.upper() if word in ("mae", "rmse", "mse", "auc", "nll") else word for word in name.split("_")
    ]
    return " ".join(words) + (f" [{unit}]" if unit != "1" else "")


def write_json(rows: Sequence[Row], path: str | Path) -> None:
    """Write the rows as `compare.json`: a list of objects with the keys `ROW_KEYS`."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(list(rows), indent=1, allow_nan=False) + "\n", encoding="utf-8")
