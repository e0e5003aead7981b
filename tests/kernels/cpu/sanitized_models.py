"""Run every model that has C++ kernels once, with the library built under the sanitizers; prints `clean`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from geograph.kernels import use_backend
from geograph.kernels.cpu import build
from geograph.models import build_model

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from strategies import make_batch  # noqa: E402

build.FLAGS = (
    *(flag for flag in build.FLAGS if flag != "-O3"),
    *("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
)
CASES = (
    ("egnn", "molecule", {"inputs": "molecule", "num_hidden": 20, "num_layers": 2}),
    ("lorentznet", "jet", {"num_hidden": 24, "num_layers": 2}),
    ("cgenn-lorentz", "jet", {"num_hidden": 12, "num_multivectors": 3, "num_layers": 2}),
    (
        "cgenn-lorentz",
        "jet",
        {"num_hidden": 12, "num_multivectors": 3, "num_layers": 2, "product": "elementwise"},
    ),
    ("cgenn-nbody", "nbody", {}),
)

with use_backend("cpu"):
    for name, kind, params in CASES:
        for dtype in (torch.float32, torch.float64):
            model = build_model(name, **params).to(dtype)
            for options in ({}, {"sizes": [1, 9, 2]}):
                model(make_batch(kind, seed=0, dtype=dtype, **options)).square().sum().backward()
            model.eval()(make_batch(kind, seed=1, dtype=dtype))
print("clean")
