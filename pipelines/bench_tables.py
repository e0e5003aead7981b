"""Tables of the benchmark, for the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.bench_rows import Row

_UNKNOWN = "–"


@dataclass(frozen=True)
class Column:
    """One column: key of the row, head, and how a value is written."""

    key: str
    head: str
    write: Callable[[float], str]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _milliseconds(value: float) -> str:
    return _number(1e3 * value)


def _times(value: float) -> str:
    return f"{value:.0f}×" if value >= 99.5 else f"{value:.3g}×"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _power(value: float) -> str:
    return f"{value:.2f}"


_MODELS = (
    Column("forward_s", "forward ms", _milliseconds),
    Column("step_s", "step ms", _milliseconds),
    Column("peak_mb", "peak MB", _number),
    Column("speedup_forward", "forward faster", _times),
    Column("speedup_step", "step faster", _times),
    Column("speedup_padded", "step against padded", _times),
    Column("memory_ratio", "memory ratio", _number),
    Column("roofline_forward", "of roofline, forward", _percent),
    Column("roofline_fraction", "of roofline, step", _percent),
    Column("graphs_per_s", "graphs/s", _number),
)
_SCALING = (
    Column("edges", "edges", _number),
    Column("hidden", "width", _number),
    Column("batch", "graphs", _number),
    Column("forward_s", "forward ms", _milliseconds),
    Column("step_s", "step ms", _milliseconds),
    Column("peak_mb", "peak MB", _number),
    Column("speedup_step", "step faster", _times),
    Column("memory_ratio", "memory ratio", _number),
)
_TRANSFORMS = (
    Column("bandlimit", "L", _number),
    Column("batch", "maps", _number),
    Column("forward_s", "synthesis ms", _milliseconds),
    Column("analysis_s", "analysis ms", _milliseconds),
    Column("backward_s", "backward ms", _milliseconds),
    Column("step_s", "together ms", _milliseconds),
    Column("peak_mb", "peak MB", _number),
    Column("speedup_step", "faster", _times),
    Column("memory_ratio", "memory ratio", _number),
)
_SAMPLING = (
    Column("batch", "molecules", _number),
    Column("molecules_per_s", "molecules/s", _number),
    Column("forward_s", "ms per step", _milliseconds),
    Column("speedup_forward", "faster", _times),
    Column("peak_mb", "peak MB", _number),
    Column("memory_ratio", "memory ratio", _number),
)
_LOADER = (
    Column("forward_s", "ms per batch", _milliseconds),
    Column("speedup_forward", "faster", _times),
    Column("step_s", "step ms", _milliseconds),
    Column("peak_mb", "peak MB", _number),
    Column("graphs_per_s", "graphs/s", _number),
)


def sections(rows: Sequence[Row]) -> list[tuple[str, tuple[Column, ...], list[Row]]]:
    """Divide the rows by kind: title, columns, rows of each that is not empty."""
    kinds = {"sampling": _SAMPLING, "scaling": _SCALING, "sht": _TRANSFORMS, "loader": _LOADER}
    models = [row for row in rows if not row["case"].startswith(tuple(kinds))]
    named: list[tuple[str, tuple[Column, ...], list[Row]]] = [("models", _MODELS, models)]
    for kind, columns in kinds.items():
        named.append((kind, columns, [row for row in rows if row["case"].startswith(kind)]))
    return [(title, columns, part) for title, columns, part in named if part]


def shown(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """Leave out columns without any value."""
    return [column for column in columns if any(row[column.key] is not None for row in rows)]


def cell(row: Row, column: Column) -> str:
    """Write one value; a dash for what was not measured."""
    value = row[column.key]
    return _UNKNOWN if value is None else column.write(value)


def _axis(row: Row) -> str:
    return str(row["case"]).removeprefix("scaling-").removeprefix("sht-")


def exponents(rows: Sequence[Row]) -> list[str]:
    """One sentence for each series and backend: powers of time and memory."""
    said: dict[tuple[str, str], str] = {}
    for row in rows:
        if row["exponent_step"] is None:
            continue
        axis = _axis(row)
        memory = row["exponent_memory"]
        held = "" if memory is None else f", memory like {axis}^{_power(memory)}"
        taken = f"step time grows like {axis}^{_power(row['exponent_step'])}"
        said[row["case"], row["backend"]] = f"{row['case']}, {row['backend']}: {taken}{held}"
    return list(said.values())


def errors(rows: Sequence[Row]) -> list[str]:
    """One sentence for each row that was not measured to the end."""
    told = []
    for row in rows:
        if row["error"] is not None:
            axis = _axis(row)
            place = f" at {_number(row[axis])}" if axis in row and row[axis] is not None else ""
            told.append(f"{row['case']}, {row['backend']}{place}: {row['error']}")
    return told


def facts_lines(facts: dict[str, Any]) -> list[str]:
    """Say what the figures were measured on."""
    rates = [f"copies {facts['copy_gb_per_s']:.0f} GB/s"] if "copy_gb_per_s" in facts else []
    for key in sorted(facts):
        if key.startswith("matrix_gflop_per_s_"):
            rates.append(f"{key.removeprefix('matrix_gflop_per_s_')} products {_number(facts[key])} GFLOP/s")
    threads = f"{facts['threads']} thread" + ("s" if facts["threads"] != 1 else "")
    where = [f"{facts['processor']}, {threads}", f"PyTorch {facts['torch']}", f"Python {facts['python']}"]
    return ["; ".join([*where, *rates]), f"GPU: {facts['gpu']}"]


def print_tables(rows: Sequence[Row], facts: dict[str, Any], console: Console) -> None:
    """Print all tables, exponents, errors and facts in the terminal."""
    for title, columns, part in sections(rows):
        columns = tuple(shown(columns, part))
        table = Table("case", "backend", title=title, title_justify="left")
        for column in columns:
            table.add_column(column.head, justify="right")
        for row in part:
            table.add_row(row["case"], row["backend"], *(cell(row, column) for column in columns))
        console.print(table)
    for line in [*exponents(rows), *errors(rows), *facts_lines(facts)]:
        console.print(line, highlight=False, markup=False)


def markdown(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    blocks = []
    for _, columns, part in sections(rows):
        measured = [row for row in part if row["forward_s"] is not None]
        columns = tuple(shown(columns, measured))
        lines = ["| case | backend | " + " | ".join(column.head for column in columns) + " |"]
        lines.append("|---|---|" + "---:|" * len(columns))
        for row in measured:
            cells = [row["case"], row["backend"], *(cell(row, column) for column in columns)]
            lines.append("| " + " | ".join(cells) + " |")
        blocks.append("\n".join(lines))
    notes = [f"- {line}" for line in [*exponents(rows), *errors(rows), *facts_lines(facts)]]
    return "\n\n".join([*blocks, "\n".join(notes)]) + "\n"
