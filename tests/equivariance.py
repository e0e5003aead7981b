"""Assertion that a function of a batch has the symmetry that it claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch_geometric.data import Data

from geograph.fields import Level, Representation
from geograph.tasks.symmetry import (
    permute_nodes,
    random_element,
    random_order,
    transform_batch,
    transform_values,
)

#: Law of each output: what a row belongs to and how it transforms.
Laws = Mapping[str, tuple[Level, Representation]]
Outputs = Mapping[str, Tensor] | Tensor

INVARIANT_GRAPH: Laws = {"out": (Level.GRAPH, Representation.SCALAR)}
INVARIANT_NODE: Laws = {"out": (Level.NODE, Representation.SCALAR)}
COVARIANT_POSITION: Laws = {"out": (Level.NODE, Representation.POSITION)}

_EPSILON = torch.finfo(torch.float64).eps
#: Rounding errors of one layer: a few hundred additions, each off by at most one unit in the last place.
_PER_LAYER = 256.0
_GAMMA_2 = 3.7622  # cosh(2), Lorentz factor at the largest rapidity that is drawn


def tolerance(depth: int, condition: float = 1.0) -> float:
    """Relative error that float64 rounding explains: c * eps * depth * condition number of the inputs."""
    return _PER_LAYER * _EPSILON * depth * condition


def mass_condition(p4: Tensor) -> float:
    """Condition number of the mass under boosts of rapidity 2: gamma^2 E^2 / m^2, the largest of all rows."""
    squares = p4.double().square()
    mass_2 = (squares[:, 0] - squares[:, 1:].sum(1)).abs()
    return _GAMMA_2**2 * float((squares[:, 0] / mass_2).max())


def equivariance_errors(
    fn: Callable[[Data], Outputs],
    batch: Data,
    group: str,
    laws: Laws = INVARIANT_GRAPH,
    *,
    seed: int = 0,
    num_elements: int = 3,
) -> dict[str, float]:
    """Largest error of each output, relative to its largest entry, over random elements of the group."""
    generator = torch.Generator().manual_seed(seed)
    before = _named(fn(batch))
    worst = dict.fromkeys(laws, 0.0)
    for _ in range(num_elements):
        if group == "S(n)":
            order = random_order(batch.ptr, generator)
            after = _named(fn(permute_nodes(batch, order)))
            expected = {n: before[n][order] if laws[n][0] is Level.NODE else before[n] for n in laws}
        else:
            matrix, shift = random_element(group, generator)
            after = _named(fn(transform_batch(batch, group, matrix, shift)))
            expected = {n: _moved(before[n], laws[n][1], matrix, shift) for n in laws}
        for name, wanted in expected.items():
            scale = max(float(wanted.abs().max()), torch.finfo(wanted.dtype).tiny)
            worst[name] = max(worst[name], float((after[name] - wanted).abs().max()) / scale)
    return worst


def assert_equivariant(
    fn: Callable[[Data], Outputs],
    batch: Data,
    group: str,
    laws: Laws = INVARIANT_GRAPH,
    *,
    depth: int = 1,
    condition: float = 1.0,
    seed: int = 0,
    num_elements: int = 3,
) -> None:
    """Transform every field by its representation and compare, in float64.

    Parameters
    ----------
    fn
        Batch -> tensor (called "out") or tensors by name.
    batch
        Float64 batch.
    group
        "E(3)", "E(4)", "O(1,3)" or "S(n)".
    laws
        Level and representation of each output.
    depth
        Number of layers; enters the tolerance.
    condition
        Condition number of the inputs; enters the tolerance.
    seed, num_elements
        Random elements.
    """
    errors = equivariance_errors(fn, batch, group, laws, seed=seed, num_elements=num_elements)
    allowed = tolerance(depth, condition)
    report = ", ".join(f"{name}: {error:.2e}" for name, error in errors.items())
    assert all(error <= allowed for error in errors.values()), (
        f"{group} broken, allowed {allowed:.2e}; {report}"
    )


def _moved(values: Tensor, law: Representation, matrix: Tensor, shift: Tensor | None) -> Tensor:
    return values if law is Representation.SCALAR else transform_values(values, law, matrix, shift)


def _named(outputs: Outputs) -> Mapping[str, Tensor]:
    named = {"out": outputs} if isinstance(outputs, Tensor) else outputs
    return {name: value.detach() for name, value in named.items()}
