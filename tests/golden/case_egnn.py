"""EGNN: outputs, input gradients and parameter gradients of the released implementation."""

from __future__ import annotations

import ast
from pathlib import Path

import torch
from golden.golden_tools import assert_agrees, assert_gradients_agree, group, read, sorted_by_target

from geograph.interop.released import family, from_released


def check_egnn(path: Path) -> None:
    arrays = read(path)
    model = from_released("egnn", group(arrays, "param"), **ast.literal_eval(str(arrays["config"])))
    h = torch.from_numpy(arrays["h"]).requires_grad_()
    x = torch.from_numpy(arrays["x"]).requires_grad_()
    edge_index, edge_ptr, order = sorted_by_target(arrays["edge_index"], len(h))
    edge_attr = torch.from_numpy(arrays["edge_attr"])[order] if "edge_attr" in arrays else None
    vel = torch.from_numpy(arrays["vel"]) if "vel" in arrays else None
    h_out, x_out = model(h, x, edge_index, edge_ptr, edge_attr, vel)
    (h_out.square().sum() + x_out.square().sum()).backward()
    assert h.grad is not None
    assert x.grad is not None
    for name, ours in {"h_out": h_out, "x_out": x_out, "grad_h": h.grad, "grad_x": x.grad}.items():
        assert_agrees(name, ours, arrays[name])
    assert_gradients_agree(model, group(arrays, "grad"), family("egnn").released_name)


CASES = {"egnn_": check_egnn}
