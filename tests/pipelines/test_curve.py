from __future__ import annotations

from pathlib import Path

import pytest

from geograph.errors import ConfigError
from pipelines.curve import draw

CSV = """epoch,elapsed_s,val/loss,val/atom_stability
0,60,0.5,
1,120,,
2,180,0.4,0.25
"""


def test_draws_the_columns_there_are(tmp_path: Path) -> None:
    history = tmp_path / "run.csv"
    history.write_text(CSV, encoding="utf-8")
    both = draw(history, tmp_path / "both.png", x="minutes")
    one = draw(history, tmp_path / "one.png", x="epoch", y=["val/loss"])
    assert both.read_bytes().startswith(b"\x89PNG")
    assert both.read_bytes() != one.read_bytes()


def test_missing_file_and_column(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such learning curve"):
        draw(tmp_path / "none.csv", tmp_path / "x.png", x="epoch")
    history = tmp_path / "run.csv"
    history.write_text(CSV, encoding="utf-8")
    with pytest.raises(ConfigError, match="no column `val/nll`; there are epoch, elapsed_s"):
        draw(history, tmp_path / "x.png", x="epoch", y=["val/nll"])
