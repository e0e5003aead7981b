"""Building the C++ kernels: where, when, and what is said when it cannot be done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from geograph.errors import BackendError
from geograph.kernels.cpu import build

pytestmark = pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler")
_SANITIZED = sorted(Path(__file__).parent.glob("sanitize_*.cpp"))


def test_the_name_depends_on_sources_and_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = build.library_path()
    assert first == build.library_path()
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-DANOTHER"))
    assert build.library_path() != first
    monkeypatch.setenv(build.CACHE, str(tmp_path))
    assert build.library_path().parent == tmp_path / "kernels"


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.COMPILER, "/nonexistent")
    with pytest.raises(BackendError, match=r"no C\+\+ compiler was found .*install one"):
        build.library_path()


def test_dispatch_does_without_and_says_why(tmp_path: Path) -> None:
    code = (
        "import torch; from geograph.kernels import backends, selected; print(selected(None, torch.ones(1)));"
        "print(*[row.reason for row in backends() if row.name == 'cpu'])"
    )
    environment = {"CXX": "/nonexistent", "GEOGRAPH_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    chosen, reason = run.stdout.splitlines()
    assert chosen == "native"
    assert "no C++ compiler was found" in reason


def test_a_failing_compiler_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(build.CACHE, str(tmp_path))
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-std=no-such-standard"))
    with pytest.raises(BackendError, match=r"failed to compile the CPU kernels: .*no-such-standard"):
        build.build()
    assert not list((tmp_path / "kernels").glob("*.so"))


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv(build.CACHE, str(tmp_path / "file"))
    with pytest.raises(
        BackendError, match=r"cannot be written .*name a folder that can be in \$GEOGRAPH_CACHE"
    ):
        build.build()


def test_it_builds_once_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(build.CACHE, str(tmp_path))
    monkeypatch.setattr(build, "FLAGS", ("-std=c++17", "-O0", "-fPIC", "-shared", "-fopenmp"))
    path = build.build()
    assert "compiling the CPU kernels" in capfd.readouterr().err
    stamp = path.stat().st_mtime_ns
    assert build.build() == path
    assert path.stat().st_mtime_ns == stamp
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("march", ["native", "x86-64-v2"])
@pytest.mark.parametrize("source", _SANITIZED, ids=lambda path: path.stem)
def test_no_memory_error(source: Path, march: str, tmp_path: Path) -> None:
    """Address and undefined-behaviour sanitizers on every path; also as built for an old processor."""
    program = tmp_path / "program"
    flags = ["-std=c++17", "-O1", "-g", f"-march={march}", "-fopenmp", "-fsanitize=address,undefined"]
    command = [str(build.compiler()), *flags, "-fno-sanitize-recover=all", f"-I{build.SOURCES}"]
    made = subprocess.run(
        [*command, str(source), "-o", str(program)], capture_output=True, text=True, check=False
    )
    if made.returncode and (
        "unrecognized" in made.stderr or "cannot find" in made.stderr or "bad value" in made.stderr
    ):
        pytest.skip(f"this compiler has no sanitizers or no {march}")
    assert made.returncode == 0, made.stderr
    run = subprocess.run(
        [str(program)], capture_output=True, text=True, check=False, env={"ASAN_OPTIONS": "detect_leaks=0"}
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "clean\n"


def test_no_memory_error_in_the_models(tmp_path: Path) -> None:
    """The whole library under the sanitizers, as the models call it."""
    compiler = str(build.compiler())
    found = [
        subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
        for name in ("libasan.so", "libubsan.so")
    ]
    libraries = [run.stdout.strip() for run in found]
    if not all(Path(library).is_absolute() for library in libraries):
        pytest.skip("this compiler has no sanitizers")
    environment = os.environ | {
        "LD_PRELOAD": ":".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0",
        "GEOGRAPH_CACHE": str(tmp_path),
    }
    script = Path(__file__).with_name("sanitized_models.py")
    run = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.stdout == "clean\n", run.stderr[-3000:]
