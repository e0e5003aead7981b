"""Print the comparison of the last run: `python -m pipelines.show`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.tables import THIS_RUN, label_of

#: Metrics that are shown; the report has all of them.
_SHOWN = 6


def show(path: Path, console: Console) -> None:
    """Print one table for each task."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    for task in dict.fromkeys(row["task"] for row in rows):
        of_task = [row for row in rows if row["task"] == task and row["value"] is not None]
        ours = [row for row in of_task if row["source"] == THIS_RUN]
        metrics = list(dict.fromkeys(row["metric"] for row in ours))
        order = list(dict.fromkeys(row["metric"] for row in of_task if row["source"] != THIS_RUN))
        metrics = sorted(metrics, key=lambda name: order.index(name) if name in order else len(order))[
            :_SHOWN
        ]
        table = Table("model", "trained on", "run or source", title=task, title_justify="left")
        for metric in metrics:
            table.add_column(escape(label_of(metric)), justify="right")
        lines: dict[tuple[str, str, str], dict[str, float]] = {}
        trained: set[tuple[str, str, str]] = set()
        for row in of_task:
            size = "" if row["num_train"] is None else f", {row['num_train']:,}"
            key = (row["model"], f"{row['dataset']}{size}", row["run"] or row["source"])
            lines.setdefault(key, {})[row["metric"]] = row["value"]
            if row["source"] == THIS_RUN:
                trained.add(key)
        for key, values in lines.items():
            cells = [f"{values[metric]:.4g}" if metric in values else "–" for metric in metrics]
            table.add_row(*key, *cells, style="bold" if key in trained else "dim")
        console.print(table)


def show_times(folder: Path, console: Console) -> None:
    """Print how long each stage took when it last ran."""
    table = Table("stage", "seconds", title="wall time of each stage", title_justify="left")
    total = 0.0
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime):
        seconds = json.loads(path.read_text(encoding="utf-8"))["wall_s"]
        total += seconds
        table.add_row(path.stem, f"{seconds:.0f}")
    table.add_row("sum", f"{total:.0f}", style="bold")
    console.print(table)


def main() -> None:
    """Print the tables and say where the rest is; with `--times`, how long each stage took."""
    if "--times" in sys.argv[1:]:
        show_times(Path("metrics/runs"), Console())
        return
    path = Path("reports/compare.json")
    if not path.is_file():
        print("reports/compare.json is not there yet; run make repro", file=sys.stderr)
        sys.exit(1)
    console = Console(width=None if sys.stdout.isatty() else 160)
    show(path, console)
    console.print("All figures, costs and pictures: reports/compare.html (or reports/compare.md)")
    console.print("Browse and compare the runs:      make ui, then http://127.0.0.1:5000")
    console.print(
        "Draw molecules:                   geograph sample --run molecules-edm -n 10 --out molecules.sdf"
    )


if __name__ == "__main__":
    main()
