"""The report: one table for each task, pictures, and nothing from the network."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.figures import learning_curves, save_figure
from pipelines.report import ReportFigure, render_html, render_markdown
from pipelines.show import show
from pipelines.tables import load_published, rows_from_metrics, write_json

PUBLISHED = Path(__file__).resolve().parents[2] / "data" / "published.yaml"
_VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects links and cells, and checks that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.ours = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.ours += ("class", "ours") in attrs
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.fixture
def report(tmp_path: Path) -> tuple[list[dict], list[ReportFigure], Path]:
    entries = [
        {
            "task": "jets-class",
            "dataset": "jets",
            "model": name,
            "num_train": 4000,
            "metrics": {"loss": 0.2, "auc": auc, "num_parameters": 12345, "equivariance_error": 3.2e-6},
            "mlflow_run_id": "0123456789abcdef",
            "published": "top_tagging",
        }
        for name, auc in (("lorentznet", 0.972), ("<b>|deep sets", 0.95))
    ]
    entries.append({"task": "nbody", "dataset": "nbody", "model": "egnn", "metrics": {"mse": 0.0071}})
    picture = save_figure(learning_curves({"a": {"val/loss": [2.0, 1.0]}}), tmp_path / "plots" / "curve.png")
    figures = [ReportFigure("jets-class", "Learning curves", picture)]
    return rows_from_metrics(entries, load_published(PUBLISHED)), figures, tmp_path


def test_html_stands_alone(report: tuple[list[dict], list[ReportFigure], Path]) -> None:
    rows, figures, _ = report
    text = render_html(rows, figures)
    page = Page(text)
    assert page.open == []
    assert all(link.startswith(("#", "data:image/png;base64,iVBOR")) for link in page.links)
    assert "@import" not in text
    assert "<script" not in text
    assert "url(" not in text
    assert page.ours == 3
    assert "&lt;b&gt;" in text


def test_html_tells_ours_from_published(report: tuple[list[dict], list[ReportFigure], Path]) -> None:
    rows, figures, _ = report
    table = Page(render_html(rows, figures)).rows
    head = table[0]
    by_model = {line[0]: dict(zip(head, line, strict=True)) for line in table[1:11]}
    assert by_model["lorentznet"]["source"] == "this run"
    assert by_model["lorentznet"]["train size"] == "4000"
    assert by_model["lorentznet"]["MLflow run"] == "01234567"
    assert by_model["lorentznet"]["equivariance error"] == "3.20e-06"
    assert by_model["LorentzNet"]["train size"].replace("\u202f", "") == "1200000"
    assert by_model["LorentzNet"]["loss"] == "–"


def test_runs_of_one_model_on_one_data_set_stay_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = {"task": "digits", "dataset": "digits", "model": "cnn"}
    rows = rows_from_metrics(
        [common | {"run": f"cnn-{copies}", "metrics": {"accuracy": copies / 10}} for copies in (3, 7)]
    )
    assert "| cnn | cnn-3 | digits | – | 0.3 |" in render_markdown(rows, [], folder=tmp_path)
    write_json(rows, tmp_path / "compare.json")
    show(tmp_path / "compare.json", Console(width=120))
    printed = capsys.readouterr().out
    assert "cnn-3" in printed
    assert "0.3" in printed
    assert "cnn-7" in printed
    assert "0.7" in printed


def test_markdown_tables_are_rectangular(report: tuple[list[dict], list[ReportFigure], Path]) -> None:
    rows, figures, folder = report
    text = render_markdown(rows, figures, folder=folder / "reports")
    assert "![Learning curves](../plots/curve.png)" in text
    assert "<b>\\|deep sets" in text
    for table in (part for part in text.split("\n\n") if part.startswith("|")):
        lengths = {line.replace("\\|", "").count("|") for line in table.splitlines()}
        assert len(lengths) == 1


def test_figures_alone_make_a_section(report: tuple[list[dict], list[ReportFigure], Path]) -> None:
    _, figures, _ = report
    assert "Learning curves" in render_html([], figures)
    assert "jets-class" in render_markdown([], figures)
