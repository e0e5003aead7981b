"""Compilation of the C++ kernels: once, for the machine that they run on, into the user's cache.

The library is plain C++ behind a C interface: it needs a compiler, not the headers of PyTorch, and builds in
seconds. Its name holds a digest of the sources, the compiler, the flags and the processor, so that a cache
that several machines share never serves code for another one. `python -m geograph.kernels.cpu.build` builds
it ahead of the first use.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from geograph.errors import BackendError

#: Environment variables: the compiler, and the folder of the built libraries.
COMPILER, CACHE = "CXX", "GEOGRAPH_CACHE"
SOURCES = Path(__file__).with_name("src")
FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared", "-fno-math-errno",
    "-fno-trapping-math", "-ffp-contract=fast", "-fno-semantic-interposition",
)  # fmt: skip
_TIMEOUT_S = 600


def compiler() -> str | None:
    """Path of the C++ compiler: $CXX, else g++, c++ or clang++; None if there is none."""
    named = os.environ.get(COMPILER)
    if named:
        return shutil.which(named)
    return next((path for path in map(shutil.which, ("g++", "c++", "clang++")) if path), None)


def cache_folder() -> Path:
    """Folder of the built libraries: $GEOGRAPH_CACHE, else the user's cache."""
    named = os.environ.get(CACHE)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geograph"
    return (Path(named) if named else base) / "kernels"


def _processor() -> str:
    """Text that differs between processors with different instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


def _sources() -> list[Path]:
    return sorted(SOURCES.glob("*.cpp"))


@functools.cache
def _digest(program: str, flags: tuple[str, ...]) -> str:
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    digest = hashlib.sha256("\n".join((version, *flags, _processor())).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def library_path() -> Path:
    """Where the library for this machine is, or would be.

    Raises
    ------
    BackendError
        If there is no compiler.
    """
    program = compiler()
    if program is None:
        raise BackendError(
            f"no C++ compiler was found (looked for ${COMPILER}, g++, c++, clang++); install one, for "
            "example with `apt install g++`."
        )
    return cache_folder() / f"geograph-{_digest(program, FLAGS)}.so"


def build(*, force: bool = False) -> Path:
    """Compile the library unless it is there; says so on the standard error output.

    Raises
    ------
    BackendError
        If there is no compiler or it fails; the message has the end of what it said.
    """
    path = library_path()
    if path.is_file() and not force:
        return path
    print(f"geograph: compiling the CPU kernels into {path} (once, under a minute)", file=sys.stderr)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            _compile(made)
            made.replace(path)  # at once: another process never sees half a library
    except OSError as error:
        raise BackendError(
            f"{path} cannot be written ({error}); name a folder that can be in ${CACHE}."
        ) from error
    return path


def _compile(path: Path) -> None:
    command = [str(compiler()), *FLAGS, *map(str, _sources()), "-o", str(path)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BackendError(f"the compiler did not finish within {_TIMEOUT_S} s.") from error
    if run.returncode:
        raise BackendError(f"{command[0]} failed to compile the CPU kernels: {run.stderr[-2000:]}")


@functools.cache
def load() -> ctypes.CDLL:
    """Load the library, built if need be; OpenMP is the one that PyTorch has loaded, with its threads.

    Raises
    ------
    BackendError
        If it cannot be built or loaded.
    """
    import torch  # noqa: F401  (loads the OpenMP runtime that the library then shares)

    path = build()
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BackendError(f"{path} cannot be loaded ({error}); delete it to build it anew.") from error


@functools.cache
def reason_unavailable() -> str | None:
    """Why the C++ kernels cannot run here, or None; builds them at the first call."""
    try:
        load()
    except BackendError as error:
        return str(error).rstrip(".")
    return None


def describe() -> dict[str, object]:
    """Return compiler, library and width of the vectors in bytes, for `geograph doctor`."""
    if reason_unavailable() is not None:
        return {"compiler": compiler(), "library": None, "vector_bytes": None}
    return {
        "compiler": compiler(),
        "library": str(library_path()),
        "vector_bytes": int(load().gg_vector_bytes()),
    }


if __name__ == "__main__":
    try:
        print(f"geograph: CPU kernels in {build()}")
    except BackendError as problem:
        print(f"geograph: no CPU kernels: {problem}")
        sys.exit(1)
