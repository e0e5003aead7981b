#!/usr/bin/env bash
# Install geograph with the versions of requirements.lock into a virtual environment.
# Usage: pipelines/install.sh FOLDER    (PYTHON chooses the interpreter)
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:?folder of the virtual environment}
python=${PYTHON:-python3}
say() { printf '\n== %s\n' "$*"; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "geograph needs Python 3.11 or newer; $("$python" --version) was found." >&2
    echo "Name another one: make repro PYTHON=/path/to/python3.11" >&2
    exit 1
}
say "1/6 virtual environment in $venv"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check install --progress-bar on "$@"; }

say "2/6 PyTorch, which the other packages build against"
# shellcheck disable=SC2046
pip $(grep -E '^(torch|setuptools|wheel)==' requirements.lock)

say "3/6 the other packages (about 150)"
rest=$(mktemp)
trap 'rm -f "$rest"' EXIT
grep -vE '^torch-scatter==' requirements.lock > "$rest"
pip -r "$rest" | grep --line-buffered -E '^(Collecting|Downloading|Installing|Successfully|ERROR|error)' || {
    # grep finds nothing where everything is installed already; pip says what went wrong where it did not work
    pip -q -r "$rest"
}

say "4/6 torch-scatter, compiled against the installed PyTorch (5 to 10 minutes the first time)"
if "$venv/bin/python" -c 'import torch_scatter' 2> /dev/null; then
    echo "installed already"
elif ! command -v "${CXX:-c++}" > /dev/null; then
    echo "No C++ compiler was found, so torch-scatter is left out. Everything works without it, on PyTorch's own"
    echo "scatter operations; what is lost is the torch_scatter backend of the benchmark. To add it later,"
    echo "install a C++ compiler, remove $venv/.installed and run make again."
else
    log=$(mktemp)
    pip -q --no-build-isolation "$(grep -E '^torch-scatter==' requirements.lock)" > "$log" 2>&1 &
    build=$!
    start=$SECONDS
    while kill -0 "$build" 2> /dev/null; do
        sleep 5
        [ $(((SECONDS - start) % 30)) -lt 5 ] && echo "  compiling, $((SECONDS - start)) s"
    done
    if wait "$build"; then
        echo "built in $((SECONDS - start)) s"
    else
        tail -n 5 "$log"
        echo "torch-scatter did not compile (above). Everything works without it, on PyTorch's own scatter operations."
    fi
fi

say "5/6 geograph itself"
pip -q --no-deps --no-build-isolation -e .

say "6/6 the CPU kernels, compiled for this machine (under a minute, once)"
"$venv/bin/python" -W ignore::RuntimeWarning -m geograph.kernels.cpu.build || {
    echo "Everything works without them, on PyTorch's own operations; training takes two to five times as long."
    echo "To add them later, install a C++ compiler: they are built at their first use."
}
"$venv/bin/python" -c 'import geograph; print("geograph", geograph.__version__, "is ready")'
