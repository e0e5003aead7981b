"""The page of molecules as an artifact of a run, seen through a running MLflow server."""

from __future__ import annotations

import base64
import io
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from browser import Page, find_chromium, open_browser

from geograph.interop.molecule_page import write_page
from geograph.records import Molecule
from geograph.training.tracking import Tracker

_LIVE = "document.querySelector('#live canvas')"
_PATIENCE_S = 60.0
#: What software rendering says about itself.
_HARMLESS = "GL Driver Message"


@pytest.fixture(scope="module")
def program() -> str:
    found = find_chromium()
    if found is None:
        pytest.skip("no Chromium on this machine: the page is not looked at through MLflow")
    return found


@pytest.fixture(scope="module")
def logged(program: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Address of a SQLite store, and its run, which has water with its denoising chain as an artifact."""
    folder = tmp_path_factory.mktemp("store")
    z, pos = np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]])
    noise = np.random.default_rng(0).standard_normal(pos.shape)
    frames = [Molecule(z, (1 - t) * pos + t * 1.5 * noise) for t in (1.0, 0.6, 0.3, 0.0)]
    pages = folder / "pages"
    write_page(pages / "molecules.html", [Molecule(z, pos, id="water")], frames=[frames], title="Samples")
    text = (pages / "molecules.html").read_text(encoding="utf-8")
    assert text.count('"use strict";\n(() => {') == 1
    altered = text.replace('"use strict";\n(() => {', '"use strict";\nvar injected = 1;\n(() => {')
    (pages / "altered.html").write_text(altered, encoding="utf-8")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with Tracker.start(uri, "pages", "one") as tracker:
        tracker.log_artifact(pages, "samples")
    assert tracker.failure == ""
    return uri, tracker.run_id


@pytest.fixture(scope="module")
def server(logged: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server of the store; it ends with the module."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", logged[0]]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, process, folder / "log")
        yield address
    finally:
        # The server has workers: all of its process group ends.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=20)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"MLflow did not come up:\n{log.read_text()}")


@pytest.fixture(scope="module")
def page(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_browser(program, tmp_path_factory.mktemp("profile")) as opened:
        size = {"width": 1600, "height": 1100, "deviceScaleFactor": 1, "mobile": False}
        opened.call("Emulation.setDeviceMetricsOverride", **size)
        yield opened


@contextmanager
def inside(page: Page, frame: str) -> Iterator[Page]:
    """Speak to the frame whose address begins so, which has a process of its own because of its sandbox."""
    end = time.monotonic() + _PATIENCE_S
    found: list[str] = []
    while not found and time.monotonic() < end:
        targets = page.call("Target.getTargets")["targetInfos"]
        found = [
            one["targetId"] for one in targets if one["type"] == "iframe" and one["url"].startswith(frame)
        ]
    assert len(found) == 1, f"frames {frame}: {found}"
    outer = page._session
    page._session = page.call("Target.attachToTarget", targetId=found[0], flatten=True)["sessionId"]
    for domain in ("Network", "Runtime", "Log"):
        page.call(f"{domain}.enable")
    try:
        yield page
    finally:
        page._session = outer


def pixels(page: Page) -> np.ndarray:
    """Pixels [height, width, 4] of the canvas with the molecule that is looked at, once it is painted."""
    from matplotlib import image

    frames = "requestAnimationFrame(() => requestAnimationFrame(go))"
    page.run(f"new Promise((go) => {frames}).then(() => 1)", awaitPromise=True)
    url = page.run(f"{_LIVE}.toDataURL()")
    return image.imread(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))


def move_slider(page: Page, value: int) -> None:
    page.run(
        f"(() => {{ const e = document.getElementById('slider'); e.value = '{value}'; "
        "e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')); })()"
    )


def open_artifact(page: Page, server: str, run_id: str, name: str) -> None:
    """Open an artifact of the run in the viewer and wait for its frame."""
    page.call("Page.navigate", url="about:blank")
    page.wait("location.href === 'about:blank'")
    page.call("Page.navigate", url=f"{server}/#/experiments/1/runs/{run_id}/artifacts/samples/{name}")
    # MLflow frames a copy without an origin of its own: scripts run, nothing of MLflow is within reach.
    sandbox = page.wait("(document.querySelector('iframe') || {sandbox: {}}).sandbox.value")
    assert sandbox == "allow-scripts"


def test_page_works_in_the_artifact_viewer(page: Page, logged: tuple[str, str], server: str) -> None:
    open_artifact(page, server, logged[1], "molecules.html")
    with inside(page, f"blob:{server}/") as shown:
        shown.requests.clear()
        shown.complaints.clear()
        shown.wait(f"document.readyState === 'complete' && {_LIVE} && {_LIVE}.width > 10")
        shown.wait("!document.getElementById('grid').hasAttribute('aria-busy')")
        assert shown.run("document.getElementById('frame').textContent") == "frame 4 of 4 (molecule)"
        final = pixels(shown)
        reddish = final[..., 0] - final[..., 1:3].max(axis=-1)
        assert (reddish > 0.4).sum() > 50  # the oxygen atom
        move_slider(shown, 0)
        assert shown.run("document.getElementById('frame').textContent") == "frame 1 of 4 (noise)"
        assert np.abs(pixels(shown) - final).max() > 0.3
        move_slider(shown, 3)
        np.testing.assert_array_equal(pixels(shown), final)  # control: back again, every pixel as it was
        assert shown.run("document.getElementById('trouble').hidden")
        assert [text for text in shown.complaints if _HARMLESS not in text] == []
        # Whatever is asked for meanwhile, by the page or by MLflow around it, stays on this machine.
        assert all(url.startswith((server, f"blob:{server}", "data:")) for url in shown.requests)


def test_altered_page_does_not_run_in_the_viewer(page: Page, logged: tuple[str, str], server: str) -> None:
    """Negative control: the policy of the page holds inside the viewer, and the drawing above is its own."""
    open_artifact(page, server, logged[1], "altered.html")
    with inside(page, f"blob:{server}/") as shown:
        shown.wait("document.readyState === 'complete' && document.title === 'Samples'")
        assert shown.run(f"{_LIVE} === null || !{_LIVE}.width || !document.querySelector('.cell')")
        assert shown.run("typeof injected") == "undefined"
