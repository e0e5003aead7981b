"""The page of molecules in headless Chromium: drawn, moved, filtered; no request leaves it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Page, find_chromium, open_browser

from geograph.interop.molecule_page import write_page
from geograph.records import Molecule

HOSTILE = "</script><script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
_LIVE = "document.querySelector('#live canvas')"
#: What software rendering says about itself.
_HARMLESS = "GL Driver Message"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine: the page is tested as a file only")
    with open_browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def molecules() -> list[Molecule]:
    """Water whole and torn, a molecule with a hostile name, and copies."""
    pos = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]])
    torn = pos + np.array([[0, 0, 0], [0, 0, 0], [0, -2.0, 0]])
    z = np.array([8, 1, 1])
    chlorine = Molecule(np.array([17, 1]), np.array([[0.0, 0, 0], [1.27, 0, 0]]), id=HOSTILE)
    made = [
        Molecule(z, pos, id="good", properties={"gap_ev": 1.0}),
        Molecule(z, torn, id="torn", properties={"gap_ev": 2.0}),
        chlorine,
    ]
    return [*made, *(Molecule(z, pos, id=f"copy-{number}") for number in range(10))]


def frames_of(molecule: Molecule) -> list[Molecule]:
    noise = np.random.default_rng(0).standard_normal(molecule.pos.shape)
    steps = [Molecule(molecule.z, (1 - t) * molecule.pos + t * 1.5 * noise) for t in (1.0, 0.6, 0.3)]
    return [*steps, molecule]


@pytest.fixture(scope="module")
def opened(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Open the page once for most tests."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    made = molecules()
    write_page(path, made, frames=[frames_of(molecule) for molecule in made], title="Test")
    page.open(path)
    return path


@pytest.fixture
def shown(page: Page, opened: Path) -> Iterator[Page]:
    """Page with every control where it is at first; see afterwards that nothing was asked or wrong."""
    page.run(
        "document.querySelectorAll('[aria-pressed=true]').forEach((button) => button.click());"
        "document.querySelectorAll('.range input').forEach((input) => {"
        "  if (input.value) { input.value = ''; input.dispatchEvent(new Event('input')); } });"
        "if (document.getElementById('direction').textContent === '↓') "
        "  document.getElementById('direction').click();"
    )
    for selector, value in (("#search", ""), ("#sort", "order"), ("#size", "24"), ("#slider", "3")):
        type_into(page, selector, value)
    page.run("document.querySelector('.cell').click()")
    settle(page)
    yield page
    page.run("document.title")  # whatever happened before is noted by now
    assert set(page.requests) == {opened.as_uri()}
    assert [text for text in page.complaints if _HARMLESS not in text] == []
    assert page.run("document.title") == "Test"
    assert page.run("document.getElementById('trouble').hidden")


def settle(page: Page) -> None:
    """Wait until all cells are painted, and two more frames of the display."""
    page.wait("!document.getElementById('grid').hasAttribute('aria-busy')")
    page.wait("[...document.querySelectorAll('.cell canvas')].every((c) => c.width > 10)")
    frames = "requestAnimationFrame(() => requestAnimationFrame(go))"
    page.run(f"new Promise((go) => {frames}).then(() => 1)", awaitPromise=True)


def pixels(page: Page, canvas: str) -> np.ndarray:
    """Pixels [height, width, 4] of a canvas."""
    from matplotlib import image

    url = page.run(f"{canvas}.toDataURL()")
    return image.imread(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))


def cell(number: int) -> str:
    return f"document.querySelectorAll('.cell canvas')[{number}]"


def drawn(picture: np.ndarray) -> float:
    """Fraction of the pixels that are not background."""
    return float((np.abs(picture - picture[0, 0]).max(axis=-1) > 0.1).mean())


def text_of(page: Page, selector: str) -> Any:
    return page.run(f"document.querySelector('{selector}').textContent")


def ids(page: Page) -> list[str]:
    return page.run("[...document.querySelectorAll('.cell strong')].map((e) => e.textContent)")


def type_into(page: Page, selector: str, value: str) -> None:
    page.run(
        f"(() => {{ const e = document.querySelector('{selector}'); "
        f"if (e.value === '{value}') return; e.value = '{value}'; "
        "e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')); })()"
    )


def middle(page: Page, canvas: str) -> tuple[float, float]:
    x, y = page.run(
        f"(() => {{ const e = {canvas}; e.scrollIntoView({{block: 'center'}}); "
        "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
    )
    return float(x), float(y)


def test_molecules_are_drawn_and_named(shown: Page) -> None:
    for canvas in (cell(0), cell(1), cell(2), _LIVE):
        assert 0.01 < drawn(pixels(shown, canvas)) < 0.9, canvas
    # Oxygen is red, chlorine green: the elements are those of the molecule.
    for number, channel in ((0, 0), (2, 1)):
        picture = pixels(shown, cell(number))[..., :3]
        others = np.delete(picture, channel, axis=-1).max(axis=-1)
        assert (picture[..., channel] - others).max() > 0.2
    assert text_of(shown, "#count") == "13 of 13 molecules"
    assert ids(shown)[:3] == ["good", "torn", HOSTILE]
    assert shown.run("document.querySelectorAll('canvas').length") <= 13 + 2 + 5


def test_slider_moves_every_molecule(shown: Page) -> None:
    final = {canvas: pixels(shown, canvas) for canvas in (cell(0), cell(5), _LIVE)}
    assert text_of(shown, "#frame") == "frame 4 of 4 (molecule)"
    type_into(shown, "#slider", "0")
    settle(shown)
    assert text_of(shown, "#frame") == "frame 1 of 4 (noise)"
    for canvas, before in final.items():
        assert np.abs(pixels(shown, canvas) - before).max() > 0.3, canvas
    type_into(shown, "#slider", "3")
    settle(shown)
    for canvas, before in final.items():  # control: back again, every pixel as it was
        np.testing.assert_array_equal(pixels(shown, canvas), before)


def test_chain_is_played_to_its_end(shown: Page) -> None:
    shown.run("document.getElementById('play').click()")
    assert text_of(shown, "#frame") == "frame 1 of 4 (noise)"
    assert shown.run("document.getElementById('play').getAttribute('aria-pressed')") == "true"
    shown.wait("document.getElementById('frame').textContent === 'frame 4 of 4 (molecule)'")
    shown.wait("document.getElementById('play').getAttribute('aria-pressed') === 'false'")


def test_cells_turn_by_mouse_and_by_keys(shown: Page) -> None:
    still, before = pixels(shown, cell(1)), pixels(shown, cell(0))
    x, y = middle(shown, cell(0))
    shown.drag((x, y), (x + 40, y + 25))
    settle(shown)
    dragged = pixels(shown, cell(0))
    assert np.abs(dragged - before).max() > 0.3
    np.testing.assert_array_equal(pixels(shown, cell(1)), still)  # control: its neighbour did not move
    shown.run("document.querySelectorAll('.cell')[0].focus()")
    shown.keys("ArrowLeft", "ArrowUp", shift=True)
    settle(shown)
    assert np.abs(pixels(shown, cell(0)) - dragged).max() > 0.3


def test_keys_walk_open_and_leaf(shown: Page) -> None:
    shown.run("document.querySelectorAll('.cell')[0].focus()")
    shown.keys("ArrowRight", "Enter")
    assert text_of(shown, "#name") == "torn"
    assert "in pieces" in text_of(shown, "#chips")
    assert "valence" in text_of(shown, "#reason")
    type_into(shown, "#size", "12")
    shown.run("document.querySelectorAll('.cell')[0].focus()")
    shown.keys("PageDown")
    assert text_of(shown, "#page") == "2 / 2"
    assert len(ids(shown)) == 1
    shown.keys("/")
    assert shown.run("document.activeElement.id") == "search"


def test_filters_hide_cells(shown: Page) -> None:
    shown.run("document.querySelector('[data-key=connected]').click()")
    assert ids(shown) == ["torn"]
    assert text_of(shown, "#count") == "1 of 13 molecules"
    shown.run("document.querySelector('[data-key=connected]').click()")
    type_into(shown, "#search", "clh")
    assert ids(shown) == [HOSTILE]  # found by its formula
    type_into(shown, "#search", "")
    labels = shown.run("[...document.querySelectorAll('.range legend')].map((e) => e.textContent)")
    number = labels.index("gap_ev")
    shown.run(
        f"(() => {{ const e = document.querySelectorAll('.range')[{number}].querySelector('input'); "
        "e.value = '1.5'; e.dispatchEvent(new Event('input')); })()"
    )
    assert ids(shown) == ["torn"]
    assert text_of(shown, "#active") == "(1 active)"


def test_order_and_pages(shown: Page) -> None:
    assert len(ids(shown)) == 13
    type_into(shown, "#size", "12")
    assert len(ids(shown)) == 12
    shown.run("document.getElementById('next').click()")
    assert len(ids(shown)) == 1
    type_into(shown, "#size", "24")
    type_into(shown, "#sort", "id")
    assert ids(shown)[1:4] == ["copy-0", "copy-1", "copy-2"]
    shown.run("document.getElementById('direction').click()")
    assert ids(shown)[0] == "torn"


def test_xyz_is_the_molecule(shown: Page) -> None:
    shown.run("document.getElementById('text').click()")
    lines = shown.run("document.getElementById('xyz').value").split("\n")
    assert lines[:2] == ["3", "good"]
    assert [line.split()[0] for line in lines[2:5]] == ["O", "H", "H"]
    pos = np.array([[float(word) for word in line.split()[1:]] for line in lines[2:5]])
    np.testing.assert_allclose(pos, molecules()[0].pos, atol=1e-5)


def test_light_and_dark(shown: Page) -> None:
    light = pixels(shown, cell(0))
    shown.run("document.getElementById('theme').click()")
    settle(shown)
    dark = pixels(shown, cell(0))
    assert light[0, 0, :3].mean() > 0.9
    assert dark[0, 0, :3].mean() < 0.3
    assert drawn(dark) > 0.01
    shown.run("document.getElementById('theme').click()")
    settle(shown)
    np.testing.assert_array_equal(pixels(shown, cell(0)), light)  # control: light again


def test_works_in_a_sandboxed_frame(page: Page, tmp_path: Path) -> None:
    write_page(tmp_path / "inner.html", molecules()[:3], title="Inner")
    (tmp_path / "outer.html").write_text(
        "<!DOCTYPE html><title>outer</title><iframe sandbox='allow-scripts' width=900 height=800></iframe>"
        "<script>addEventListener('message', (event) => { document.title = event.data; })</script>"
    )
    page.open(tmp_path / "outer.html", width=1000)
    # Like an artifact viewer: the text in a blob, framed without an origin of its own.
    text = (tmp_path / "inner.html").read_text(encoding="utf-8")
    packed = base64.b64encode(text.encode()).decode()
    page.run(
        f"document.querySelector('iframe').src = URL.createObjectURL(new Blob([Uint8Array.from("
        f"atob('{packed}'), (c) => c.charCodeAt(0))], {{type: 'text/html'}})); 0"
    )
    page.run("new Promise((go) => { document.querySelector('iframe').onload = go; })", awaitPromise=True)
    page.run("new Promise((go) => setTimeout(go, 1500))", awaitPromise=True)
    page.screenshot(tmp_path / "framed.png")
    from matplotlib import image

    picture = image.imread(tmp_path / "framed.png")[..., :3]
    reddish = picture[..., 0] - picture[..., 1:].max(axis=-1)
    assert (reddish > 0.4).sum() > 50  # oxygen atoms
    assert [text for text in page.complaints if _HARMLESS not in text] == []
    assert all(url.startswith(("file:", "blob:")) for url in page.requests)


def test_injected_requests_are_refused(page: Page, tmp_path: Path) -> None:
    """Negative control: what the policy forbids is really refused, so nothing could leave the page."""
    write_page(tmp_path / "page.html", molecules()[:1])
    page.open(tmp_path / "page.html")
    refused = page.run(
        "fetch('http://127.0.0.1:9/leak').then(() => 'sent', (error) => String(error))", awaitPromise=True
    )
    assert "Failed to fetch" in refused
    page.run("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/leak.png'})); 0")
    page.wait("1", until=lambda _: sum("Content Security Policy" in text for text in page.complaints) >= 2)
    page.complaints.clear()
