"""CGENN and its algebra: products, outputs, losses and gradients of the released implementation."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from golden.case_lorentznet import logits_of, padded_graphs
from golden.golden_tools import (
    TOLERANCE,
    assert_agrees,
    assert_gradients_agree,
    group,
    read,
    sorted_by_target,
)
from torch import Tensor
from torch.nn.functional import cross_entropy

from geograph.algebra.clifford import CliffordAlgebra
from geograph.interop.released import from_released
from geograph.interop.released_cgenn import our_shape, released_name

_PRODUCT = "geometric_product_"
_NOISE_RUNS = 8


def options_of(arrays: Mapping[str, np.ndarray]) -> dict[str, object]:
    """Keyword options of the released constructor; none where the file has no `config`."""
    return dict(ast.literal_eval(str(arrays["config"]))) if "config" in arrays else {}


def tolerance_of(arrays: Mapping[str, np.ndarray]) -> float:
    """1e-9 where the released network ran in float64, 1e-5 where it ran in float32.

    The parameters tell which: a float32 run may have been stored in wider arrays.
    """
    params = group(arrays, "param").values()
    return 1e-5 if any(value.dtype == np.float32 for value in params) else 1e-9


def gradients_of(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Golden gradients in the shapes of our parameters."""
    return {
        name: our_shape(name, torch.from_numpy(value)).numpy()
        for name, value in group(arrays, "grad").items()
    }


def check_products(path: Path) -> None:
    arrays = read(path)
    products = [name for name in arrays if name.startswith(_PRODUCT)]
    assert products, f"{path.name}: no array {_PRODUCT}P_Q"
    for name in products:
        signature = [int(count) for count in name.removeprefix(_PRODUCT).split("_")]
        metric = [sign for sign, count in zip((1, -1, 0), signature, strict=False) for _ in range(count)]
        a, b = torch.from_numpy(arrays["a"]), torch.from_numpy(arrays["b"])
        assert_agrees(name, CliffordAlgebra(metric).product(a, b), arrays[name])


def check_nbody(path: Path) -> None:
    arrays, tolerance = read(path), tolerance_of(read(path))
    # Our side runs in float64, so that the error is that of the golden run alone.
    model = from_released("cgenn-nbody", group(arrays, "param"), **options_of(arrays)).double()
    graphs, size = arrays["loc"].shape[:2]
    flat = {
        name: torch.from_numpy(arrays[name]).double().reshape(graphs * size, -1)
        for name in ("loc", "vel", "charge", "loc_end")
    }
    offsets = (np.arange(graphs) * size)[:, None, None]
    edges = (arrays["edge_index"][None] + offsets).transpose(1, 0, 2).reshape(2, -1)
    edge_index, edge_ptr, order = sorted_by_target(edges, graphs * size)
    edge_attr = torch.from_numpy(arrays["edge_attr"]).double().reshape(len(order), -1)[order]
    ptr = torch.arange(graphs + 1) * size
    predicted = model(flat["loc"], flat["vel"], flat["charge"][:, 0], edge_attr, edge_index, edge_ptr, ptr)
    per_node = (predicted - flat["loc_end"]).square().mean(dim=1)
    per_node.mean().backward()
    assert_agrees("loss", per_node.mean(), arrays["loss"], tolerance)
    assert_agrees("loss_per_node", per_node, arrays["loss_per_node"], tolerance)
    assert_gradients_agree(model, gradients_of(arrays), released_name, tolerance)


def jet_results(
    model: torch.nn.Module, p4: np.ndarray, label: Tensor, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Everything that a golden file may hold about one pass, in float64."""
    model = copy.deepcopy(model).to(dtype)
    logits = logits_of(model, padded_graphs(p4), dtype)
    per_jet = cross_entropy(logits, label, reduction="none")
    per_jet.mean().backward()
    results = {
        "logits": logits,
        "loss": per_jet.mean(),
        "aux/loss": per_jet,
        "aux/accuracy": (logits.argmax(1) == label).double(),
        "aux/lorentz": torch.stack([logits.softmax(dim=1)[:, 1], label.to(dtype)]),
    }
    results |= {
        f"grad/{released_name(name)}": p.grad for name, p in model.named_parameters() if p.grad is not None
    }
    results |= {f"after/{released_name(name)}": value for name, value in model.named_buffers()}
    return {name: value.detach().double() for name, value in results.items()}


def float32_noise(
    model: torch.nn.Module, p4: np.ndarray, label: Tensor, exact: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return four times the RMS error of float32 runs on inputs moved in their last digit, per entry.

    Constituents are nearly massless, so norms of their multivectors are square roots of cancelled terms: one
    last digit moves the loss of a jet by up to 1e-4, whoever computes it. No agreement can be closer.
    """
    generator = np.random.default_rng(0)
    errors = []
    for _ in range(_NOISE_RUNS):
        moved = p4 * (1 + np.finfo(np.float32).eps / 2 * generator.uniform(-1, 1, p4.shape))
        errors.append(jet_results(model, moved, label, torch.float32))
    return {
        name: 4 * torch.stack([run[name] - value for run in errors]).square().mean(0).sqrt()
        for name, value in exact.items()
    }


def check_lorentz(path: Path) -> None:
    arrays, tolerance = read(path), tolerance_of(read(path))
    model = from_released("cgenn-lorentz", group(arrays, "param"), **options_of(arrays))
    model.train(any(name.startswith("after/") for name in arrays))
    label = torch.from_numpy(arrays["label"])
    exact = jet_results(model, arrays["p4"], label, torch.float64)
    is_rounded = tolerance > TOLERANCE[torch.float64]
    noise = float32_noise(model, arrays["p4"], label, exact) if is_rounded else {}
    golden = {name: value for name, value in arrays.items() if not name.startswith("param/")}
    for name in golden.keys() - {"p4", "label", "config"}:
        assert name in exact, f"{path.name}: nothing to compare {name} with"
        wanted = our_shape(name, torch.from_numpy(golden[name])).double()
        ours = exact[name]
        assert ours.shape == wanted.shape, f"{name}: shape {tuple(ours.shape)}, golden {tuple(wanted.shape)}"
        allowed = tolerance * wanted.abs().max() + noise.get(name, torch.zeros_like(wanted))
        worst = ((ours - wanted).abs() - allowed).max()
        assert float(worst) <= 0, f"{name}: error exceeds the allowed by {float(worst):.2e}"


CASES = {
    "cgenn_nbody": check_nbody,
    "cgenn_lorentz": check_lorentz,
    "clifford_products": check_products,
}
