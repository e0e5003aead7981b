"""One HTML file that shows molecules: turn them, filter them, follow their denoising, see what failed.

The file holds all it needs, 3Dmol.js included, and its content security policy lets nothing else in: no
request leaves it, from wherever it is opened.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from geograph.interop.molecule_metrics import MoleculeReport, evaluate_molecules
from geograph.interop.molecule_page_content import page_content
from geograph.records import Molecule

_SCRIPTS = ("decode.js", "draw.js", "filter.js", "grid.js", "detail.js", "main.js")
_LIBRARY = "vendor/3Dmol-min.js"


def write_page(
    path: str | Path,
    molecules: Sequence[Molecule],
    *,
    report: MoleculeReport | None = None,
    frames: Sequence[Sequence[Molecule]] | None = None,
    title: str = "Molecules",
) -> None:
    """Write a page that shows molecules, each with what was found out about it.

    Bonds and the atoms with a wrong valence are those of the published bond-length rule, at every frame of a
    chain. Final positions are kept in float32; those of the other frames in steps of 0.001 angstrom, coarser
    only where a frame is wider than 65 angstrom. The file takes 0.6 MB and about 2 KB for each small
    molecule, 20 KB with a chain.

    Parameters
    ----------
    path
        File to write; its folder is made if needed.
    molecules
        What to show, at least one; positions in angstrom.
    report
        Their judgement from `evaluate_molecules`; made here where it is not given.
    frames
        For each molecule its frames from noise to the molecule itself, or an empty list. At most 21 are kept,
        the first and the last among them.
    title
        Heading of the page.

    Raises
    ------
    ShapeError
        If report or frames do not fit the molecules.
    DataError
        If there is no molecule, or one has more than 65535 atoms.
    """
    target = Path(path)
    judged = report if report is not None else evaluate_molecules(molecules)
    text = _assembled(page_content(molecules, judged, frames, title), title)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8", newline="\n")


def _assembled(content: dict[str, Any], title: str) -> str:
    """Put style, scripts and data into the template, and name the scripts in the security policy."""
    style, library = _asset("page.css"), _asset(_LIBRARY)
    script = "\n".join(['"use strict";', "(() => {", *map(_asset, _SCRIPTS), "})();"])
    hashes = " ".join(_hash(text) for text in (library, script))
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    # In a script element `<` could begin an end tag; as an escape it means the same to JSON.
    data = json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return Template(_asset("page.html")).substitute(
        policy=policy, title=html.escape(title), style=style, data=data, library=library, script=script
    )


def _asset(name: str) -> str:
    text = files("geograph.interop").joinpath("page", *name.split("/")).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
