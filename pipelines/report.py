"""The comparison as a document: Markdown, and one self-contained HTML file."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from pipelines.tables import THIS_RUN, Row, label_of

_TITLE = "Comparison"
_NOTE = (
    "Rows marked “this run” were trained and measured here; the other rows quote publications. Figures "
    "compare directly only where data set and size of the training set agree."
)
#: Metrics that come first, in this order; the rest follow as they come.
_FIRST = (
    "mae_kcal_mol", "rmse_kcal_mol", "accuracy", "auc", "rejection_at_0.5", "background_at_0.5",
    "rejection_at_0.3", "background_at_0.3", "mse", "atom_stability", "molecule_stability", "rdkit_validity",
    "uniqueness", "novelty", "nll",
)  # fmt: skip
_COSTS = {
    "num_parameters": "parameters",
    "ms_per_item": "ms per item",
    "peak_mb": "peak memory [MB]",
    "equivariance_error": "equivariance error",
    "train_s": "training [s]",
}
_RUN_KEYS = ("model", "run", "dataset", "num_train", "source", *_COSTS, "mlflow_run_id")


@dataclass(frozen=True)
class ReportFigure:
    """A picture of the report.

    Attributes
    ----------
    task
        Task under whose table it stands.
    caption
        One line.
    path
        PNG file.
    """

    task: str
    caption: str
    path: Path


@dataclass(frozen=True)
class _Section:
    task: str
    head: list[str]
    numeric: list[bool]
    lines: list[list[str]]
    ours: list[bool]
    figures: list[ReportFigure]


def render_markdown(
    rows: Sequence[Row], figures: Sequence[ReportFigure] = (), *, folder: str | Path = "."
) -> str:
    """Render one table for each task, with the pictures linked relative to `folder`."""
    parts = [f"# {_TITLE}", _NOTE]
    for section in _sections(rows, figures):
        rule = ["---:" if numeric else "---" for numeric in section.numeric]
        lines = [_pipe(section.head), _pipe(rule)] + [_pipe(line) for line in section.lines]
        parts += [f"## {section.task}", "\n".join(lines)]
        for figure in section.figures:
            link = Path(os.path.relpath(figure.path, folder)).as_posix()
            parts.append(f"![{figure.caption}]({link})\n\n*{figure.caption}*")
    return "\n\n".join(parts) + "\n"


def render_html(rows: Sequence[Row], figures: Sequence[ReportFigure] = ()) -> str:
    """Render the same as one HTML file that needs nothing else: styles and pictures are inside."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["png"] = lambda path: base64.b64encode(Path(path).read_bytes()).decode("ascii")
    return environment.from_string(_TEMPLATE).render(
        title=_TITLE, note=_NOTE, sections=_sections(rows, figures)
    )


def _pipe(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _sections(rows: Sequence[Row], figures: Sequence[ReportFigure]) -> list[_Section]:
    tasks = dict.fromkeys([row["task"] for row in rows] + [figure.task for figure in figures])
    return [
        _section(task, [r for r in rows if r["task"] == task], [f for f in figures if f.task == task])
        for task in tasks
    ]


def _section(task: str, rows: Sequence[Row], figures: list[ReportFigure]) -> _Section:
    """Pivot the rows of a task: one line for each run or published model, one column for each metric."""
    runs: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        runs.setdefault(tuple(row[key] for key in _RUN_KEYS), {})[row["metric"]] = row["value"]
    present = dict.fromkeys(row["metric"] for row in rows)
    metrics = [name for name in _FIRST if name in present] + [name for name in present if name not in _FIRST]
    costs = [key for key in _COSTS if any(row[key] is not None for row in rows)]
    has_runs = any(row["mlflow_run_id"] for row in rows)
    head = [
        "model",
        "run",
        "data set",
        "train size",
        *map(label_of, metrics),
        *(_COSTS[key] for key in costs),
        "source",
    ]
    lines = []
    for key, values in runs.items():
        about: Mapping[str, Any] = dict(zip(_RUN_KEYS, key, strict=True))
        line = [about["model"], about["run"] or "–", about["dataset"], _number(about["num_train"])]
        line += [_number(values.get(name)) for name in metrics]
        line += [_number(about[name]) for name in costs]
        lines.append([*line, about["source"], *([str(about["mlflow_run_id"] or "")[:8]] if has_runs else [])])
    if has_runs:
        head.append("MLflow run")
    numeric = [3 <= column < 4 + len(metrics) + len(costs) for column in range(len(head))]
    ours = [key[_RUN_KEYS.index("source")] == THIS_RUN for key in runs]
    return _Section(task, head, numeric, lines, ours, figures)


def _number(value: float | int | None) -> str:
    """Write a number with four digits that count; whole numbers in full, with thin groups."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{int(value):,}".replace(",", "\u202f") if abs(value) >= 10_000 else str(int(value))
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.2e}"


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light; --ink: #1c2430; --soft: #5d6877; --line: #d9dee5; --ours: #eef5fc; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); margin: 2rem auto; max-width: 86rem;
  padding: 0 1.5rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
p.note { color: var(--soft); max-width: 60rem; }
nav a { margin-right: 1rem; }
div.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); vertical-align: bottom; }
.number { text-align: right; white-space: nowrap; }
tr.ours { background: var(--ours); } tr.ours td:first-child { font-weight: 600; }
div.figures { display: flex; flex-wrap: wrap; gap: 1.5rem; margin-top: 1.2rem; }
figure { margin: 0; max-width: min(42rem, 100%); } figure img { max-width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .85rem; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="note">{{ note }}</p>
<nav>{% for section in sections %}<a href="#task-{{ loop.index }}">{{ section.task }}</a>{% endfor %}</nav>
{% for section in sections %}
<section id="task-{{ loop.index }}">
<h2>{{ section.task }}</h2>
{% if section.lines %}
<div class="scroll"><table>
<thead><tr>
{% for cell in section.head %}
<th{% if section.numeric[loop.index0] %} class="number"{% endif %}>{{ cell }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for line in section.lines %}
<tr{% if section.ours[loop.index0] %} class="ours"{% endif %}>
{% for cell in line %}
<td{% if section.numeric[loop.index0] %} class="number"{% endif %}>{{ cell }}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table></div>
{% endif %}
{% if section.figures %}
<div class="figures">
{% for figure in section.figures %}
<figure><img alt="{{ figure.caption }}" src="data:image/png;base64,{{ figure.path | png }}">
<figcaption>{{ figure.caption }}</figcaption></figure>
{% endfor %}
</div>
{% endif %}
</section>
{% endfor %}
</body>
</html>
"""
