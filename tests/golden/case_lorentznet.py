"""LorentzNet: logits of the released weights, and one training step of a random network."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from golden.golden_tools import assert_agrees, assert_gradients_agree, group, read
from strategies import complete_edges, cumulative
from torch import Tensor

from geograph.interop.released import family, from_released
from geograph.models.lorentznet import mass_scalars

REPOSITORY = Path(__file__).resolve().parents[2]


def padded_graphs(p4: np.ndarray) -> dict[str, Tensor]:
    """Beams first, then constituents, then padding as nodes without edges, as in the released loader."""
    jets, length = p4.shape[:2]
    beam = torch.tensor([[math.sqrt(2), 0, 0, 1], [math.sqrt(2), 0, 0, -1]], dtype=torch.float64)
    momenta = torch.cat([beam.expand(jets, 2, 4), torch.from_numpy(p4)], dim=1)
    is_real = momenta[..., 0] != 0
    counts = is_real.sum(1)
    assert bool((is_real.to(torch.int8).diff(dim=1) <= 0).all()), "padding must come last"
    size = length + 2
    start = torch.arange(jets) * size
    compact = complete_edges(counts.tolist())
    shift = torch.repeat_interleave(start - cumulative(counts)[:-1], counts)
    edge_index = compact + shift[compact]
    is_beam = torch.zeros(jets, size, dtype=torch.int64)
    is_beam[:, :2] = 1
    return {
        "x": momenta.reshape(-1, 4),
        "is_beam": is_beam.reshape(-1),
        "edge_index": edge_index,
        "edge_ptr": cumulative(torch.bincount(edge_index[1], minlength=jets * size)),
        "ptr": torch.arange(jets + 1) * size,
        "node_weight": is_real.reshape(-1).double(),
        "pool_divisor": torch.full((jets,), float(size), dtype=torch.float64),
    }


def logits_of(model: torch.nn.Module, graphs: dict[str, Tensor], dtype: torch.dtype) -> Tensor:
    """Logits in `dtype`; scalars from float64 momenta, because rounding gives massless momenta a mass."""
    cast = {name: _cast(value, dtype) for name, value in graphs.items()}
    scalars = mass_scalars(graphs["x"], cast.pop("is_beam")).to(dtype)
    weights = {name: cast.pop(name) for name in ("node_weight", "pool_divisor")}
    return model(scalars, cast["x"], cast["edge_index"], cast["edge_ptr"], cast["ptr"], **weights)


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def check_train_step(path: Path) -> None:
    arrays = read(path)
    model = from_released(
        "lorentznet", group(arrays, "param"), c_weight=float(arrays["c_weight"]), dropout=0.0
    )
    model.train()
    logits = logits_of(model, padded_graphs(arrays["p4"]), torch.float64)
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(arrays["label"]))
    loss.backward()
    assert_agrees("logits_train", logits, arrays["logits_train"])
    assert_agrees("loss", loss, arrays["loss"])
    released_name = family("lorentznet").released_name
    assert_gradients_agree(model, group(arrays, "grad"), released_name)
    buffers = {released_name(name): value for name, value in model.named_buffers()}
    for name, wanted in group(arrays, "after").items():
        assert_agrees(f"after/{name}", buffers[name], wanted)


def state_dict_of(path: Path) -> dict[str, Tensor]:
    """Released weights that belong to an outputs file; they are not committed."""
    name = path.name.replace("_outputs.npz", "_state_dict.pt")
    folders = [
        os.environ.get("GEOGRAPH_GOLDEN"),
        str(path.parent),
        str(REPOSITORY.parent / "shared" / "golden"),
    ]
    for folder in folders:
        if folder and (Path(folder) / name).is_file():
            state: dict[str, Tensor] = torch.load(Path(folder) / name, map_location="cpu", weights_only=True)
            return state
    return pytest.skip(f"released weights {name} are not present in $GEOGRAPH_GOLDEN or shared/golden")


def check_outputs(path: Path) -> None:
    arrays = read(path)
    graphs = padded_graphs(arrays["p4"])
    state = state_dict_of(path)
    for name, dtype in {"logits": torch.float64, "logits_float32": torch.float32}.items():
        params = {
            key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()
        }
        model = from_released("lorentznet", params, c_weight=float(arrays["c_weight"])).eval()
        with torch.no_grad():
            ours = logits_of(model, graphs, dtype)
        assert_agrees(name, ours, arrays[name])


CASES = {"lorentznet_train_step": check_train_step, "lorentznet_": check_outputs}
