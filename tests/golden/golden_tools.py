"""Reading and comparing of golden files, shared by the cases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

#: Agreement with the released float64 values, relative to the largest entry of the array.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


def read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a golden file."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def group(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Entries PREFIX/NAME under NAME."""
    return {name.removeprefix(f"{prefix}/"): arrays[name] for name in arrays if name.startswith(f"{prefix}/")}


def assert_agrees(
    name: str, ours: Tensor, golden: np.ndarray, tolerance: float | None = None, *, noise: float = 0.0
) -> None:
    """Compare relative to the largest golden entry; the tolerance follows from the golden dtype.

    `noise` is an absolute error that rounding alone explains, for arrays that are zero in exact arithmetic.
    """
    wanted = torch.from_numpy(np.asarray(golden))
    assert ours.shape == wanted.shape, f"{name}: shape {tuple(ours.shape)}, golden {tuple(wanted.shape)}"
    allowed = TOLERANCE[wanted.dtype] if tolerance is None else tolerance
    if not wanted.numel():
        return
    scale = float(wanted.abs().max())
    error = float((ours.detach().double() - wanted.double()).abs().max())
    assert error <= allowed * scale + noise, (
        f"{name}: error {error:.2e}, scale {scale:.2e}, allowed {allowed:.0e}"
    )


def sorted_by_target(edge_index_released: np.ndarray, num_nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Swap the rows of a released edge list (row 0 receives) and sort by target.

    Returns
    -------
    edge_index, edge_ptr, and the order that sorts per-edge arrays in the same way.
    """
    swapped = torch.from_numpy(edge_index_released[::-1].copy())
    order = torch.argsort(swapped[1], stable=True)
    counts = torch.bincount(swapped[1], minlength=num_nodes)
    return swapped[:, order], torch.cat([counts.new_zeros(1), counts.cumsum(0)]), order


def assert_gradients_agree(
    module: torch.nn.Module,
    golden: Mapping[str, np.ndarray],
    released_name: object,
    tolerance: float | None = None,
) -> None:
    """Every golden gradient has its parameter, and each agrees.

    A bias before a batch norm has gradient zero: what is there is rounding of sums as large as other
    gradients.
    """
    assert callable(released_name)
    ours = {released_name(name): parameter for name, parameter in module.named_parameters()}
    assert set(golden) <= set(ours), f"gradients without a parameter: {sorted(set(golden) - set(ours))}"
    largest = max((float(np.abs(wanted).max()) for wanted in golden.values()), default=0.0)
    for name, wanted in golden.items():
        noise = 16 * float(np.finfo(wanted.dtype).eps) * largest
        gradient = ours[name].grad
        gradient = torch.zeros_like(ours[name]) if gradient is None else gradient
        assert_agrees(f"grad/{name}", gradient, wanted, tolerance, noise=noise)
